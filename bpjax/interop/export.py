"""Export a trained network as a StableHLO program that runs without bpjax."""

from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from bpjax.interop.as_function import as_function
from bpjax.interop.checkpoints import named
from bpjax.interop.example_inputs import as_shapes, batch_of, check_dtypes
from bpjax.interop.from_function import dtype_of
from bpjax.layers.layer import Layer, check_layer
from bpjax.types import Params
from bpjax.util.call_text import shown
from bpjax.util.checks import check_count, check_finite, check_flag
from bpjax.util.extras import require_extra
from bpjax.util.files import write_file


def export_network(
    network: Layer,
    params: Params,
    in_shape,
    *,
    path: str | Path | None = None,
    batch_size: int | None = None,
    dtype=None,
    platforms: Sequence[str] | None = None,
    trainable: bool = False,
) -> bytes:
    """A network as StableHLO by `jax.export`: bytes, also written to `path`, that any JAX runs, without bpjax.

        exported = jax.export.deserialize(Path("net.jax").read_bytes())
        y = exported.call(x)                                                  # x (N, *in_shape), any N

    With `trainable=True` the params are an argument, a dictionary with the names that `save` gives them, and the
    program includes the hand-written backward pass:

        params = safetensors.numpy.load_file("net.safetensors")               # or others of the same shapes
        y = exported.call(params, x)
        jax.grad(lambda params: error(exported.call(params, x)))(params)      # backpropagation by hand, exported

    JAX guarantees to read such a file for six months after it was written, and three weeks before; use a checkpoint to
    store weights for longer.

    Args:
        network: any layer; for prediction, without dropout.
        params: its parameters.
        in_shape: as for `init`, without the batch axis.
        path: also write the bytes there; the file is complete or not written.
        batch_size: the batch size of the program; None for any.
        dtype: of x; None for the dtype of the params; `jnp.int32` for tokens.
        platforms: any of "cpu", "cuda", "rocm" and "tpu"; None for the platform of this process.
        trainable: make the params an argument and include the backward pass.

    Raises:
        ModuleNotFoundError: flatbuffers is not installed.
        ValueError: `network` is not a Layer, params or shapes do not fit, a platform is unknown, a layer needs a fixed
            number of examples (give `batch_size`), or the file cannot be written.
    """
    with require_extra("Programs are written by flatbuffers", "export"):
        import flatbuffers  # type: ignore[import-not-found]  # noqa: F401  (JAX imports it when it serializes)
        from jax import export  # imports flatbuffers if it is installed
    check_layer("export_network", network)
    if batch_size is not None:
        check_count("export_network", "batch_size", batch_size)
    known = ("cpu", "cuda", "rocm", "tpu")
    platforms = (platforms,) if isinstance(platforms, str) else platforms
    if platforms is not None and not (
        isinstance(platforms, tuple | list | set) and platforms and all(p in known for p in map(str, platforms))
    ):
        raise ValueError(f"`export_network` expected platforms among {', '.join(known)}, got {shown(platforms)}.")
    trainable = check_flag("export_network", "trainable", trainable)
    check_dtypes("export_network", dtype)

    function = as_function(network)
    structure = jax.tree.structure(params)

    def trainable_program(named_params, x):
        return function(jax.tree.unflatten(structure, [named_params[name] for name in names]), x)

    def program(x):
        return network.forward(params, x)[0]

    names = {name: _as_array(name, leaf) for name, leaf in named("export_network", params).items()}
    check_finite("export_network", "params", params)
    (examples,) = export.symbolic_shape("N") if batch_size is None else (batch_size,)
    x = batch_of(as_shapes("export_network", in_shape), examples, dtype_of(params) if dtype is None else dtype)
    to_export = export.export(jax.jit(trainable_program if trainable else program), platforms=platforms)
    try:
        made = to_export(jax.eval_shape(lambda: names), x) if trainable else to_export(x)
        data = bytes(made.serialize(vjp_order=1 if trainable else 0))
    except Exception as error:
        if type(error).__name__ != "InconclusiveDimensionOperation":  # JAX has no public name for it
            raise
        raise ValueError(
            "`export_network` cannot export for every batch size: a layer needs a fixed number of examples. "
            f"Give it `batch_size`. ({str(error).splitlines()[0]})"
        ) from error
    if path is not None:
        write_file(path, data)
    return data


def _holds_numbers(dtype) -> bool:
    return any(jnp.issubdtype(dtype, kind) for kind in (jnp.number, jnp.bool_))


def _as_array(name: str, leaf):
    if not isinstance(leaf, jax.Array | np.ndarray | np.generic) or not _holds_numbers(leaf.dtype):
        raise ValueError(
            f"`export_network` expected `params` to be a pytree of arrays, got {type(leaf).__name__} at '{name}': "
            "pass the params of `network.init`."
        )
    return leaf
