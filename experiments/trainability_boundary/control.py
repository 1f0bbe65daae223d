"""A boundary that is known exactly: one weight, and a quadratic error with a ripple (arXiv:2406.13971).

    f(w) = w² + ε cos(2πw/λ),   w ← w − η f′(w),   θ = ε / λ²

The paper finds that the boundary in η turns fractal near θ = 1/(2π²), where f ceases to be convex. Below half of that,
w ↦ η f′(w) − w rises for every η ≥ 1, so that |w| grows without end exactly if η is above

    η* = max over w ≥ w₀ of 2w / f′(w),

and the boundary is this one point, of dimension 0.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

import bpjax as bp
from bpjax.types import Array
from bpjax.util.trees import select
from experiments.trainability_boundary.training import Record, power_of_ten

CRITICAL = 1 / (2 * np.pi**2)
"""θ from which f is not convex."""
WAVELENGTH = 0.1
"""λ."""
START = 0.3
"""w₀."""
DECADES = -3.0, 0.3
"""log₁₀ (η − 1) of the first and the last rate."""
STEPS = 2000
FAR = 1e6
"""|w| that counts as divergence; there the ripple no longer matters."""


class Descent(NamedTuple):
    """One weight on its way."""

    w: Array
    epoch: Array
    reason: Array


def trial(key, theta, excess):
    """The rate is 1 + 10^excess; θ in units of its critical value."""
    del key
    rate, epsilon = 1 + power_of_ten(excess), theta * CRITICAL * WAVELENGTH**2

    def step(run: Descent) -> tuple[Descent, Record]:
        slope = 2 * run.w - 2 * jnp.pi * epsilon / WAVELENGTH * jnp.sin(2 * jnp.pi * run.w / WAVELENGTH)
        w, epoch = run.w - rate * slope, run.epoch + 1
        reason = jnp.where(abs(w) < FAR, jnp.where(epoch >= STEPS, 2, 0), 1).astype(jnp.int32)
        return select(run.reason == 0, Descent(w, epoch, reason), run), Record(w * w)

    none = jnp.zeros((), jnp.int32)
    program = bp.training.Program(
        step, lambda run: {"bounded": run.reason == 2}, ("running", "left", "done"), failures=("left",)
    )
    return bp.training.Trial(Descent(jnp.asarray(START), none, none), program)


def control(thetas, rates: int) -> xr.Dataset:
    """Which rates keep the weight bounded, over (theta, excess).

    Args:
        thetas: in units of the critical value.
        rates: how many.
    """
    with jax.enable_x64(True):
        axes = {"theta": np.asarray(thetas, float), "excess": np.linspace(*DECADES, rates)}
        return bp.sweep(trial, axes, key=jax.random.key(0))


def exact_limit(theta: float) -> float:
    """η* for θ in units of the critical value, at most one half; from w over 100 wavelengths in steps of λ/10⁴."""
    w = START + WAVELENGTH * np.arange(1_000_000) / 10_000
    ripple = 2 * np.pi * theta * CRITICAL * WAVELENGTH
    return float(np.max(2 * w / (2 * w - ripple * np.sin(2 * np.pi * w / WAVELENGTH))))
