"""The weights with which a network tells whether a string reads the same from both ends."""

import numpy as np

RATIOS = {"1:2:4": (1.0, 2.0, 4.0), "2:3:4": (1.0, 1.5, 2.0)}
"""Both make the weighted sum of every string of six bits that is not a palindrome differ from 0."""


def weight_ratios(w: np.ndarray, tolerance: float = 0.15) -> list[str]:
    """The ratio of the three mirror pairs in each of many 6-H-1 networks: a key of `RATIOS`, or "others".

    The mean of |w| over the two inputs of a pair, smallest pair of each hidden unit = 1, and over the hidden units.

    Args:
        w: (runs, 6, H) weights from the inputs to the hidden units.
        tolerance: largest relative deviation of each of the three means.
    """
    w = np.abs(np.asarray(w, float))
    pairs = np.sort((w[:, :3] + w[:, :2:-1]) / 2, axis=1)
    ratios = (pairs / pairs[:, :1]).mean(axis=2)
    names = ["others"] * len(w)
    for name, ratio in RATIOS.items():
        for run in np.flatnonzero((np.abs(ratios / np.array(ratio) - 1) < tolerance).all(axis=1)):
            names[run] = name
    return names


def asymmetry(w: np.ndarray) -> np.ndarray:
    """max |wᵢ + w₇₋ᵢ| / max |wᵢ| over the hidden units of each network: 0 if mirror images have opposite weights.

    Args:
        w: (runs, 6, H) weights from the inputs to the hidden units.
    """
    w = np.asarray(w, float)
    return (np.abs(w + w[:, ::-1]).max(axis=1) / np.abs(w).max(axis=1)).max(axis=1)
