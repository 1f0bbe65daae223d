"""Tied entries, such as two largest ones: their gradients are a matter of convention, the sum of them is not.

Where equal entries move together, the tie remains and the function may be smooth: its slope is the sum of their
gradients, however a convention shares it out.
"""

from collections.abc import Sequence

import numpy as np

from bpjax.gradcheck.finite_differences import FiniteDifferences

Position = tuple[int, ...]


def broken_ties(
    differences: FiniteDifferences, index: int, kinks: Sequence[Position], rows: Sequence[np.ndarray], budget: float
) -> dict[Position, str]:
    """The tied entries whose gradients have the wrong sum, and why.

    Args:
        differences: of the function.
        index: of the array.
        kinks: entries at which the function has a kink.
        rows: for each cotangent, the gradient under test by this array.
        budget: relative error that is accepted.
    """
    array = differences.arrays[index]
    groups: dict[float, list[Position]] = {}
    for position in kinks:
        if not np.iscomplexobj(array):
            groups.setdefault(float(array[position]), []).append(position)
    found = {}
    for value, members in groups.items():
        if len(members) > 1 and (gap := _sum_is_wrong(differences, index, value, members, rows, budget)):
            found |= dict.fromkeys(members, gap)
    return found


def _sum_is_wrong(differences, index: int, value: float, members, rows, budget: float) -> str | None:
    size = abs(value) or 1.0
    direction = [np.zeros_like(a) for a in differences.arrays]
    for position in members:
        direction[index][position] = size
    slope = differences.along([direction])[0]
    for m, row in enumerate(rows):
        gradients = np.array([float(row[p]) for p in members])
        expected, error = slope.both[m] / size, slope.error[m] / size
        allowed = 10 * error + 10 * budget * (np.abs(gradients).sum() + abs(expected))
        if np.isfinite(expected) and not slope.kink[m] and abs(gradients.sum() - expected) > allowed:
            return f"{len(members)} tied entries together have the slope {expected:.6g}, not {gradients.sum():.6g}"
    return None
