"""Rules that are another gradient on purpose, recognized: straight-through, surrogates, reversal, scaling, clipping."""

from collections.abc import Sequence

import numpy as np

STRAIGHT_THROUGH = (
    "the function is piecewise constant and the rule passes the cotangent on: a straight-through estimator"
)
SURROGATE = "the function is piecewise constant, so that its gradient is 0: the rule looks like a surrogate gradient"


def deliberate(cotangents: Sequence[Sequence], computed: Sequence[Sequence], truth: Sequence[Sequence]) -> str | None:
    """What a wrong rule does on purpose, in words; None where it is not one of the known kinds.

    Args:
        cotangents: for each set, the cotangents of the results.
        computed: for each set, the gradients by the rule.
        truth: the right ones.
    """
    leaves = [k for k, g in enumerate(computed[0]) if g is not None]
    if not leaves or not all(np.isfinite(np.asarray(row[k])).all() for row in computed for k in leaves):
        return None
    if all(not np.any(row[k]) for row in truth for k in leaves):
        passed = len(leaves) == 1 and _factor([row[leaves[0]] for row in computed], [row[0] for row in cotangents]) == 1
        return STRAIGHT_THROUGH if passed else SURROGATE
    factors = []
    for k in leaves:
        given = next((j for j in range(len(cotangents[0])) if _same(truth, k, cotangents, j)), None)
        if given is None:
            return None
        factors.append(_factor([row[k] for row in computed], [row[given] for row in cotangents]))
    if all(f is None for f in factors):
        return "the function is the identity and its rule changes the cotangent: gradient clipping or the like"
    if any(f is None for f in factors) or len(set(factors)) > 1:
        return None
    if factors[0] == 0:
        return "the function is the identity and its rule gives zero: it stops the gradient"
    kind = "a gradient reversal" if factors[0] < 0 else "a gradient scaling"
    return f"the function is the identity and its rule multiplies the cotangent by {factors[0]:g}: {kind}"


def _same(truth, k: int, cotangents, j: int) -> bool:
    return all(
        np.shape(t[k]) == np.shape(c[j]) and np.allclose(t[k], c[j]) for t, c in zip(truth, cotangents, strict=True)
    )


def _factor(rows, others) -> float | None:
    """The λ in rows = λ · others, None if there is none."""
    if np.shape(rows[0]) != np.shape(others[0]) or any(map(np.iscomplexobj, (*rows, *others))):
        return None
    a, b = (np.concatenate([np.ravel(np.asarray(x, np.float64)) for x in some]) for some in (rows, others))
    factor = float(f"{a @ b / (b @ b):.3g}")
    return factor if np.linalg.norm(a - factor * b) <= 1e-2 * np.linalg.norm(a) else None
