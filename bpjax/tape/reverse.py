"""Reverse-mode differentiation of a JAX function: record it, then sweep the tape back."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from bpjax.tape.control_flow import STRUCTURES
from bpjax.tape.record import Recorder, sweep
from bpjax.tape.scattered import as_sparse_array
from bpjax.tape.values import Adjoints, Value, is_differentiable


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
    """
    if holomorphic:
        raise ValueError("`reverse` has no `holomorphic` mode: use `vjp` with a complex cotangent.")
    several = not isinstance(argnums, int)
    positions = argnums if not isinstance(argnums, int) else (argnums,)

    def value_and_gradient(*args, **kwargs):
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
        if jnp.shape(result) != () or not jnp.issubdtype(jnp.result_type(result), jnp.floating):
            raise TypeError(
                f"`reverse` needs a function with a real scalar result, got "
                f"{jnp.result_type(result)}{list(jnp.shape(result))}: sum it, or use `vjp`."
            )
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
    leaves, structure = jax.tree.flatten(primals)
    shapes: list = []

    def flat(*leaves):
        result = f(*structure.unflatten(leaves))
        result, aux = result if has_aux else (result, None)
        results, out = jax.tree.flatten(result)
        extra, aux_structure = jax.tree.flatten(aux)
        shapes[:] = [out, aux_structure, len(results)]
        return [*results, *extra]

    jaxpr = jax.make_jaxpr(flat)(*leaves)
    recorder = Recorder(STRUCTURES, custom_rules, while_bound, recompute=recompute)
    inputs = [Value(jnp.asarray(a), is_differentiable(a)) for a in leaves]
    entries, outputs = recorder.record(jaxpr, inputs)
    out, aux_structure, num_results = shapes
    results, extra = outputs[:num_results], [v.array for v in outputs[num_results:]]

    def pull_back(cotangent):
        adjoints = Adjoints()
        for value, ct in zip(results, _flat_like(out, cotangent), strict=True):
            if value.active:
                adjoints.add(value, ct)
        sweep(entries, adjoints)
        return structure.unflatten([_cotangent_of(value, adjoints, sparse) for value in inputs])

    aux = (aux_structure.unflatten(extra),) if has_aux else ()
    return out.unflatten([v.array for v in results]), pull_back, *aux


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


def _check_differentiable(arguments) -> None:
    for leaf in jax.tree.leaves(arguments):
        if not is_differentiable(leaf):
            raise TypeError(
                f"`reverse` differentiates by arrays of floating-point numbers, got {jnp.result_type(leaf)}: "
                "leave the argument out of `argnums`."
            )
