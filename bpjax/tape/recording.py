"""Evaluate a function operation by operation on known values."""

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from bpjax.tape.entry import Recorded
from bpjax.tape.lines import lines_of
from bpjax.tape.record import Recorder
from bpjax.tape.unrolled import UNROLLED
from bpjax.tape.values import Value, is_differentiable
from bpjax.util.checks import check_choice, check_function, is_concrete

ON_KNOWN_VALUES = Recorder(UNROLLED, keep_inactive=True)


def record(
    f: Callable,
    args: tuple,
    kwargs: Mapping[str, Any],
    custom_rules: Literal["use", "open", "open_all"],
    recorder: Recorder = ON_KNOWN_VALUES,
) -> Recorded:
    """Everything that `Tape` shows, before a sweep: see `Tape.record`."""
    check_function("tape", "f", f)
    check_choice("tape", "custom_rules", custom_rules, ("use", "open", "open_all"))
    call, arguments = bound(f, args, kwargs)
    paths, structure = jax.tree_util.tree_flatten_with_path(list(arguments.values()))
    argument_names = tuple(arguments)
    leaves = [(argument_names[path[0].idx] + jax.tree_util.keystr(path[1:]), leaf) for path, leaf in paths]
    traced = [k for k, (_, leaf) in enumerate(leaves) if is_traced(leaf)]
    for k in traced:
        refuse_tracer(leaves[k][1], f"for the argument `{leaves[k][0]}`")
    refuse_tracer(jnp.zeros(()), "from JAX, which traces the function that calls `tape`")
    out_structure: list = []

    def flat(*arrays):
        full = [leaf for _, leaf in leaves]
        for k, array in zip(traced, arrays, strict=True):
            full[k] = array
        results, found = jax.tree.flatten(call(structure.unflatten(full)))
        out_structure[:] = [found]
        return results

    jaxpr = jax.make_jaxpr(flat)(*(leaves[k][1] for k in traced))
    for const in jaxpr.consts:
        refuse_tracer(const, "in a value that the function closes over")
    for k in traced:
        name, leaf = leaves[k]
        leaves[k] = name, Value(jnp.asarray(leaf), is_differentiable(leaf))
    entries, outputs = recorder._replace(custom_rules=custom_rules).record(jaxpr, [leaves[k][1] for k in traced])
    outputs = [Value(jnp.asarray(v.array), False) if not isinstance(v.array, jax.Array) else v for v in outputs]
    for value in outputs:
        refuse_tracer(value.array, "in the result")
    lines = lines_of(entries)
    name, file = name_and_file(f)
    again = functools.partial(record, f, args, kwargs)
    return Recorded(name, file, lines, entries, argument_names, leaves, structure, outputs, out_structure[0], again)


def is_traced(leaf) -> bool:
    """Whether a leaf of an argument becomes a value on the tape. Python integers and other objects are constants."""
    return isinstance(leaf, (jax.Array, np.ndarray, np.generic, float, complex))


def refuse_tracer(array, where: str) -> None:
    """Raise where JAX traces."""
    if not is_concrete(array):
        raise TypeError(
            f"`tape` records concrete values, and got a tracer {where}. Call it outside `jit`, `grad` and `vmap`; "
            "inside of them use `bp.reverse`."
        )


def bound(f: Callable, args: tuple, kwargs: Mapping[str, Any]) -> tuple[Callable, dict[str, Any]]:
    """The arguments by name, and `f` as a function of the list of their values."""
    try:
        signature = inspect.signature(f)
    except (ValueError, TypeError):  # a function without a signature

        def call(values):
            return f(*values[: len(args)], **dict(zip(kwargs, values[len(args) :], strict=True)))

        return call, {f"arg{k}": argument for k, argument in enumerate(args)} | dict(kwargs)
    arguments = signature.bind(*args, **kwargs).arguments

    def call(values):
        named = inspect.BoundArguments(signature, dict(zip(arguments, values, strict=True)))
        return f(*named.args, **named.kwargs)

    return call, dict(arguments)


def name_and_file(f: Callable) -> tuple[str, str | None]:
    """The name of a function and the file that defines it."""
    while isinstance(f, functools.partial):
        f = f.func
    f = inspect.unwrap(f)
    name = getattr(f, "__name__", type(f).__name__)
    function = f if hasattr(f, "__name__") else type(f).__call__
    code = getattr(getattr(function, "__func__", function), "__code__", None)
    return name, getattr(code, "co_filename", None)
