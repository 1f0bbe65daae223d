"""Momentum in gorges of any condition number: where runs diverge, and how fast they converge (part of momentum.py).

A gorge is a training like any other: one linear unit without bias, D examples with one input on each, target 0,

    E = ½ Σₙ (xₙ · w)² = ½ Σᵢ λᵢ wᵢ²        xᵢᵢ = √λᵢ,  λ from 1 down to 1/κ

so that the very gradient and optimizer that train networks are held against the closed forms.
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
"""Different curvatures of a gorge, spread geometrically."""


def gorge(condition, curvatures: int = CURVATURES) -> tuple:
    """Examples (D, D) and targets (D, 1) whose error is ½ Σ λᵢ wᵢ², λ from 1 to 1/`condition`, which may be traced."""
    exponents = jnp.linspace(0.0, -1.0, curvatures)
    x = jnp.diag(jnp.asarray(condition, exponents.dtype) ** (exponents / 2))
    return x, jnp.zeros((curvatures, 1), x.dtype)


def ones(key, shape, dtype):
    """Every weight 1."""
    return jnp.ones(shape, dtype)


gorge_network = bp.dense(1, use_bias=False, weights=ones)
gorge_rule = bp.backprop(gorge_network, bp.squared_error)


# --- Where runs diverge ----------------------------------------------------------------------------------------------


def gorge_boundaries(config, key) -> list[Boundary]:
    """The rate at which runs begin to diverge, by bisection, for every form × condition number × momentum; L = 1."""

    def trial(key, form, condition, momentum):
        batch = gorge(condition)
        params, _ = gorge_network.init(key, batch[0].shape[1:])

        def size(params):
            return jnp.sqrt(gorge_rule.grads(params, (), batch)[0])

        return bisection(
            gorge_rule, form, momentum, params, batch, size,
            ends=(0.05, 200.0), digits=config.digits, returns=1e-2, leaves=1e3, steps=config.bisection_steps,
        )  # fmt: skip

    with jax.enable_x64(True):
        axes = {
            "form": range(len(FORMS)), "condition": config.conditions, "momentum": config.boundary_momenta,
        }  # fmt: skip
        return boundaries(bp.sweep(trial, axes, key=key), "gorge", "condition", np.ones(len(config.conditions)))


# --- How fast they converge ------------------------------------------------------------------------------------------


class Speed(NamedTuple):
    """How fast a form converges in a gorge at its best rate and momentum."""

    form: str
    condition: float
    rate: float  # η
    momentum: float  # α
    steps: int  # taken, the later half of them fitted
    predicted: float  # σ, the factor per step in the long run
    measured: float
    power: float  # p, as measured, of the error ∝ tᵖ σᵗ: 1 where two roots meet, 0 where they do not
    naive: float  # what (‖w(T)‖/‖w(0)‖)^(1/T) would have said


def gorge_speeds(config, form: str, x64: bool = True) -> list[Speed]:
    """The rate of convergence at the best (η, α), for every condition number."""
    with jax.enable_x64(x64):
        return [gorge_speed(form, float(condition), config.most_steps) for condition in config.conditions]


def gorge_speed(form: str, condition: float, most_steps: int) -> Speed:
    """Train at the best (η, α) that theory knows and fit the later half of the error curve."""
    best = theory.best_rate_and_momentum(form, 1 / condition, 1.0)
    predicted = float(theory.best_convergence_rate(form, condition))
    steps = int(min(most_steps, math.ceil(120 / -math.log(predicted))))
    batch = gorge(condition)
    start = bp.layers.Affine(1 / jnp.diag(batch[0])[:, None] ** 2)  # w = 1/λ: every direction pulls alike
    own: Form = "heavy_ball" if form == "gradient descent" else form  # type: ignore[assignment]
    optimizer = bp.momentum(float(best.rate), float(best.momentum), form=own)
    fit = bp.fit(gorge_rule, optimizer, start, batch, key=jax.random.key(0), epochs=steps, chunk=500)
    size = np.sqrt(fit.history.error.astype(np.float64))
    size = size[size > 10 * math.sqrt(np.finfo(fit.history.error.dtype).tiny)]  # before the error underflows
    measured, power = late_rate(size)
    return Speed(
        form, condition, float(best.rate), float(best.momentum), len(size), predicted, measured, power,
        float((size[-1] / size[0]) ** (1 / (len(size) - 1))),
    )  # fmt: skip


def late_rate(size: np.ndarray) -> tuple[float, float]:
    """(σ, p) of an error that goes as tᵖ σᵗ in the long run, from errors (T,) at t = 0, 1, 2 and so on.

    Least squares on the later half, ln ‖e(t)‖ = a + t ln σ + p ln t + c/t: at the best (η, α) two roots coincide and
    the error is (A + Bt) σᵗ, whose logarithm is that up to terms in 1/t².
    """
    t = np.arange(len(size))[len(size) // 2 :]
    basis = np.stack([np.ones(len(t)), t - t.mean(), np.log(t), len(size) / t], axis=1)
    (_, slope, power, _), *_ = np.linalg.lstsq(basis, np.log(size[t]), rcond=None)
    return float(np.exp(slope)), float(power)
