"""Mistakes that show in a whole leaf of a gradient: transposed, not summed, exchanged, another's."""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from bpjax.gradcheck.agreement import relative_error


class LeafMistake(NamedTuple):
    """What is wrong with the gradient by one leaf."""

    mistake: str  # a key of `mistakes.MISTAKES`
    text: str
    leaf: int
    left: float  # relative error that is left


def leaf_mistake(
    names: Sequence[str], computed: Sequence[Sequence], truth: Sequence[Sequence], tolerance: float
) -> LeafMistake | None:
    """The mistake where each wrong leaf has the right entries in another place, else None.

    Args:
        names: of the leaves.
        computed: for each set of cotangents, the leaves of the gradient; None for a leaf without one.
        truth: the right ones.
        tolerance: relative error of a leaf that counts as equal.
    """
    leaves = [k for k in range(len(names)) if computed[0][k] is not None and truth[0][k] is not None]
    a = {k: [np.asarray(c[k]) for c in computed] for k in leaves}
    t = {k: [np.asarray(c[k]) for c in truth] for k in leaves}

    def left(some, others) -> float:
        return max(relative_error(x, y) for x, y in zip(some, others, strict=True))

    wrong = [k for k in leaves if left(a[k], t[k]) > tolerance]
    for k in wrong:
        for found in itertools.chain(_moved(names[k], a[k], t[k]), _exchanged(k, names, a, t)):
            mistake, text, x, y = found
            error = left(x, y)
            if error <= tolerance:
                return LeafMistake(mistake, text, k, error)
    return None


def _moved(name: str, a: list, t: list):
    """(mistake, text, one side, other side) of the ways in which entries of one leaf can be moved."""
    ndim, other = t[0].ndim, a[0].ndim
    if np.iscomplexobj(a[0]) and np.iscomplexobj(t[0]) and a[0].shape == t[0].shape:
        text = f"the gradient by `{name}` is conjugated; JAX's gradient of a real function is ∂f/∂x − i ∂f/∂y"
        yield "conjugated", text, [x.conj() for x in a], t
    if ndim >= 2 and other == ndim and a[0].shape == t[0].swapaxes(-1, -2).shape:
        text = f"the gradient by `{name}` has the right entries, transposed"
        yield "gradient transposed", text, [x.swapaxes(-1, -2) for x in a], t
    if other == ndim + 1:
        for axis in range(other):
            if np.delete(a[0].shape, axis).tolist() == list(t[0].shape):
                text = f"the gradient by `{name}` is not summed over axis {axis} of length {a[0].shape[axis]}"
                yield "bias not summed", text, [x.sum(axis=axis) for x in a], t
    if ndim and other == ndim and a[0].shape == t[0].shape:
        for axis in range(ndim):
            text = f"the gradient by `{name}` is reversed along axis {axis}"
            yield "not reversed", text, [np.flip(x, axis) for x in a], t
            if t[0].shape[axis] > 2:
                for shift in (1, -1):
                    text = f"the gradient by `{name}` is shifted by one along axis {axis}"
                    yield "shifted", text, [np.roll(x, shift, axis) for x in a], t


def _exchanged(k: int, names, a, t):
    """The gradient of another leaf in the place of this one."""
    for other, right in t.items():
        if other != k and right[0].shape == a[k][0].shape and np.any(right[0]):
            text = f"the gradient by `{names[k]}` is that by `{names[other]}`"
            yield "leaves exchanged", text, a[k], right
