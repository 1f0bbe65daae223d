"""The transform `lanes`: trace a function for one run, evaluate its jaxpr for all runs with the run axis last."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from bpjax.sweeps.lanes.interpreter import Interpreter, eval_closed_jaxpr
from bpjax.sweeps.lanes.primitives import PRIMITIVES
from bpjax.sweeps.lanes.values import PerRun, broadcast_to_runs
from bpjax.types import Array
from bpjax.util.call_text import shown
from bpjax.util.checks import check_function


def lanes(f: Callable, in_axes=0, out_axes=0) -> Callable:
    """`jax.vmap(f, in_axes, out_axes)` with the run axis last inside.

    Equal to `vmap` within rounding: sums may be taken in another order. With `in_axes=-1, out_axes=-1` arrays stay in
    this layout from call to call. Works under `jit`, `scan`, `while_loop` and `cond`, and with all of these and
    `jax.grad` inside `f`; a derivative taken from outside ignores custom derivative rules inside `f`.

    Args:
        f: a function of pytrees of arrays, as `vmap` takes it. Fastest for small arrays, up to a few hundred entries.
        in_axes: the run axis of each argument: an integer or None for all arguments or for each, or a pytree of these.
        out_axes: the run axis of the results: an integer.

    Raises:
        ValueError: no argument has a run axis, or the lengths of the run axes differ.
    """
    check_function("lanes", "f", f)
    check_axes(in_axes, out_axes)

    @functools.wraps(f)
    def batched(*args):
        flat, structure = jax.tree.flatten(args)
        axes = flat_axes(in_axes, args, structure)
        runs = common_length(flat, axes)
        values = [
            jnp.asarray(a) if axis is None else PerRun(jnp.moveaxis(a, axis, -1))
            for a, axis in zip(flat, axes, strict=True)
        ]
        one_run = [
            jax.ShapeDtypeStruct(v.array.shape[:-1], v.array.dtype) if isinstance(v, PerRun) else jax.typeof(v)
            for v in values
        ]
        jaxpr, out = jax.make_jaxpr(lambda *flat: f(*structure.unflatten(flat)), return_shape=True)(*one_run)
        interpreter = Interpreter(runs, PRIMITIVES, unknown_to_compilers(values), {}, {})
        results = [broadcast_to_runs(v, runs) for v in eval_closed_jaxpr(interpreter, jaxpr, values)]
        return jax.tree.structure(out).unflatten([jnp.moveaxis(r, -1, out_axes) for r in results])

    return batched


def is_axis(value) -> bool:
    """Whether it is an integer that can be the number of an axis."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool) and bool(-32 <= value < 32)


def check_axes(in_axes, out_axes) -> None:
    """Raise a `ValueError` unless they are integers, `in_axes` also None, or a tuple or list of pytrees of them."""
    several = isinstance(in_axes, tuple | list) and in_axes
    if not (in_axes is None or is_axis(in_axes) or (several and all(map(is_axis, jax.tree.leaves(in_axes))))):
        raise ValueError(
            "`lanes` expected `in_axes` to be an integer or None, or a tuple of one for each argument, got "
            f"{shown(in_axes)}."
        )
    if not is_axis(out_axes):
        raise ValueError(f"`lanes` expected `out_axes` to be an integer, got {shown(out_axes)}.")


def flat_axes(in_axes, args, structure) -> list[int | None]:
    """The run axis of every leaf of the arguments, as `jax.vmap` reads `in_axes`.

    Args:
        in_axes: as for `lanes`.
        args: the arguments.
        structure: the tree structure of `args`.
    """
    if in_axes is None or is_axis(in_axes):
        return [in_axes] * structure.num_leaves
    axes = []
    for spec, arg in zip(in_axes, args, strict=True):
        leaves = jax.tree.map(
            lambda axis, part: [axis] * jax.tree.structure(part).num_leaves, spec, arg, is_leaf=lambda a: a is None
        )
        axes += jax.tree.leaves(leaves, is_leaf=lambda a: a is None)
    return axes


def common_length(flat, axes) -> int:
    """The number of runs, or a `ValueError` where the arguments disagree."""
    lengths = {jnp.shape(a)[axis] for a, axis in zip(flat, axes, strict=True) if axis is not None}
    if len(lengths) != 1:
        raise ValueError(
            f"`lanes` expected arguments with one number of runs along their run axes, got {sorted(lengths)}. "
            "Give the run axis of each argument in `in_axes`, None for an argument that all runs share."
        )
    return lengths.pop()


def unknown_to_compilers(values) -> Array:
    """A boolean () that depends on an argument, so that no compiler can know its value."""
    for value in values:
        if isinstance(value, PerRun) and value.array.size and jnp.issubdtype(value.array.dtype, jnp.floating):
            return value.array[(0,) * value.array.ndim] < 1
    return jnp.asarray(True)
