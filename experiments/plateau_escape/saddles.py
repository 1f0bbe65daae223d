"""Where a plateau is a known saddle: when momentum should have left it, worked out from the curvature there.

From plain descent's own median T, T ln g is how many times the distance from the saddle has to grow by e, g = 1 + ημ
its growth per epoch along the steepest way down, −μ the smallest curvature. Another form needs the same growth at its
own g of `theory.saddle_growth`, after the delay of its start from rest; where ηλ, λ the largest curvature, is beyond
its limit of stability, it never gets anywhere.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

import bpjax as bp
from bpjax import theory
from experiments.plateau_escape.outcomes import Summary
from experiments.plateau_escape.starts import Plateau


class Saddle(NamedTuple):
    """The critical point of a plateau, float64."""

    error: float
    gradient: float  # its norm
    downward: float  # smallest curvature, −μ
    largest: float  # largest curvature, λ


class Prediction(NamedTuple):
    """A form's median escape from a saddle by theory, and what was measured, epochs; ∞ for never."""

    plateau: str
    device: str
    stability: float  # ηλ as a share of the form's limit
    theory: float
    measured: float

    @property
    def holds(self) -> bool:
        """Within 10 %, or both never."""
        return self.theory == self.measured or bool(abs(self.measured / self.theory - 1) <= 0.1)


def saddle_of(plateau: Plateau) -> Saddle:
    """Error, gradient and curvatures at the plateau's critical point, from the whole Hessian: the nets are small."""
    with jax.enable_x64(True):
        params, batch = bp.util.cast((plateau.saddle, plateau.batch), "float64")
        rule = bp.backprop(plateau.network(plateau.unit), plateau.loss)
        flat, unravel = ravel_pytree(params)

        @jax.jit
        def measure(flat):
            value, grads, _ = rule.grads(unravel(flat), (), batch)
            product = bp.analysis.hessian_vector_product(rule, unravel(flat), batch)
            hessian = jax.vmap(lambda v: ravel_pytree(product(unravel(v)))[0])(jnp.eye(flat.size))
            return value, jnp.linalg.norm(ravel_pytree(grads)[0]), hessian

        value, gradient, hessian = measure(flat)
    curvatures = np.linalg.eigvalsh(np.asarray(hessian))
    return Saddle(float(value), float(gradient), float(curvatures[0]), float(curvatures[-1]))


def form_of(device: str, rate: float, momentum: float) -> tuple[str, float, float] | None:
    """(form, η, α) of the devices that theory knows."""
    forms = {"heavy ball": "heavy_ball", "convex": "convex", "Nesterov": "nesterov"}
    if device in forms:
        return forms[device], rate, momentum
    return ("gradient descent", rate / (1 - momentum), 0.0) if device == "larger rate" else None


def predictions_of(plateau: Plateau, saddle: Saddle, summaries: list[Summary], momentum: float) -> list[Prediction]:
    """What the curvatures say of momentum and the larger rate, beside the medians of the race."""
    own = {s.device: s for s in summaries if s.plateau == plateau.name}
    usual = own["plain descent"].median
    growths = usual * math.log(float(theory.saddle_growth("gradient descent", plateau.rate, 0.0, saddle.downward)))
    found = []
    for device, summary in own.items():
        form = form_of(device, plateau.rate, momentum)
        if form is None or math.isinf(usual):
            continue
        name, rate, alpha = form
        stability = rate * saddle.largest / float(theory.stability_limit(name, alpha))
        epochs = math.inf if stability >= 1 else escape(form, saddle.downward, growths)
        found.append(Prediction(plateau.name, device, stability, epochs, summary.median))
    return found


def escape(form: tuple[str, float, float], curvature: float, growths: float) -> float:
    """Epochs from rest until the distance from a saddle has grown e^`growths` times."""
    name, rate, alpha = form
    growth = math.log(float(theory.saddle_growth(name, rate, alpha, curvature)))
    late = math.ceil(30 / growth)
    reached = np.log(float(theory.saddle_distance(name, rate, alpha, curvature, late, 1.0)))
    return growths / growth + late - float(reached) / growth
