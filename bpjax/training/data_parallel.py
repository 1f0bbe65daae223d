"""One network on many devices: a copy of the params on every device, the examples of a batch divided among them.

JAX divides the work of a compiled step by where its arguments lie. A gradient is a sum over examples, so each device
computes the terms of its examples, and one sum over the devices completes it.
"""

from typing import NamedTuple
from zlib import crc32

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from bpjax.util.call_text import shown
from bpjax.util.checks import check_arguments, check_instance
from bpjax.util.trees import described


class DataParallel(NamedTuple):
    """Where the arrays of a data-parallel training lie."""

    replicated: NamedSharding
    """Of params, states and keys: a copy on every device."""
    sharded: NamedSharding
    """Of a batch: equal shares of the examples on the devices along one axis of the mesh, copies along the others."""

    def replicate(self, tree):
        """The same arrays with a copy on every device.

        Args:
            tree: params, a `TrainState`, a key: a pytree of arrays, the same in every process.

        Raises:
            ValueError: a leaf is no array or number; in every process, if the values of a leaf differ between them.
        """
        check_arguments("replicate", tree, "a pytree")
        return jax.tree.map(self._copy, tree)

    def shard(self, batch):
        """The batch of all processes, with the examples divided among the devices.

        Each process passes its own examples, as many as the others do; those of process 0 come first. Every call
        compares the shapes of all processes, so all of them call it equally often.

        Args:
            batch: (x, target), or any pytree of arrays with the examples along the first axis.

        Returns:
            The same pytree of `jax.Array`, with the examples of all processes along the first axis.

        Raises:
            ValueError: in every process, if shapes or dtypes differ between them, or the devices of a process do not
                divide its number of examples.
        """
        check_arguments("shard", batch, "a batch")
        self._check_same_in_all_processes(batch)
        devices = self._positions_here()
        for leaf in jax.tree.leaves(batch):
            if not np.ndim(leaf) or len(leaf) % devices or not len(leaf):
                raise ValueError(
                    f"`shard` expected a multiple of {devices} examples along the first axis, one share for each of "
                    f"the {devices} devices, got {described(batch)}. Leave out the last examples of the data, or fill "
                    "up the batch with examples that have no error."
                )
        return jax.tree.map(lambda leaf: jax.make_array_from_process_local_data(self.sharded, np.asarray(leaf)), batch)

    def __repr__(self) -> str:
        return f"DataParallel({dict(self.sharded.mesh.shape)}, examples along {self.sharded.spec[0]!r})"

    def _copy(self, leaf) -> jax.Array:
        leaf = jnp.asarray(leaf)
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return jax.random.wrap_key_data(self._copy(jax.random.key_data(leaf)), impl=jax.random.key_impl(leaf))
        try:
            return jax.device_put(leaf, self.replicated)
        except AssertionError as error:  # of JAX, which compares the values of all processes
            raise ValueError(
                f"`replicate` expected the same values in every process, got others for {described(leaf)}. "
                "Make them from the same key, or load them from the same file."
            ) from error

    def _positions_here(self) -> int:
        """How many different shares of a batch lie on the devices of this process."""
        mesh = self.sharded.mesh
        axis = mesh.axis_names.index(self.sharded.spec[0])
        here = [at[axis] for at, device in np.ndenumerate(mesh.devices) if device.process_index == jax.process_index()]
        return len(set(here))

    def _check_same_in_all_processes(self, batch) -> None:
        """Raise a `ValueError` in every process unless all have passed the same shapes and dtypes."""
        mesh = self.sharded.mesh
        processes = [device.process_index for _, device in np.ndenumerate(mesh.devices)]
        if len(set(processes)) == 1:
            return
        mine = np.full(processes.count(jax.process_index()), crc32(str(described(batch)).encode()), np.uint32)
        per_device = NamedSharding(mesh, PartitionSpec(mesh.axis_names))
        spread = jax.make_array_from_process_local_data(per_device, mine)
        found = np.asarray(jax.device_put(spread, self.replicated))
        others = {process for process, other in zip(processes, found, strict=True) if other != mine[0]}
        if others:
            raise ValueError(
                f"`shard` expected the same number of examples, shapes and dtypes in every process, got "
                f"{described(batch)} in process {jax.process_index()} and something else in {sorted(others)}. Leave "
                "out the last examples of the data, or fill up the batch with examples that have no error."
            )


def data_parallel(mesh: Mesh | None = None, axis: str = "batch") -> DataParallel:
    """Train one network on many devices, of one process or of several.

        many = bp.training.data_parallel()                  # all devices of all processes
        step = jax.jit(bp.make_train_step(rule, optimizer))
        state = many.replicate(state)                       # a `TrainState`
        for x, target in batches:                           # of this process
            state, metrics = step(state, many.shard((x, target)))

    What comes out are ordinary arrays of JAX, for any compiled function: the loss, the gradient and the batch
    statistics are those of the whole batch, and random numbers do not depend on the number of devices. Several
    processes call `jax.distributed.initialize` first; see docs/many_devices.md.

    Args:
        mesh: the devices; None for all, in one axis.
        axis: the axis of the mesh along which the examples are divided.

    Raises:
        ValueError: `mesh` is no `jax.sharding.Mesh`, has no such axis, or no device of this process.
    """
    if mesh is None:
        mesh = jax.make_mesh((jax.device_count(),), ("batch",))
    mesh = check_instance("data_parallel", "mesh", mesh, Mesh, "jax.make_mesh((jax.device_count(),), ('batch',))")
    if axis not in mesh.axis_names:
        raise ValueError(
            f"`data_parallel` expected `axis` to be an axis of the mesh, {', '.join(map(repr, mesh.axis_names))}, "
            f"got {shown(axis)}."
        )
    if not any(device.process_index == jax.process_index() for device in mesh.devices.flat):
        raise ValueError(
            f"`data_parallel` expected a mesh with a device of this process, {jax.process_index()}, got one of others."
        )
    mesh = Mesh(mesh.devices, mesh.axis_names, axis_types=(AxisType.Auto,) * mesh.devices.ndim)
    return DataParallel(NamedSharding(mesh, PartitionSpec()), NamedSharding(mesh, PartitionSpec(axis)))
