"""The runs of a sweep: where each one lies in the grid of dimensions, and how a grid grows."""

import math
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np


class Plan(NamedTuple):
    """The runs of a sweep, numbered from 0 with the last dimension fastest."""

    dims: dict[str, int]
    """Name and length of each dimension of the result; without any there is one run."""
    coords: dict[str, tuple[str, np.ndarray]]
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

    def rows(self, dim: str) -> list[tuple]:
        """The places along a dimension, each as the values of all coordinates there."""
        columns = [values.tolist() for along, values in self.coords.values() if along == dim]
        return list(zip(*columns, strict=True))


def dtype_of(values: np.ndarray) -> np.dtype:
    """Floats in the default precision, integers as int32."""
    return np.dtype(np.int32 if values.dtype.kind in "iub" else jnp.result_type(float))


def union(first: Plan, second: Plan) -> Plan:
    """The smallest grid that contains two others, which have the same dimensions and coordinates.

    The places of `first` keep their order; those that only `second` has follow.
    """
    coords = {}
    for dim in first.dims:
        names = [name for name, (along, _) in first.coords.items() if along == dim]
        there = first.rows(dim)
        known = set(there)
        ordered = second._replace(coords={name: second.coords[name] for name in names}).rows(dim)
        new = [place for place, row in enumerate(ordered) if row not in known]
        for name in names:
            coords[name] = (dim, np.concatenate([first.coords[name][1], second.coords[name][1][new]]))
    coords = {name: coords[name] for name in first.coords}
    return first._replace(dims={dim: len(values) for dim, values in coords.values()}, coords=coords)


def numbers_in(whole: Plan, part: Plan) -> np.ndarray:
    """The numbers in `whole` of the runs of `part`, an array of the shape of `part`."""
    if not part.dims:
        return np.zeros((), int)
    places = {}
    for dim in part.dims:
        names = [name for name, (along, _) in whole.coords.items() if along == dim]
        place_of = {row: place for place, row in enumerate(whole.rows(dim))}
        ordered = part._replace(coords={name: part.coords[name] for name in names})
        places[dim] = np.array([place_of[row] for row in ordered.rows(dim)])
    axes = dict(zip(part.dims, np.ix_(*places.values()), strict=True))
    numbers = np.ravel_multi_index(tuple(np.broadcast_arrays(*(axes[dim] for dim in whole.dims))), whole.shape)
    return np.asarray(numbers)
