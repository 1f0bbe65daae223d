"""The axes of a sweep: grids, seeds and random draws, and the runs they span.

Every axis is traced: its values are arguments of one compiled program. Integers arrive as int32 and floats in the
default precision, whether they are given as Python numbers, NumPy or JAX arrays. A static choice (a network, an
optimizer, a name) is no axis: bind it in the trial and make one sweep per choice.
"""

import inspect
import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bpjax.types import Key
from bpjax.util.checks import check_count, check_number

SEED = "seed"
"""The axis of repeated runs: its values are folded into the key, the same for all other axes."""
SAMPLE = "sample"
"""The dimension that all drawn hyperparameters share."""


class Draws(NamedTuple):
    """Random values of a hyperparameter, drawn by `sweep` from its key."""

    low: float
    high: float
    samples: int
    logarithmic: bool


def draws(low: float, high: float, samples: int) -> Draws:
    """An axis of `samples` values drawn uniformly between `low` and `high`.

    All drawn hyperparameters of a sweep share the dimension "sample": sample k has a separate value of each.

    Args:
        low: the lower bound.
        high: the upper bound.
        samples: how many values.

    Raises:
        ValueError: the bounds are not finite numbers with low < high, or `samples` is not a positive integer.
    """
    check_number("draws", "low", low)
    check_number("draws", "high", high, above=float(low))
    check_count("draws", "samples", samples)
    return Draws(low, high, samples, logarithmic=False)


def log_draws(low: float, high: float, samples: int) -> Draws:
    """As `draws`, but uniform in the logarithm.

    Args:
        low: the lower bound, above 0.
        high: the upper bound.
        samples: how many values.

    Raises:
        ValueError: as `draws`, or `low` is not above 0.
    """
    check_number("log_draws", "low", low, above=0.0)
    check_number("log_draws", "high", high, above=float(low))
    check_count("log_draws", "samples", samples)
    return Draws(low, high, samples, logarithmic=True)


class Plan(NamedTuple):
    """The runs of a sweep, numbered from 0 with the last dimension fastest."""

    dims: dict[str, int]
    """Name and length of each dimension of the result."""
    coords: dict[str, tuple[str, np.ndarray]]
    """Name of each hyperparameter, and `seed`: its dimension, and its values along it."""

    @property
    def runs(self) -> int:
        """The number of runs."""
        return math.prod(self.dims.values())

    def values(self, numbers: np.ndarray) -> dict[str, np.ndarray]:
        """The hyperparameters, and the seed if it is an axis, of the runs with these numbers (n,)."""
        places = dict(zip(self.dims, np.unravel_index(numbers, tuple(self.dims.values())), strict=True))
        return {name: values[places[dim]] for name, (dim, values) in self.coords.items()}


def plan(trial: Callable, axes: Mapping, key: Key) -> Plan:
    """The runs that `axes` spans for this trial.

    Args:
        trial: (key, **hyperparameters) -> Trial.
        axes: values of each hyperparameter, as for `sweep`.
        key: root of the drawn values.

    Raises:
        ValueError: an axis is empty or not a list of numbers, its name is not an argument of the trial, an argument of
            the trial has no axis, or drawn axes differ in length.
    """
    check_names(trial, axes)
    counts = {name: axis.samples for name, axis in axes.items() if isinstance(axis, Draws)}
    if len(set(counts.values())) > 1:
        raise ValueError(
            f"`sweep` expected the drawn axes to have one length, as they share the dimension {SAMPLE!r}, got {counts}."
        )
    dims, coords = {}, {}
    for index, (name, axis) in enumerate(axes.items()):
        if isinstance(axis, Draws):
            unit = np.asarray(jax.random.uniform(jax.random.fold_in(key, index), (axis.samples,)), float)
            low, high = (math.log(axis.low), math.log(axis.high)) if axis.logarithmic else (axis.low, axis.high)
            values = low + (high - low) * unit
            dims[SAMPLE] = axis.samples
            coords[name] = (SAMPLE, np.exp(values) if axis.logarithmic else values)
        else:
            values = as_values(name, axis)
            dims[name] = len(values)
            coords[name] = (name, values)
    return Plan(dims, coords)


def as_values(name: str, axis) -> np.ndarray:
    """The values of a grid axis (n,); a single number is an axis of length 1.

    float32 values become the float64 of the same decimals, so that `[0.1]`, `np.float32([0.1])` and `jnp.array([0.1])`
    give the same coordinates. Rounded to float32 again they are unchanged.
    """
    values = np.atleast_1d(np.asarray(list(axis) if isinstance(axis, range) else axis))
    if values.ndim != 1 or values.dtype.kind not in "iufb" or not values.size:
        raise ValueError(
            f"`sweep` expected the axis `{name}` to be a list of numbers, at least one, or `bp.sweeps.draws(...)`, got "
            f"{axis!r}. Make one sweep per choice of what is not a number (a network, an optimizer)."
        )
    if values.dtype == np.float32:
        values = np.array([float(str(value)) for value in values])
    if not np.isfinite(values.astype(float)).all():
        raise ValueError(f"`sweep` expected finite numbers on the axis `{name}`, got {axis!r}.")
    if name == SEED and (values.dtype.kind not in "iu" or values.min() < 0):
        raise ValueError(f"`sweep` expected the axis `{SEED}` to hold integers ≥ 0, got {axis!r}.")
    if len(np.unique(values)) < len(values):
        raise ValueError(f"`sweep` expected different values on the axis `{name}`, got {axis!r}.")
    return values


def check_names(trial: Callable, axes: Mapping) -> None:
    """Raise a `ValueError` unless the axes are the arguments of the trial after its key."""
    if not axes:
        raise ValueError("`sweep` expected at least one axis, such as `seed=range(20)`, got none.")
    _, *parameters = inspect.signature(trial).parameters.values()
    names = [p.name for p in parameters if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
    takes_any = any(p.kind == p.VAR_KEYWORD for p in parameters)
    unknown = [name for name in axes if name not in (*names, SEED) and not takes_any]
    missing = [p.name for p in parameters if p.name in names and p.default is p.empty and p.name not in axes]
    if unknown or missing:
        wrong = [f"got the unknown {', '.join(unknown)}"] * bool(unknown)
        wrong += [f"got none for {', '.join(missing)}"] * bool(missing)
        raise ValueError(
            f"`sweep` expected an axis for each argument of the trial after its key ({', '.join(names) or 'none'}), "
            f"and `{SEED}` for repeated runs; {', '.join(wrong)}."
        )


def arguments(values: dict[str, np.ndarray]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Seeds (n,) uint32 and hyperparameters (n,) of runs with these values, in the default precision."""
    count = len(next(iter(values.values())))
    seeds = values.get(SEED, np.zeros(count)).astype(np.uint32)
    return seeds, {name: value.astype(dtype_of(value)) for name, value in values.items() if name != SEED}


def dtype_of(values: np.ndarray) -> np.dtype:
    """Floats in the default precision, integers as int32."""
    return np.dtype(np.int32 if values.dtype.kind in "iub" else jnp.result_type(float))
