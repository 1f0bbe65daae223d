"""Momentum on a quadratic: where each form is stable, how fast it is, and which rate and momentum are best.

The forms are those of `bpjax.momentum` and "gradient descent", which ignores the momentum. On ½λw² each of them is a
recursion of second order, w(t+1) = b w(t) − c w(t−1), whose characteristic polynomial is σ² − bσ + c:

    form                    b                       c
    gradient descent        1 − ηλ                  0
    heavy_ball, velocity    1 + α − ηλ              α
    convex                  1 + α − (1−α)ηλ         α
    nesterov                (1+α)(1 − ηλ)           α(1 − ηλ)

η is the learning rate, α the momentum coefficient, λ the curvature. Polyak 1964; Nesterov's form after Lessard, Recht &
Packard 2016. All functions broadcast, compute in float64 and raise a `ValueError` for an argument out of bounds or an
unknown form.
"""

from typing import NamedTuple

import numpy as np

from bpjax.theory.numbers import as_numbers, check_broadcast
from bpjax.util.checks import check_choice

FORMS = ("gradient descent", "heavy_ball", "convex", "velocity", "nesterov")
"""The forms whose theory is here; the last four are those of `bp.momentum`."""


class RateAndMomentum(NamedTuple):
    """A learning rate and a momentum coefficient."""

    rate: np.ndarray  # η
    momentum: np.ndarray  # α, 0 for gradient descent


def momentum_of(who: str, form: str, momentum) -> np.ndarray:
    """α with 0 ≤ α < 1, zeros for gradient descent, or a `ValueError`."""
    check_choice(who, "form", form, FORMS)
    momentum = as_numbers(who, "momentum", momentum, least=0.0, below=1.0)
    return np.zeros_like(momentum) if form == "gradient descent" else momentum


def stability_limit(form: str, momentum=0.0) -> np.ndarray:
    """The largest stable product ηλ of learning rate and curvature: above it the error on a quadratic diverges.

    gradient descent        2
    heavy_ball, velocity    2(1 + α)
    convex                  2(1 + α)/(1 − α)
    nesterov                2(1 + α)/(1 + 2α)

    Shapes: momentum (...), 0 ≤ α < 1, to (...). With several curvatures λ is the largest one.
    """
    alpha = momentum_of("stability_limit", form, momentum)
    divisor = {"convex": 1 - alpha, "nesterov": 1 + 2 * alpha}.get(form, np.ones_like(alpha))
    return 2 * (1 + alpha) / divisor


def mode_roots(form: str, rate, momentum, curvature) -> np.ndarray:
    """The two roots of σ² − bσ + c: an error along this curvature is A σ₁ᵗ + B σ₂ᵗ after t steps.

    Shapes: rate, momentum and curvature broadcast to (...); the roots are complex, (..., 2), the larger real part
    first. Where the two coincide the error is (A + Bt) σᵗ.

    Args:
        form: one of `FORMS`.
        rate: η > 0.
        momentum: α from 0 to below 1.
        curvature: λ; below 0 for the way down from a saddle.
    """
    who = "mode_roots"
    alpha = momentum_of(who, form, momentum)
    eta, curvature = as_numbers(who, "rate", rate, above=0.0), as_numbers(who, "curvature", curvature)
    check_broadcast(who, rate=eta, momentum=alpha, curvature=curvature)
    x = eta * curvature
    if form == "nesterov":
        b, c = (1 + alpha) * (1 - x), alpha * (1 - x)
        discriminant = (1 - x) * ((1 - alpha) ** 2 - (1 + alpha) ** 2 * x)
    else:
        x = (1 - alpha) * x if form == "convex" else x
        b, c = 1 + alpha - x, alpha
        # b² − 4c as a product: the difference would lose half of the digits near a double root
        discriminant = ((1 - np.sqrt(alpha)) ** 2 - x) * ((1 + np.sqrt(alpha)) ** 2 - x)
    b, c, discriminant = np.broadcast_arrays(b, c, discriminant)
    root = np.sqrt(discriminant.astype(np.complex128))
    far = np.where(b < 0, b - root, b + root) / 2  # no cancellation here; the other root by σ₁σ₂ = c
    near = np.where(discriminant < 0, np.conj(far), c / np.where(far == 0, 1.0, far))
    pair = np.stack([far, near], axis=-1)
    return np.where((b < 0)[..., None] & (discriminant >= 0)[..., None], pair[..., ::-1], pair)


def spectral_radius(form: str, rate, momentum, curvatures) -> np.ndarray:
    """The largest |σ| over the modes: the factor per step by which the error finally shrinks (< 1) or grows.

    Shapes: rate and momentum (...), curvatures (M,), to (...).

    Args:
        form: one of `FORMS`.
        rate: η > 0.
        momentum: α from 0 to below 1.
        curvatures: of the modes. For an interval from m to L its two ends are enough.
    """
    who = "spectral_radius"
    alpha, eta = momentum_of(who, form, momentum), as_numbers(who, "rate", rate, above=0.0)
    modes = np.atleast_1d(as_numbers(who, "curvatures", curvatures))
    if modes.ndim != 1:
        raise ValueError(f"`{who}` expected `curvatures` of shape (M,), got {modes.shape}.")
    check_broadcast(who, rate=eta, momentum=alpha)
    return np.abs(mode_roots(form, eta[..., None], alpha[..., None], modes)).max(axis=(-2, -1))


def best_rate_and_momentum(form: str, smallest, largest) -> RateAndMomentum:
    """The (η, α) of least spectral radius over all curvatures from m = `smallest` to L = `largest`, κ = L/m.

    gradient descent        η = 2/(L + m)
    heavy_ball, velocity    η = 4/(√L + √m)²     α = ((√κ − 1)/(√κ + 1))²
    convex                  η = 1/√(Lm)          the same α
    nesterov                η = 4/(3L + m)       α = (√(3κ+1) − 2)/(√(3κ+1) + 2)

    At the best setting two roots coincide and the error is proportional to t σᵗ. A fit of σ must include the factor t,
    or use late steps only.

    Args:
        form: one of `FORMS`.
        smallest: m > 0.
        largest: L ≥ m.

    Raises:
        ValueError: not 0 < smallest ≤ largest.
    """
    who = "best_rate_and_momentum"
    check_choice(who, "form", form, FORMS)
    m = as_numbers(who, "smallest", smallest, above=0.0)
    L = as_numbers(who, "largest", largest, above=0.0)
    check_broadcast(who, smallest=m, largest=L)
    if (L < m).any():
        raise ValueError(f"`{who}` expected `smallest` ≤ `largest`, got {m.max():g} and {L.min():g}: swap them.")
    m, L = np.broadcast_arrays(m, L)
    root = np.sqrt(L / m)
    if form == "gradient descent":
        return RateAndMomentum(2 / (L + m), np.zeros_like(root))
    if form == "nesterov":
        root = np.sqrt(3 * L / m + 1)
        return RateAndMomentum(4 / (3 * L + m), (root - 2) / (root + 2))
    rate = 1 / np.sqrt(L * m) if form == "convex" else 4 / (np.sqrt(L) + np.sqrt(m)) ** 2
    return RateAndMomentum(rate, ((root - 1) / (root + 1)) ** 2)


def best_convergence_rate(form: str, condition) -> np.ndarray:
    """The spectral radius at the best (η, α), for the condition number κ = L/m ≥ 1.

    gradient descent                (κ − 1)/(κ + 1)
    heavy_ball, velocity, convex    (√κ − 1)/(√κ + 1)
    nesterov                        1 − 2/√(3κ + 1)
    """
    check_choice("best_convergence_rate", "form", form, FORMS)
    kappa = as_numbers("best_convergence_rate", "condition", condition, least=1.0)
    if form == "nesterov":
        return 1 - 2 / np.sqrt(3 * kappa + 1)
    kappa = kappa if form == "gradient descent" else np.sqrt(kappa)
    return (kappa - 1) / (kappa + 1)


def effective_rate(form: str, rate, momentum) -> np.ndarray:
    """The rate at which gradient descent is as fast in the long run, where the gradient hardly changes.

    heavy_ball, velocity, nesterov    η/(1 − α)
    convex, gradient descent          η

    Args:
        form: one of `FORMS`.
        rate: η > 0.
        momentum: α from 0 to below 1.
    """
    who = "effective_rate"
    alpha, eta = momentum_of(who, form, momentum), as_numbers(who, "rate", rate, above=0.0)
    check_broadcast(who, rate=eta, momentum=alpha)
    return eta / (1 - np.zeros_like(alpha) if form == "convex" else 1 - alpha)
