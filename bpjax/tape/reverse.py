"""Reverse-mode differentiation of a JAX function: record it, then sweep the tape back."""

import operator
from collections.abc import Callable, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from bpjax.tape.control_flow import STRUCTURES
from bpjax.tape.record import Recorder, sweep
from bpjax.tape.scattered import as_sparse_array
from bpjax.tape.values import Adjoints, Value, is_differentiable
from bpjax.util.call_text import shown
from bpjax.util.checks import check_arguments, check_choice, check_count, check_flag, check_function

CUSTOM_RULES = ("use", "open", "open_all")


def reverse(
    f: Callable,
    argnums: int | Sequence[int] = 0,
    has_aux: bool = False,
    holomorphic: bool = False,
    *,
    custom_rules: Literal["use", "open", "open_all"] = "use",
    while_bound: int | None = None,
    recompute: bool = False,
    sparse: bool = False,
) -> Callable:
    """The value and the gradient of a scalar function, as `jax.value_and_grad`, from hand-written derivatives.

    y = f(x)      x̄ = ∂y/∂x

    Args:
        f: a function of pytrees of arrays with a scalar result.
        argnums: which positional arguments are differentiated: an integer, or several.
        has_aux: `f` returns (result, anything else).
        holomorphic: not supported.
        custom_rules: "use" a `custom_jvp` or `custom_vjp` as it is; "open" those outside JAX and differentiate what
            they compute; "open_all" those of JAX as well.
        while_bound: the most iterations of a `while_loop` whose number is not known under `jit`. A loop that takes
            more gives NaN.
        recompute: compute the values in the body of a loop again in the reverse sweep, instead of storing them.
        sparse: return the gradient of an array of which only rows are used, by `table[indices]`, as
            `jax.experimental.sparse.BCOO` of these rows (n_sparse=1; a row used twice is stored twice). The dense
            gradient is not computed. An array that is used in another way, or in a loop whose rows would take more
            memory than the array, has a dense gradient.

    Returns:
        a function of the same arguments that returns (value, gradient), or ((value, aux), gradient).

    Raises:
        ValueError: `holomorphic`.
        TypeError: the result is no real scalar, or a differentiated argument is not of floating-point numbers.
        ValueError: the number of iterations of a `while_loop` is not known while JAX traces it: give `while_bound`.
    """
    if check_flag("reverse", "holomorphic", holomorphic):
        raise ValueError("`reverse` has no `holomorphic` mode: use `vjp` with a complex cotangent.")
    _check_options("reverse", f, has_aux, custom_rules, while_bound, recompute, sparse)
    positions, several = _positions(argnums), isinstance(argnums, tuple | list)

    def value_and_gradient(*args, **kwargs):
        if any(not -len(args) <= k < len(args) for k in positions):
            raise ValueError(
                f"`reverse` expected `argnums` to be places of the {len(args)} positional arguments, got {argnums}."
            )
        chosen = [args[k] for k in positions]

        def of_chosen(*chosen):
            full = list(args)
            for k, argument in zip(positions, chosen, strict=True):
                full[k] = argument
            return f(*full, **kwargs)

        _check_differentiable(chosen)
        result, pull_back, *aux = vjp(
            of_chosen,
            *chosen,
            has_aux=has_aux,
            custom_rules=custom_rules,
            while_bound=while_bound,
            recompute=recompute,
            sparse=sparse,
        )
        _check_scalar(result)
        gradient = pull_back(jnp.ones_like(result))
        gradient = gradient if several else gradient[0]
        return ((result, aux[0]) if has_aux else result), gradient

    return value_and_gradient


def vjp(
    f: Callable,
    *primals,
    has_aux: bool = False,
    custom_rules: Literal["use", "open", "open_all"] = "use",
    while_bound: int | None = None,
    recompute: bool = False,
    sparse: bool = False,
) -> tuple[Any, ...]:
    """The result of a function and its pullback, as `jax.vjp`.

    Args:
        f: a function of pytrees of arrays.
        *primals: its arguments.
        has_aux: `f` returns (result, anything else).
        custom_rules: see `reverse`.
        while_bound: see `reverse`.
        recompute: see `reverse`.
        sparse: see `reverse`.

    Returns:
        (result, pullback), or (result, pullback, aux). The pullback takes a cotangent of the structure of the result
        and returns one for each argument; those of integers and keys have dtype `float0`.
    """
    _check_options("vjp", f, has_aux, custom_rules, while_bound, recompute, sparse)
    check_arguments("vjp", primals)
    leaves, structure = jax.tree.flatten(primals)
    shapes: list = []

    def flat(*leaves):
        result = f(*structure.unflatten(leaves))
        result, aux = _pair(result) if has_aux else (result, None)
        results, out = jax.tree.flatten(result)
        extra, aux_structure = jax.tree.flatten(aux)
        arrays = [leaf for leaf in extra if _is_array(leaf)]
        others = [None if _is_array(leaf) else leaf for leaf in extra]
        shapes[:] = [out, aux_structure, others, len(results)]
        return [*results, *arrays]

    jaxpr = jax.make_jaxpr(flat)(*leaves)
    recorder = Recorder(STRUCTURES, custom_rules, while_bound, recompute=recompute)
    inputs = [Value(jnp.asarray(a), is_differentiable(a)) for a in leaves]
    entries, outputs = recorder.record(jaxpr, inputs)
    out, aux_structure, others, num_results = shapes
    results, arrays = outputs[:num_results], iter([v.array for v in outputs[num_results:]])

    def pull_back(cotangent):
        adjoints = Adjoints()
        for value, ct in zip(results, _flat_like(out, cotangent), strict=True):
            if value.active:
                adjoints.add(value, _like(value.array, ct))
        sweep(entries, adjoints)
        return structure.unflatten([_cotangent_of(value, adjoints, sparse) for value in inputs])

    extra = [next(arrays) if leaf is None else leaf for leaf in others]
    aux = (aux_structure.unflatten(extra),) if has_aux else ()
    return out.unflatten([jnp.asarray(v.array) for v in results]), pull_back, *aux


def _check_options(who: str, f, has_aux, custom_rules, while_bound, recompute, sparse) -> None:
    check_function(who, "f", f)
    check_choice(who, "custom_rules", custom_rules, CUSTOM_RULES)
    for name, flag in (("has_aux", has_aux), ("recompute", recompute), ("sparse", sparse)):
        check_flag(who, name, flag)
    if while_bound is not None:
        check_count(who, "while_bound", while_bound, least=0)


def _positions(argnums) -> list[int]:
    """The places of `argnums`, an integer or several."""
    chosen = list(argnums) if isinstance(argnums, tuple | list) else [argnums]
    integers = [k for k in chosen if isinstance(k, int | np.integer) and not isinstance(k, bool)]
    if not chosen or len(integers) < len(chosen):
        raise ValueError(f"`reverse` expected `argnums` to be an integer or several, got {shown(argnums)}.")
    return [operator.index(k) for k in integers]


def _pair(result) -> tuple:
    if not isinstance(result, tuple) or len(result) != 2:
        raise TypeError(f"With `has_aux=True` the function returns (result, anything else), got {type(result)}.")
    return result


def _is_array(leaf) -> bool:
    return isinstance(leaf, (jax.Array, np.ndarray, np.generic, int, float, complex))


def _like(array, cotangent):
    cotangent = jnp.asarray(cotangent, None if hasattr(cotangent, "dtype") else array.dtype)
    if (cotangent.shape, cotangent.dtype) != (array.shape, array.dtype):
        raise ValueError(
            f"The pullback needs a cotangent {array.dtype}{list(array.shape)} like the result, "
            f"got {cotangent.dtype}{list(cotangent.shape)}."
        )
    return cotangent


def _cotangent_of(value: Value, adjoints: Adjoints, sparse: bool):
    if value.active:
        rows = as_sparse_array(adjoints.summands(value)) if sparse else None
        return adjoints.or_zeros(value) if rows is None else rows
    return np.zeros(jnp.shape(value.array), jax.dtypes.float0)


def _flat_like(structure, cotangent) -> list:
    leaves, found = jax.tree.flatten(cotangent)
    if found != structure:
        raise TypeError(f"The pullback needs a cotangent of the structure of the result, {structure}, got {found}.")
    return leaves


def _check_scalar(result) -> None:
    leaves = jax.tree.leaves(result)
    if [jnp.shape(result) for result in leaves] != [()] or leaves[0] is not result or not _is_real(result):
        found = ", ".join(f"{jnp.result_type(leaf)}{list(jnp.shape(leaf))}" for leaf in leaves)
        raise TypeError(
            f"`reverse` needs a function with a real scalar result, got {type(result).__name__}: {found}. "
            "Sum an array; return (result, anything else) with `has_aux=True`; or use `vjp`."
        )


def _is_real(array) -> bool:
    return jnp.issubdtype(jnp.result_type(array), jnp.floating)


def _check_differentiable(arguments) -> None:
    for leaf in jax.tree.leaves(arguments):
        if not is_differentiable(leaf):
            raise TypeError(
                f"`reverse` differentiates by arrays of floating-point numbers, got {jnp.result_type(leaf)}: "
                "leave the argument out of `argnums`."
            )
