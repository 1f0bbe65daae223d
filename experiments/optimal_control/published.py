"""The published numbers, with their sources."""

from typing import Any

import numpy as np
from scipy.optimize import brentq

ZERMELO_ANGLES = (105.0, 240.0)
"""Degrees, Bryson & Ho, section 2.7."""
ORBIT_RADIUS = 1.5252777
"""The two-point boundary value problem of Bryson & Ho, pp. 66-69, solved to a residual of 1e-8; they print 1.525."""
ORBIT_COSTATES = {"radius": 1.877336, "radial speed": 0.928934, "tangential speed": 2.025156}
"""λ(0) of the same solution, for the largest radius."""
ORBIT_ANGLES = {
    0.0: 24.64, 0.5: 39.52, 1.0: 61.68, 1.5: 96.26, 1.6: 115.38, 1.66: 147.36, 1.7: 189.11, 1.8: 247.65, 2.0: 271.02,
    2.6: 294.62, 3.32: 311.59,
}  # fmt: skip
"""{time: degrees above the local horizontal} of the same solution."""
ORBIT_DAYS = 193
YEAR = 365.25
"""Days in 2π units of time: the first orbit is the earth's."""
SLIDES = {"dymos": 1.8016, "PSOPT": 0.8247591}
RANGE = 1.712314
"""PSOPT; IPOPT and SQP agree with it to 1e-5."""
DENHAM = 3.999539
"""PSOPT's cost of the problem of Bryson and Denham with l = 1/9."""
DEGENERATE_RANGE = 0.2519
"""Where a degenerate first guess ends."""


def slide(across: float, down: float, gravity: float) -> float:
    """The shortest time from rest, on the cycloid x = R (φ − sin φ), y = R (1 − cos φ): √(R/g) φ."""
    ratio = across / down
    angle: Any = brentq(lambda a: (a - np.sin(a)) - ratio * (1 - np.cos(a)), 1e-3, 2 * np.pi - 1e-3, xtol=1e-15)
    return float(angle * np.sqrt(down / (1 - np.cos(angle)) / gravity))
