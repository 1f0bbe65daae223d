"""Momentum in quadratic ravines: where runs diverge, and how fast they converge.

A ravine is an ordinary training problem: a linear unit without bias, D one-hot examples, target 0,

    E = ½ Σₙ (xₙ · w)² = ½ Σᵢ λᵢ wᵢ²        xᵢᵢ = √λᵢ,  λ from 1 down to 1/κ

so that the gradient and the optimizer that train networks are the ones compared with the closed forms.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import bpjax as bp
from bpjax import theory
from bpjax.optimizers.momentum import Form
from experiments.momentum.boundary import Boundary, bisection, boundaries
from experiments.momentum.forms import FORMS

CURVATURES = 4
"""Number of curvatures of a ravine, geometrically spaced."""


def ravine(condition, curvatures: int = CURVATURES) -> tuple:
    """Examples (D, D) and targets (D, 1) with E = ½ Σ λᵢ wᵢ², λ from 1 to 1/`condition`, which may be traced."""
    exponents = jnp.linspace(0.0, -1.0, curvatures)
    x = jnp.diag(jnp.asarray(condition, exponents.dtype) ** (exponents / 2))
    return x, jnp.zeros((curvatures, 1), x.dtype)


def ones(key, shape, dtype):
    """Initializer: every weight is 1."""
    return jnp.ones(shape, dtype)


ravine_network = bp.dense(1, use_bias=False, weights=ones)
ravine_rule = bp.backprop(ravine_network, bp.squared_error)


# --- Where runs diverge ----------------------------------------------------------------------------------------------


def ravine_boundaries(config, key) -> list[Boundary]:
    """The limit of stability by bisection, for every form × condition number × momentum coefficient; λ_max = 1."""

    def trial(key, form, condition, momentum):
        batch = ravine(condition)
        params, _ = ravine_network.init(key, batch[0].shape[1:])

        def distance(params):
            return jnp.sqrt(ravine_rule.grads(params, (), batch)[0])

        return bisection(
            ravine_rule, form, momentum, params, batch, distance,
            ends=(0.05, 200.0), digits=config.digits, stable=1e-2, unstable=1e3, steps=config.bisection_steps,
        )  # fmt: skip

    with jax.enable_x64(True):
        axes = {
            "form": range(len(FORMS)), "condition": config.conditions, "momentum": config.boundary_momenta,
        }  # fmt: skip
        return boundaries(bp.sweep(trial, axes, key=key), "ravine", "condition", np.ones(len(config.conditions)))


# --- How fast they converge ------------------------------------------------------------------------------------------


class Speed(NamedTuple):
    """The rate of convergence of a form in a ravine at its best learning rate and momentum coefficient."""

    form: str
    condition: float
    rate: float  # η
    momentum: float  # α
    steps: int  # of which the second half is fitted
    predicted: float  # asymptotic factor per step σ
    measured: float
    power: float  # measured p of the error ∝ tᵖ σᵗ: 1 if two roots coincide, 0 otherwise
    naive: float  # (‖w(T)‖/‖w(0)‖)^(1/T), for comparison


def ravine_speeds(config, form: str, x64: bool = True) -> list[Speed]:
    """The rate of convergence at the best (η, α), for every condition number."""
    with jax.enable_x64(x64):
        return [ravine_speed(form, float(condition), config.most_steps) for condition in config.conditions]


def ravine_speed(form: str, condition: float, most_steps: int) -> Speed:
    """Train at the theoretical best (η, α) and fit the second half of the error curve."""
    best = theory.best_rate_and_momentum(form, 1 / condition, 1.0)
    predicted = float(theory.best_convergence_rate(form, condition))
    steps = int(min(most_steps, math.ceil(120 / -math.log(predicted))))
    batch = ravine(condition)
    start = bp.layers.Affine(1 / jnp.diag(batch[0])[:, None] ** 2)  # w = 1/λ: the same gradient in every direction
    own: Form = "heavy_ball" if form == "gradient descent" else form  # type: ignore[assignment]
    optimizer = bp.momentum(float(best.rate), float(best.momentum), form=own)
    fit = bp.fit(ravine_rule, optimizer, start, batch, key=jax.random.key(0), epochs=steps, chunk=500)
    size = np.sqrt(fit.history.error.astype(np.float64))
    size = size[size > 10 * math.sqrt(np.finfo(fit.history.error.dtype).tiny)]  # before the error underflows
    measured, power = late_rate(size)
    return Speed(
        form, condition, float(best.rate), float(best.momentum), len(size), predicted, measured, power,
        float((size[-1] / size[0]) ** (1 / (len(size) - 1))),
    )  # fmt: skip


def late_rate(size: np.ndarray) -> tuple[float, float]:
    """Fit (σ, p) of an error that is asymptotically ∝ tᵖ σᵗ, from errors (T,) at t = 0, 1 and so on.

    Least squares on the second half, ln ‖e(t)‖ = a + t ln σ + p ln t + c/t: at the best (η, α) two roots coincide and
    the error is (A + Bt) σᵗ, whose logarithm is that up to terms in 1/t².
    """
    t = np.arange(len(size))[len(size) // 2 :]
    basis = np.stack([np.ones(len(t)), t - t.mean(), np.log(t), len(size) / t], axis=1)
    (_, slope, power, _), *_ = np.linalg.lstsq(basis, np.log(size[t]), rcond=None)
    return float(np.exp(slope)), float(power)
