"""Checks of the arguments of closed forms: finite numbers within bounds, scalars or arrays."""

import math

import jax.numpy as jnp
import numpy as np

from bpjax.util.call_text import shown


def as_numbers(
    who: str, name: str, value, *, above: float = -math.inf, below: float = math.inf, least: float = -math.inf
) -> np.ndarray:
    """`value` as an array of float64, or a `ValueError` that shows the first entry out of bounds."""
    numbers = _in_float64(value)
    if numbers is None:
        raise ValueError(f"`{who}` expected `{name}` to be a number or an array of numbers, got {shown(value)}.")
    if numbers.size == 0:
        raise ValueError(f"`{who}` expected at least one number in `{name}`, got an empty array.")
    good = np.isfinite(numbers) & (numbers > above) & (numbers < below) & (numbers >= least)
    if good.all():
        return numbers
    bounds = [f"{sign} {bound:g}" for sign, bound in ((">", above), ("≥", least), ("<", below)) if math.isfinite(bound)]
    raise ValueError(
        f"`{who}` expected `{name}` to be finite{' and ' if bounds else ''}{' and '.join(bounds)}, "
        f"got {numbers[~good].flat[0]:g}."
    )


def _in_float64(value) -> np.ndarray | None:
    """Integers and floating-point numbers as an array of float64; None for anything else, such as booleans."""
    try:
        array = np.asarray(value)
        if array.dtype == object and all(type(entry) is int for entry in array.flat):
            return array.astype(np.float64)  # Python integers beyond 64 bits
    except (TypeError, ValueError, OverflowError):
        return None
    mixed = isinstance(value, tuple | list) and any(isinstance(entry, bool) for entry in value)
    is_numeric = any(jnp.issubdtype(array.dtype, kind) for kind in (jnp.integer, jnp.floating))
    return array.astype(np.float64) if is_numeric and not mixed else None


def as_number(who: str, name: str, value, **bounds: float) -> float:
    """One number, or a `ValueError`; the bounds are those of `as_numbers`."""
    number = as_numbers(who, name, value, **bounds)
    if number.shape != ():
        raise ValueError(f"`{who}` expected `{name}` to be one number, got an array of shape {number.shape}.")
    return float(number)


def check_broadcast(who: str, **arrays: np.ndarray) -> None:
    """Raise a `ValueError` unless the arrays broadcast against each other."""
    shapes = {name: np.shape(array) for name, array in arrays.items()}
    try:
        np.broadcast_shapes(*shapes.values())
    except ValueError:
        names = ", ".join(f"`{name}` {shape}" for name, shape in shapes.items())
        raise ValueError(f"`{who}` expected arguments whose shapes broadcast, got {names}.") from None


def as_counts(who: str, name: str, value) -> np.ndarray:
    """`value` as an array of integers ≥ 0 in float64, so that they can be exponents, or a `ValueError`."""
    counts = as_numbers(who, name, value, least=0.0)
    if (counts != np.floor(counts)).any():
        raise ValueError(f"`{who}` expected `{name}` to be integers, got {counts[counts % 1 != 0].flat[0]:g}.")
    return counts


def as_matrix(who: str, name: str, value, shape: tuple[int | None, int | None] = (None, None)) -> np.ndarray:
    """`value` as a matrix of finite float64; None in `shape` means any size."""
    matrix = as_numbers(who, name, value)
    fits = matrix.ndim == 2 and all(want in (None, got) for want, got in zip(shape, matrix.shape, strict=True))
    if not fits:
        sizes = ", ".join("any" if size is None else str(size) for size in shape)
        raise ValueError(f"`{who}` expected `{name}` of shape ({sizes}), got {matrix.shape}.")
    return matrix


def first_integer(reached, low, high) -> np.ndarray:
    """The smallest integer from `low` to `high` at which `reached` is true, by bisection and elementwise.

    It turns a closed form that grows with time into an exact count of steps.

    Args:
        reached: array of integers -> array of booleans; monotone, and true at `high`.
        low: the smallest candidate.
        high: the largest candidate.
    """
    low, high = (np.array(bound, dtype=np.int64) for bound in np.broadcast_arrays(low, high))
    while (low < high).any():
        middle = (low + high) // 2
        holds = reached(middle.astype(np.float64))
        low, high = np.where(holds, low, middle + 1), np.where(holds, middle, high)
        low = np.minimum(low, high)
    return high[()]
