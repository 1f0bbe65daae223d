"""Momentum on a plateau of constant slope, and on the way down from a saddle.

η is the learning rate, α the momentum coefficient, G the slope ∂E/∂w, λ the curvature ∂²E/∂w². The forms are those of
`bpjax.momentum` and "gradient descent". The counts are exact: the first step at which the goal is reached, by the
closed form of the recursion, not by its asymptote. All functions broadcast, compute in float64 and raise a
`ValueError` for an argument out of bounds or an unknown form.
"""

import numpy as np

from bpjax.theory.momentum import effective_rate, momentum_of
from bpjax.theory.numbers import as_counts, as_numbers, check_broadcast, first_integer

TIE = 1e-12
"""Relative tolerance, so that a rounding error does not miss a goal that is reached exactly."""


# --- A plateau -------------------------------------------------------------------------------------------------------


def plateau_lag(form: str, momentum) -> np.ndarray:
    """The steps by which a form, started from rest, permanently lags gradient descent at its effective rate.

    heavy_ball, velocity, convex    α/(1 − α)
    nesterov                        α²/(1 − α)
    gradient descent                0
    """
    alpha = momentum_of("plateau_lag", form, momentum)
    return (alpha**2 if form == "nesterov" else alpha) / (1 - alpha)


def plateau_glide(form: str, momentum, velocity) -> np.ndarray:
    """The distance that a weight still moves after it arrives at G = 0 with velocity v₀.

    heavy_ball, velocity, convex    v₀ α/(1 − α)
    nesterov                        v₀ α²/(1 − α)
    gradient descent                0

    v₀ is in units of weight per step: the v of the forms, but −η v for the form "velocity". In the nesterov form the
    weights are the look-ahead points, which are already ahead by α v₀.

    Args:
        form: one of `FORMS`.
        momentum: α from 0 to below 1.
        velocity: v₀.
    """
    who = "plateau_glide"
    alpha, velocity = momentum_of(who, form, momentum), as_numbers(who, "velocity", velocity)
    check_broadcast(who, momentum=alpha, velocity=velocity)
    return velocity * plateau_lag(form, alpha)


def plateau_distance(form: str, rate, momentum, slope, steps, velocity=0.0) -> np.ndarray:
    """w(t) − w(0) after t = `steps` steps on a constant slope G, arriving with velocity v₀ as in `plateau_glide`.

        −η̂ G [t − l (1 − αᵗ)] + v₀ l (1 − αᵗ)

    with the effective rate η̂, η/(1 − α) or η for convex, and the lag l of `plateau_lag`.

    Args:
        form: one of `FORMS`.
        rate: η > 0.
        momentum: α from 0 to below 1.
        slope: G.
        steps: t, integers ≥ 0.
        velocity: v₀.
    """
    who = "plateau_distance"
    alpha, eta = momentum_of(who, form, momentum), as_numbers(who, "rate", rate, above=0.0)
    slope, t = as_numbers(who, "slope", slope), as_counts(who, "steps", steps)
    velocity = as_numbers(who, "velocity", velocity)
    check_broadcast(who, rate=eta, momentum=alpha, slope=slope, steps=t, velocity=velocity)
    gone = plateau_lag(form, alpha) * (1 - alpha**t)
    return -effective_rate(form, eta, alpha) * slope * (t - gone) + velocity * gone


def plateau_steps(form: str, rate, momentum, slope, length) -> np.ndarray:
    """Steps from rest until a plateau of some length with slope G ≠ 0 is crossed: integers.

    The first t with |`plateau_distance`| ≥ length. Without momentum this is ⌈length / η|G|⌉; with momentum it is larger
    than at the effective rate by at most the lag.

    Args:
        form: one of `FORMS`.
        rate: η > 0.
        momentum: α from 0 to below 1.
        slope: G.
        length: > 0.
    """
    who = "plateau_steps"
    alpha, eta = momentum_of(who, form, momentum), as_numbers(who, "rate", rate, above=0.0)
    slope, length = as_numbers(who, "slope", slope), as_numbers(who, "length", length, above=0.0)
    check_broadcast(who, rate=eta, momentum=alpha, slope=slope, length=length)
    if (slope == 0).any():
        raise ValueError(f"`{who}` expected `slope` to be other than 0, got 0: from rest nothing moves there.")
    speed = effective_rate(form, eta, alpha) * np.abs(slope)
    soonest = length / speed

    def crossed(t):
        return np.abs(plateau_distance(form, eta, alpha, slope, t)) >= length * (1 - TIE)

    return first_integer(crossed, np.floor(soonest * (1 - TIE)), np.ceil(soonest + plateau_lag(form, alpha)))


# --- A saddle --------------------------------------------------------------------------------------------------------


def saddle_growth(form: str, rate, momentum, curvature) -> np.ndarray:
    """The factor 1 + s by which the distance from a saddle grows per step, along a downward curvature λ < 0.

    heavy_ball, velocity    s² + (1 − α − a) s − a = 0,              a = −ηλ
    convex                  the same,                                a = −(1−α)ηλ
    nesterov                s² + (2 − (1+α)(1 + a)) s − a = 0,       a = −ηλ
    gradient descent        s = −ηλ

    To first order in ηλ, s is −λ times the effective rate.

    Args:
        form: one of `FORMS`.
        rate: η > 0.
        momentum: α from 0 to below 1.
        curvature: λ < 0.
    """
    return 1 + _saddle_exponents("saddle_growth", form, rate, momentum, curvature)[0]


def saddle_distance(form: str, rate, momentum, curvature, steps, start) -> np.ndarray:
    """The distance w(t) from a saddle, t = `steps` after a start from rest at w(0) = `start`.

        w(0) [(q − s₂)(1 + s₁)ᵗ + (s₁ − q)(1 + s₂)ᵗ] / (s₁ − s₂)

    s₁ > 0 > s₂ ≥ −1 are the solutions in `saddle_growth`, q is the first step: a, or (1 + α)a for nesterov.

    Args:
        form: one of `FORMS`.
        rate: η > 0.
        momentum: α from 0 to below 1.
        curvature: λ < 0.
        steps: t, integers ≥ 0.
        start: w(0).
    """
    who = "saddle_distance"
    s1, s2, q = _saddle_exponents(who, form, rate, momentum, curvature)
    t, w = as_counts(who, "steps", steps), as_numbers(who, "start", start)
    check_broadcast(who, **{"rate × curvature": s1}, steps=t, start=w)
    return w * ((q - s2) * (1 + s1) ** t + (s1 - q) * (1 + s2) ** t) / (s1 - s2)


def saddle_steps(form: str, rate, momentum, curvature, start, end) -> np.ndarray:
    """Steps from rest at a distance `start` from a saddle until the distance is `end`: integers.

    The first t with `saddle_distance` ≥ end. Without momentum this is ⌈ln(end/start) / ln(1 − ηλ)⌉.

    Args:
        form: one of `FORMS`.
        rate: η > 0.
        momentum: α from 0 to below 1.
        curvature: λ < 0.
        start: > 0.
        end: > start.

    Raises:
        ValueError: also where the curvature is ≥ 0.
    """
    who = "saddle_steps"
    start = as_numbers(who, "start", start, above=0.0)
    end = as_numbers(who, "end", end, above=0.0)
    check_broadcast(who, start=start, end=end)
    if (end <= start).any():
        raise ValueError(f"`{who}` expected `start` < `end`, got {start.max():g} and {end.min():g}.")
    s1, s2, q = _saddle_exponents(who, form, rate, momentum, curvature)
    check_broadcast(who, **{"rate × curvature": s1}, start=start, end=end)
    latest = np.log(end / start * (s1 - s2) / (q - s2)) / np.log1p(s1)  # by then the growing term has reached the goal

    def reached(t):
        return saddle_distance(form, rate, momentum, curvature, t, start) >= end * (1 - TIE)

    return first_integer(reached, 0, np.ceil(latest))


def _saddle_exponents(who, form, rate, momentum, curvature):
    """(s₁, s₂, q): the two roots σ − 1, and the first step from rest relative to the distance."""
    alpha = momentum_of(who, form, momentum)
    mu, eta = -as_numbers(who, "curvature", curvature, below=0.0), as_numbers(who, "rate", rate, above=0.0)
    check_broadcast(who, rate=eta, momentum=alpha, curvature=mu)
    a = eta * mu * (1 - alpha if form == "convex" else 1.0)
    total = (1 + alpha) * (1 + a) - 2 if form == "nesterov" else a + alpha - 1  # s₁ + s₂; s₁ s₂ = −a
    root = np.sqrt(total**2 + 4 * a)
    far = np.where(total < 0, total - root, total + root) / 2  # no cancellation; the other by the product
    near = -a / far
    return np.maximum(far, near), np.minimum(far, near), ((1 + alpha) * a if form == "nesterov" else a)
