"""The runs of a sweep: where each one lies in the grid of dimensions, and how a grid grows."""

import math
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from bpjax.sweeps.steps import Axis, Steps, followed_by, starts_with


class Plan(NamedTuple):
    """The runs of a sweep, numbered from 0 with the last dimension fastest."""

    dims: dict[str, int]
    """Name and length of each dimension of the result; without any there is one run."""
    coords: dict[str, tuple[str, Axis]]
    """Name of each coordinate: its dimension, and its values along it."""
    hyperparameters: tuple[str, ...]
    """The coordinates that are arguments of the trial; `seed` is folded into the key instead."""
    drawn: dict[str, list]
    """Of each drawn hyperparameter: low, high, and "uniform" or "logarithmic"."""

    @property
    def runs(self) -> int:
        """The number of runs."""
        return math.prod(self.dims.values())

    @property
    def shape(self) -> tuple[int, ...]:
        """The length of each dimension."""
        return tuple(self.dims.values())

    def values(self, numbers: np.ndarray) -> dict[str, np.ndarray]:
        """The value of each coordinate for the runs with these numbers (n,)."""
        if not self.dims:
            return {}
        places = dict(zip(self.dims, np.unravel_index(numbers, self.shape), strict=True))
        return {name: values[places[dim]] for name, (dim, values) in self.coords.items()}

    def arguments(self, numbers: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Seeds (n,) uint32 and hyperparameters (n,) of these runs, in the default precision."""
        values = self.values(numbers)
        seeds = values.get("seed", np.zeros(len(numbers))).astype(np.uint32)
        return seeds, {name: values[name].astype(dtype_of(values[name])) for name in self.hyperparameters}

    def dtypes(self) -> tuple[tuple[str, np.dtype], ...]:
        """(name, dtype) of each hyperparameter, as the trial receives it."""
        return tuple((name, dtype_of(self.coords[name][1])) for name in self.hyperparameters)

    def columns(self, dim: str) -> dict[str, Axis]:
        """The coordinates along a dimension."""
        return {name: values for name, (along, values) in self.coords.items() if along == dim}


def dtype_of(values: Axis) -> np.dtype:
    """Floats in the default precision, integers as int32."""
    return np.dtype(np.int32 if values.dtype.kind in "iub" else jnp.result_type(float))


def rows(columns: dict[str, Axis]) -> list[tuple]:
    """The places along a dimension, each as the values of all coordinates there."""
    return list(zip(*(values.tolist() for values in columns.values()), strict=True))


def union(first: Plan, second: Plan) -> Plan:
    """The smallest grid that contains two others, which have the same dimensions and coordinates.

    The places of `first` keep their order; those that only `second` has follow.
    """
    coords: dict[str, tuple[str, Axis]] = {}
    for dim in first.dims:
        there = first.columns(dim)
        ordered = {name: second.coords[name][1] for name in there}
        new = places_beyond(there, ordered)
        coords |= {name: (dim, followed_by(values, ordered[name][new])) for name, values in there.items()}
    coords = {name: coords[name] for name in first.coords}
    return first._replace(dims={dim: len(values) for dim, values in coords.values()}, coords=coords)


def places_beyond(there: dict[str, Axis], columns: dict[str, Axis]) -> np.ndarray:
    """The places along `columns` that `there` does not have."""
    if all(starts_with(there[name], values) for name, values in columns.items()):
        return np.zeros(0, int)
    if all(starts_with(values, there[name]) for name, values in columns.items()):
        (length,), (begins,) = ({len(values) for values in one.values()} for one in (columns, there))
        return np.arange(begins, length)
    known = set(rows(there))
    return np.array([place for place, row in enumerate(rows(columns)) if row not in known], int)


def places_in(whole: Plan, part: Plan) -> dict[str, Axis]:
    """For each dimension of `whole`, the places at which the values of `part` stand."""
    places: dict[str, Axis] = {}
    for dim in whole.dims:
        there = whole.columns(dim)
        columns = {name: part.coords[name][1] for name in there}
        if all(starts_with(there[name], values) for name, values in columns.items()):
            places[dim] = Steps(0, 1, part.dims[dim])
            continue
        place_of = {row: place for place, row in enumerate(rows(there))}
        places[dim] = np.array([place_of[row] for row in rows(columns)])
    return places


def numbers_in(whole: Plan, part: Plan) -> np.ndarray:
    """The numbers in `whole` of the runs of `part`, an array of the shape of `part`."""
    if not part.dims:
        return np.zeros((), int)
    places = places_in(whole, part)
    axes = dict(zip(part.dims, np.ix_(*(np.asarray(places[dim]) for dim in part.dims)), strict=True))
    numbers = np.ravel_multi_index(tuple(np.broadcast_arrays(*(axes[dim] for dim in whole.dims))), whole.shape)
    return np.asarray(numbers)
