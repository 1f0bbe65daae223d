"""The table of derivatives: JAX primitive -> hand-written reverse-mode derivative."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import jax.numpy as jnp
from jax import lax

from bpjax.tape.values import is_differentiable
from bpjax.types import Array


class Backward(Protocol):
    """The reverse-mode derivative of one primitive.

    Called as `backward(*inputs, output, d_output, **params)` with the parameters of the equation that it names. A
    primitive with several outputs passes a tuple of outputs and a tuple of cotangents. It returns the cotangents of the
    inputs as a tuple (one input: alone): an array, a sparse contribution (see `tape.scattered`), a function without
    arguments that computes it, or None for an input without a derivative. It returns `NotImplemented` for parameters
    that it does not cover: `jax.vjp` then differentiates the primitive.
    """

    def __call__(self, *arguments, **params):
        """The cotangents of the inputs."""
        ...


class Derivative(NamedTuple):
    """An entry of the table."""

    primitive: str  # its name in JAX
    equation: str  # the docstring: the operation and its derivative
    backward: Backward
    params: tuple[str, ...]  # the parameters of the equation that `backward` takes
    elementwise: bool  # entry by entry: the derivative is a factor


DERIVATIVES: dict[str, Derivative] = {}
"""Every entry, under the name of its primitive."""

ZERO_DERIVATIVE: set[str] = set()
"""Primitives with a floating-point result whose derivative is 0 wherever it exists, and those that stop it."""


@dataclass(frozen=True)
class Reciprocal:
    """The factor 1 / denominator of an elementwise operation: dx = dz / denominator, rounded once."""

    denominator: Any


def derivative(*primitives: str) -> Callable:
    """Decorator: enter the derivative of one or several primitives, see `Backward`."""

    def register(backward):
        return _enter(primitives, backward, backward, elementwise=False)

    return register


def elementwise(*primitives: str) -> Callable:
    """Decorator for an operation on each entry: `partials(*inputs, output, **params)` returns ∂output/∂input.

    One factor for each input: an array, `Reciprocal`, a function that computes one of them, 1, −1, or None. The
    cotangent of an input is dz ∂z/∂x, summed where a scalar or an axis of size 1 was broadcast.
    """

    def register(partials):
        def backward(*arguments, **params):
            *inputs, z, dz = arguments
            factors = partials(*inputs, z, **params)
            factors = factors if isinstance(factors, tuple) else (factors,)
            return tuple(
                None if f is None else lambda x=x, f=f: chain_rule(dz, f, x)
                for x, f in zip(inputs, factors, strict=True)
            )

        return _enter(primitives, backward, partials, elementwise=True)

    return register


def zero_derivative(*primitives: str) -> None:
    """Enter primitives whose result does not depend on their inputs to first order."""
    ZERO_DERIVATIVE.update(primitives)


def depends_on_inputs(primitive: str, output) -> bool:
    """Whether an output has a derivative by the inputs; one in `ZERO_DERIVATIVE` with an entry has it if complex."""
    if primitive in ZERO_DERIVATIVE and not (primitive in DERIVATIVES and jnp.iscomplexobj(output)):
        return False
    return is_differentiable(output)


def _enter(primitives, backward, documented, elementwise: bool):
    params = inspect.signature(documented).parameters.values()
    names = tuple(p.name for p in params if p.kind is p.KEYWORD_ONLY)
    for name in primitives:
        DERIVATIVES[name] = Derivative(name, inspect.getdoc(documented) or "", backward, names, elementwise)
    return documented


def chain_rule(dz: Array, factor: Any, x) -> Array:
    """The product dz · ∂z/∂x, summed to the shape of x. `factor`: see `elementwise`."""
    factor = factor() if callable(factor) else factor
    if isinstance(factor, int):  # 1 or −1
        dx = dz if factor == 1 else -dz
    elif isinstance(factor, Reciprocal):
        dx = dz / factor.denominator
    else:
        dx = dz * factor
    return sum_to(dx, jnp.shape(x))


def sum_to(dx: Array, shape: tuple[int, ...]) -> Array:
    """`dx`, summed over what was broadcast from `shape`: a scalar, or axes of size 1."""
    if dx.shape == shape:
        return dx
    axes = [k for k in range(dx.ndim) if not shape or shape[k] != dx.shape[k]]
    return lax.reshape(lax.reduce_sum(dx, axes=axes), shape)


def cotangents_of_inputs(
    entry: Derivative, params: Mapping, inputs: list, outputs: list, cotangents: list, needed: list[bool]
) -> list | None:
    """The cotangents of the inputs of one operation, None where not needed; None if the entry does not cover it.

    Args:
        entry: of the table.
        params: the parameters of the equation.
        inputs: arrays.
        outputs: arrays.
        cotangents: one for each output.
        needed: for each input, whether its cotangent is wanted.
    """
    chosen = {name: params[name] for name in entry.params if name in params}
    single = len(outputs) == 1
    y, dy = (outputs[0], cotangents[0]) if single else (tuple(outputs), tuple(cotangents))
    results = entry.backward(*inputs, y, dy, **chosen)
    if results is NotImplemented:
        return None
    results = results if isinstance(results, tuple) else (results,)
    if len(results) != len(inputs):
        raise TypeError(f"The derivative of {entry.primitive} has {len(results)} cotangents for {len(inputs)} inputs.")
    return [
        (result() if callable(result) else result) if wanted else None
        for result, wanted in zip(results, needed, strict=True)
    ]
