"""Evenly spaced integers as an axis, such as 10⁹ seeds: three numbers instead of an array."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Steps:
    """start, start + step, ... : `count` integers, computed where they are read."""

    start: int
    step: int
    count: int

    dtype = np.dtype(np.int64)
    ndim = 1

    @property
    def shape(self) -> tuple[int]:
        """(count,)."""
        return (self.count,)

    @property
    def size(self) -> int:
        """The number of values."""
        return self.count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, places: np.ndarray | slice) -> np.ndarray:
        """The values at an array of places or at a slice."""
        if isinstance(places, slice):
            places = np.arange(*places.indices(self.count))
        return np.asarray(self.start + self.step * np.asarray(places, np.int64))

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        return (self.start + self.step * np.arange(self.count)).astype(dtype or self.dtype)

    def tolist(self) -> list[int]:
        """All values."""
        return np.asarray(self).tolist()

    @property
    def last(self) -> int:
        """The last value."""
        return self.start + self.step * (self.count - 1)

    def min(self) -> int:
        """The smallest value."""
        return min(self.start, self.last)

    def max(self) -> int:
        """The largest value."""
        return max(self.start, self.last)


Axis = np.ndarray | Steps
"""The values of a coordinate along its dimension (n,)."""


def steps_of(values: range) -> Steps:
    """A `range` of Python, not an empty one, as an axis."""
    count = (values[-1] - values[0]) // values.step + 1  # `len` ends at 2⁶³
    return Steps(values.start, values.step if count > 1 else 1, count)


def starts_with(values: Axis, first: Axis) -> bool:
    """Whether `values` begins with `first`."""
    if isinstance(values, Steps) and isinstance(first, Steps):
        same_step = values.step == first.step or first.count == 1
        return values.start == first.start and same_step and first.count <= values.count
    if len(first) > len(values):
        return False
    return bool(np.array_equal(np.asarray(values[: len(first)]), np.asarray(first)))


def followed_by(values: Axis, more: np.ndarray) -> Axis:
    """`values` and then `more`; evenly spaced where both together are."""
    if isinstance(values, Steps) and len(more):
        step = values.step if values.count > 1 else int(more[0]) - values.start
        longer = Steps(values.start, step, values.count + len(more))
        if starts_with(Steps(values.last + step, step, len(more)), more):
            return longer
    return np.concatenate([np.asarray(values), more]) if len(more) else values


def ascends(values: Axis) -> bool:
    """Whether every value is larger than the one before."""
    return values.step > 0 if isinstance(values, Steps) else bool((np.diff(values) > 0).all())


def nearest(values: Axis, value: float) -> int:
    """The place of the value nearest to `value`."""
    if isinstance(values, Steps):
        return int(np.clip(round((value - values.start) / values.step), 0, values.count - 1))
    return int(np.argmin(np.abs(values - value)))
