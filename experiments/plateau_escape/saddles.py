"""Predicted escape times from plateaus that are known saddles, from the curvature at the saddle.

Let −μ be the smallest curvature. Plain descent increases the distance from the saddle by the factor g = 1 + ημ per
epoch. With its measured median T, ln gᵀ is the growth needed to leave. Another form of momentum needs the same growth
at its own factor (`theory.saddle_growth`), after a delay because it starts with velocity 0. Where ηλ, with the largest
curvature λ, exceeds its limit of stability, it does not leave.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

import bpjax as bp
from bpjax import theory
from experiments.common.starts import compiled_once
from experiments.plateau_escape.escapes import Summary
from experiments.plateau_escape.starts import Plateau


class Saddle(NamedTuple):
    """Error, gradient and curvature at the critical point of a plateau, float64."""

    error: float
    gradient: float  # its norm
    downward: float  # smallest curvature, −μ
    largest: float  # largest curvature, λ


class Prediction(NamedTuple):
    """The predicted and the measured median escape time of a form, in epochs; ∞ for never."""

    plateau: str
    method: str
    stability: float  # ηλ divided by the limit of stability
    theory: float
    measured: float

    @property
    def holds(self) -> bool:
        """Whether they agree within 10 %, or are both ∞."""
        return self.theory == self.measured or bool(abs(self.measured / self.theory - 1) <= 0.1)


def saddle_of(plateau: Plateau) -> Saddle:
    """Measure the critical point of a plateau with the full Hessian, since the networks are small."""
    with jax.enable_x64(True):
        params, batch = bp.util.cast((plateau.saddle, plateau.batch), "float64")
        rule = bp.backprop(plateau.network(plateau.unit), plateau.loss)
        flat, unravel = ravel_pytree(params)

        @compiled_once
        def measure(flat):
            value, grads, _ = rule.grads(unravel(flat), (), batch)
            product = bp.analysis.hessian_vector_product(rule, unravel(flat), batch)
            hessian = jax.vmap(lambda v: ravel_pytree(product(unravel(v)))[0])(jnp.eye(flat.size))
            return value, jnp.linalg.norm(ravel_pytree(grads)[0]), hessian

        value, gradient, hessian = measure(flat)
    curvatures = np.linalg.eigvalsh(np.asarray(hessian))
    return Saddle(float(value), float(gradient), float(curvatures[0]), float(curvatures[-1]))


def form_of(method: str, rate: float, momentum: float) -> tuple[str, float, float] | None:
    """(form, η, α) of a method, None if there is no theory for it."""
    forms = {"heavy ball": "heavy_ball", "convex": "convex", "Nesterov": "nesterov"}
    if method in forms:
        return forms[method], rate, momentum
    return ("gradient descent", rate / (1 - momentum), 0.0) if method == "larger rate" else None


def predictions_of(plateau: Plateau, saddle: Saddle, summaries: list[Summary], momentum: float) -> list[Prediction]:
    """Predict the medians of the momentum forms and of the larger rate.

    Args:
        plateau: the problem.
        saddle: its critical point.
        summaries: measured medians of all methods.
        momentum: coefficient α.
    """
    own = {s.method: s for s in summaries if s.plateau == plateau.name}
    usual = own["plain descent"].median
    growths = usual * math.log(float(theory.saddle_growth("gradient descent", plateau.rate, 0.0, saddle.downward)))
    found = []
    for method, summary in own.items():
        form = form_of(method, plateau.rate, momentum)
        if form is None or math.isinf(usual):
            continue
        name, rate, alpha = form
        stability = rate * saddle.largest / float(theory.stability_limit(name, alpha))
        epochs = math.inf if stability >= 1 else escape(form, saddle.downward, growths)
        found.append(Prediction(plateau.name, method, stability, epochs, summary.median))
    return found


def escape(form: tuple[str, float, float], curvature: float, growths: float) -> float:
    """Epochs, starting with velocity 0, until the distance from a saddle has grown e^`growths` times.

    Args:
        form: (form, η, α).
        curvature: smallest curvature at the saddle.
        growths: logarithm of the required growth.
    """
    name, rate, alpha = form
    growth = math.log(float(theory.saddle_growth(name, rate, alpha, curvature)))
    late = math.ceil(30 / growth)
    reached = np.log(float(theory.saddle_distance(name, rate, alpha, curvature, late, 1.0)))
    return growths / growth + late - float(reached) / growth
