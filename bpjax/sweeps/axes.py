"""The axes of a sweep: grids, seeds, random draws and lists of points, and the runs they span.

Every axis is traced: its values are arguments of one compiled program. Integers arrive as int32 and floats in the
default precision, whether they are given as Python numbers, NumPy or JAX arrays. A static choice (a network, an
optimizer, a name) is no axis: `bp.sweep_over` makes one program per choice.
"""

import inspect
import math
import zlib
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bpjax.sweeps.plan import Plan
from bpjax.sweeps.steps import Axis, Steps, steps_of
from bpjax.training.outcomes import SWEEP_NAMES
from bpjax.types import Key
from bpjax.util.call_text import shown
from bpjax.util.checks import check_count, check_number

SEED = "seed"
"""The axis of repeated runs: its values are folded into the key, the same for all other axes."""
SAMPLE = "sample"
"""The dimension that all drawn hyperparameters share."""
LARGEST_SEED = 2**32 - 1
RESERVED = tuple(sorted({*SWEEP_NAMES, "check", "missing"} - {SEED, SAMPLE}))
"""Variables of a sweep's result, which no axis can have as its name."""


class Draws(NamedTuple):
    """Random values of a hyperparameter, drawn by `sweep` from its key."""

    low: float
    high: float
    samples: int
    logarithmic: bool


class Points(NamedTuple):
    """Values of several hyperparameters that belong together."""

    values: dict[str, np.ndarray]  # name of each hyperparameter, and its values (n,)


def draws(low: float, high: float, samples: int) -> Draws:
    """An axis of `samples` values drawn uniformly between `low` and `high`.

    All drawn hyperparameters of a sweep share the dimension "sample": sample k has a separate value of each. The value
    of sample k depends on the key, the name of the axis and k alone, so that more samples keep the earlier ones.

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
    return Draws(float(low), float(high), int(samples), logarithmic=False)


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
    return Draws(float(low), float(high), int(samples), logarithmic=True)


def points(**values) -> Points:
    """Paired values, one dimension for several hyperparameters.

        bp.sweep(xor, {"point": bp.points(learning_rate=[0.1, 1, 10], momentum=[0.9, 0.5, 0]), "seed": range(20)}, ...)

    trains at three points, not at nine. The dimension has the name under which the points stand in `axes`.

    Args:
        **values: of each hyperparameter, a list of numbers (n,); all lists have one length.

    Raises:
        ValueError: no hyperparameter, lists of different lengths, what is not a list of numbers, or a point twice.
    """
    arrays = {name: np.asarray(as_values("points", name, axis, may_repeat=True)) for name, axis in values.items()}
    lengths = {name: len(array) for name, array in arrays.items()}
    if len(set(lengths.values())) != 1:
        raise ValueError(
            "`points` expected lists of one length, such as `learning_rate=[0.1, 1], momentum=[0.9, 0.5]`, got "
            f"{', '.join(f'{length} of {name}' for name, length in lengths.items()) or 'none'}."
        )
    rows = list(zip(*(array.tolist() for array in arrays.values()), strict=True))
    if len(set(rows)) < len(rows):
        raise ValueError("`points` expected every point once, got one of them twice. Use the axis `seed` for repeats.")
    return Points(arrays)


def plan(trial: Callable, axes: Mapping, key: Key) -> Plan:
    """The runs that `axes` spans for this trial.

    Args:
        trial: (key, **hyperparameters) -> Trial.
        axes: values of each hyperparameter, as for `sweep`; without any there is one run.
        key: root of the drawn values.

    Raises:
        ValueError: an axis is empty or not a list of numbers, its name is not an argument of the trial or is that of a
            variable of the result, an argument of the trial has no axis, or drawn axes differ in length.
    """
    if not isinstance(axes, Mapping):
        raise ValueError(
            f"`sweep` expected `axes` to be a dictionary such as `{{'learning_rate': [0.1, 1]}}`, got {shown(axes)}."
        )
    check_names(trial, axes)
    if isinstance(axes.get(SEED), Draws):
        raise ValueError(f"`sweep` expected the axis `{SEED}` to hold integers, such as `range(20)`, got draws.")
    counts = {name: axis.samples for name, axis in axes.items() if isinstance(axis, Draws)}
    if len(set(counts.values())) > 1:
        raise ValueError(
            f"`sweep` expected the drawn axes to have one length, as they share the dimension {SAMPLE!r}, got {counts}."
        )
    coords: dict[str, tuple[str, Axis]] = {}
    drawn = {}
    for name, axis in axes.items():
        if isinstance(axis, Draws):
            coords.setdefault(SAMPLE, (SAMPLE, Steps(0, 1, axis.samples)))
            coords[name] = (SAMPLE, drawn_values(axis, name, key))
            drawn[name] = [axis.low, axis.high, "logarithmic" if axis.logarithmic else "uniform"]
        elif isinstance(axis, Points):
            coords |= {parameter: (name, values) for parameter, values in axis.values.items()}
        else:
            coords[name] = (name, as_values("sweep", name, axis))
    dims = {dim: len(values) for dim, values in coords.values()}
    return Plan(dims, coords, tuple(name for name in coords if name not in (SEED, SAMPLE)), drawn)


def drawn_values(axis: Draws, name: str, key: Key) -> np.ndarray:
    """The values (samples,) of a drawn axis: sample k is drawn from fold_in(fold_in(key, CRC-32 of the name), k)."""
    axis_key = jax.random.fold_in(key, zlib.crc32(name.encode()))
    keys = jax.vmap(jax.random.fold_in, (None, 0))(axis_key, jnp.arange(axis.samples))
    unit = np.asarray(jax.vmap(jax.random.uniform)(keys), float)
    low, high = (math.log(axis.low), math.log(axis.high)) if axis.logarithmic else (axis.low, axis.high)
    values = low + (high - low) * unit
    return np.exp(values) if axis.logarithmic else values


def as_values(who: str, name: str, axis, may_repeat: bool = False) -> Axis:
    """The values of a grid axis (n,), int64 or float64; a single number is an axis of length 1, a range stays one.

    float32 values become the float64 of the same decimals, so that `[0.1]`, `np.float32([0.1])` and `jnp.array([0.1])`
    give the same coordinates. Rounded to float32 again they are unchanged.

    Args:
        who: the function that received the axis.
        name: of the axis.
        axis: a number, or a list or array of numbers.
        may_repeat: whether a value may occur twice.

    Raises:
        ValueError: something else, an empty list, a value twice, or a number that the program cannot represent.
    """
    axis = list(axis) if isinstance(axis, map | filter) else axis
    values = steps_of(axis) if isinstance(axis, range) and axis else numbers_of(axis)
    if values is None:
        raise ValueError(
            f"`{who}` expected the axis `{name}` to be a list of numbers, at least one, or `bp.sweeps.draws(...)`, got "
            f"{shown(axis)}. For a choice of what is not a number (a network, an optimizer) use `bp.sweep_over`."
        )
    if name == SEED and (
        is_boolean(axis) or values.dtype.kind != "i" or values.min() < 0 or values.max() > LARGEST_SEED
    ):
        raise ValueError(
            f"`{who}` expected the axis `{SEED}` to hold integers from 0 to {LARGEST_SEED}, got {shown(axis)}."
        )
    limits = np.iinfo(np.int32)
    if name != SEED and values.dtype.kind == "i" and not (limits.min <= values.min() and values.max() <= limits.max):
        raise ValueError(
            f"`{who}` expected integers on the axis `{name}` from {limits.min} to {limits.max} (int32), got "
            f"{shown(axis)}."
        )
    if isinstance(values, Steps):
        return values
    if not may_repeat and len(np.unique(values)) < len(values):
        raise ValueError(f"`{who}` expected different values on the axis `{name}`, got {shown(axis)}.")
    if values.dtype.kind == "f":
        check_representable(who, name, values)
    return values


def is_boolean(axis) -> bool:
    """Whether an axis holds booleans."""
    return not isinstance(axis, range) and np.asarray(axis).dtype.kind == "b"


def numbers_of(axis) -> np.ndarray | None:
    """A list of real numbers as int64 or float64 (n,), or None."""
    try:
        values = np.atleast_1d(np.asarray(axis))
    except (TypeError, ValueError):
        return None
    flags = [isinstance(entry, bool | np.bool_) for entry in axis] if isinstance(axis, tuple | list) else []
    if any(flags) and not all(flags):
        return None
    if values.ndim != 1 or values.dtype.kind not in "iufb" or not values.size:
        return None
    if values.dtype.kind == "u" and values.max() > np.iinfo(np.int64).max:
        return None
    if values.dtype.kind != "f":
        return values.astype(np.int64)
    return np.array([float(str(value)) for value in values]) if values.dtype != np.float64 else values


def check_representable(who: str, name: str, values: np.ndarray) -> None:
    """Raise a `ValueError` where rounding to the default precision makes numbers infinite, zero, or equal."""
    dtype = np.dtype(jnp.result_type(float))
    with np.errstate(over="ignore", under="ignore"):
        rounded = values.astype(dtype)
    wrong = ~np.isfinite(rounded) | ((rounded == 0) & (values != 0))
    if wrong.any():
        raise ValueError(
            f"`{who}` expected finite numbers within the range of {dtype} on the axis `{name}`, got {values[wrong][0]}."
        )
    if len(np.unique(rounded)) < len(np.unique(values)):
        raise ValueError(
            f"`{who}` expected values on the axis `{name}` that differ in {dtype}, got some that are equal after "
            "rounding. Use fewer values, or run under `jax.enable_x64(True)`."
        )


def check_names(trial: Callable, axes: Mapping) -> None:
    """Raise a `ValueError` unless the axes are the arguments of the trial after its key."""
    given = [
        parameter for name, axis in axes.items() for parameter in (axis.values if isinstance(axis, Points) else [name])
    ]
    dims = [name for name, axis in axes.items() if isinstance(axis, Points)]
    reserved = [name for name in (*axes, *given) if name in RESERVED]
    if reserved:
        raise ValueError(
            f"`sweep` expected other names of axes than {reserved[0]!r}, which is a variable of its result: give the "
            f"argument of the trial another name, such as `{reserved[0]}_`."
        )
    twice = sorted({name for name in (*given, *dims) if (*given, *dims).count(name) > 1})
    if twice or SAMPLE in (*given, *dims):
        raise ValueError(f"`sweep` expected each axis once, and none called {SAMPLE!r}, got {twice or SAMPLE}.")
    parameters = list(parameters_of(trial))
    names = [p.name for p in parameters if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
    takes_any = any(p.kind == p.VAR_KEYWORD for p in parameters)
    unknown = [name for name in given if name not in (*names, SEED) and not takes_any]
    missing = [p.name for p in parameters if p.name in names and p.default is p.empty and p.name not in given]
    if unknown or missing:
        wrong = [f"got the unknown {', '.join(unknown)}"] * bool(unknown)
        wrong += [f"got none for {', '.join(missing)}"] * bool(missing)
        raise ValueError(
            f"`sweep` expected an axis for each argument of the trial after its key ({', '.join(names) or 'none'}), "
            f"and `{SEED}` for repeated runs; {', '.join(wrong)}."
        )


def parameters_of(trial: Callable) -> list[inspect.Parameter]:
    """The parameters of a trial after its key, or a `ValueError`."""
    try:
        parameters = list(inspect.signature(trial).parameters.values())
    except (TypeError, ValueError):
        parameters = []
    if not parameters or parameters[0].kind not in (
        inspect.Parameter.POSITIONAL_ONLY,
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
        inspect.Parameter.VAR_POSITIONAL,
    ):
        raise ValueError(
            "`sweep` expected a trial: a function (key, **hyperparameters) that returns `bp.trial(...)`, got "
            f"{shown(trial)}."
        )
    return [p for p in parameters if p is not parameters[0] or p.kind == p.VAR_POSITIONAL]
