"""Werbos' ordered derivatives: the total effect of a value on a later result, beside its direct effect.

In a system of equations z₁ = f₁, z₂ = f₂(z₁), …, in the order in which they are evaluated, the direct (simple partial)
derivative ∂zₙ/∂zᵢ counts only that zᵢ stands in the equation of zₙ. The ordered derivative counts all paths:

    ∂⁺zₙ/∂zᵢ = ∂zₙ/∂zᵢ + Σⱼ ∂⁺zₙ/∂zⱼ ∂zⱼ/∂zᵢ      i < j < n
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp

import bpjax as bp


class Equation(NamedTuple):
    """One equation of a system."""

    inputs: tuple[str, ...]  # names of earlier values
    function: Callable


class Derivatives(NamedTuple):
    """Of the last value of a system, by one of its values."""

    name: str
    value: float
    direct: float
    ordered: float
    total: float  # by `jax.grad` of everything that comes after
    by_tape: float


System = Mapping[str, Equation]
"""Equations by the name of their value, in the order of evaluation; those without inputs are constants."""


def evaluate(system: System, changes: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
    """All values, to some of which a change is added."""
    values: dict[str, jax.Array] = {}
    for name, equation in system.items():
        value = jnp.asarray(equation.function(*(values[i] for i in equation.inputs)), float)
        values[name] = value + changes[name] if name in changes else value
    return values


def simple_partials(system: System) -> dict[str, dict[str, float]]:
    """Each value's derivatives by the values in its own equation, the others held fixed."""
    values, partials = evaluate(system, {}), {}
    for name, (inputs, function) in system.items():
        given = [values[i] for i in inputs]
        gradient = jax.grad(function, argnums=tuple(range(len(inputs))))(*given) if inputs else ()
        partials[name] = dict(zip(inputs, map(float, gradient), strict=True))
    return partials


def ordered_derivatives(system: System) -> dict[str, float]:
    """∂⁺zₙ/∂zᵢ of the last value by every value, by Werbos' formula, the latest first."""
    names, partials = list(system), simple_partials(system)
    ordered = {names[-1]: 1.0}
    for name in names[-2::-1]:
        ordered[name] = sum(ordered[later] * partials[later][name] for later in ordered if name in partials[later])
    return ordered


def total_derivatives(system: System) -> dict[str, float]:
    """The same by `jax.grad`: by a change that is added to each value."""
    last = list(system)[-1]
    changes = {name: jnp.zeros(()) for name in system}
    return {k: float(g) for k, g in jax.grad(lambda c: evaluate(system, c)[last])(changes).items()}


def tape_derivatives(system: System) -> dict[str, float]:
    """The same by the adjoints of the tape."""
    last = list(system)[-1]

    def result(changes):
        return evaluate(system, changes)[last]

    tape = bp.tape(result, {name: 0.0 for name in system})
    return {name: float(adjoint) for name, adjoint in tape.gradient["changes"].items()}


def both_kinds(system: System) -> list[Derivatives]:
    """Direct and ordered derivatives of the last value by every value."""
    with jax.enable_x64(True):
        values, direct = evaluate(system, {}), simple_partials(system)[list(system)[-1]]
        ordered = ordered_derivatives(system)
        total, by_tape = total_derivatives(system), tape_derivatives(system)
        return [
            Derivatives(name, float(values[name]), direct.get(name, 0.0), ordered[name], total[name], by_tape[name])
            for name in list(system)[:-1]
        ]


WERBOS: System = {
    "z1": Equation((), lambda: 1.0),
    "z2": Equation(("z1",), lambda z1: 4 * z1),
    "z3": Equation(("z1", "z2"), lambda z1, z2: 3 * z1 + 5 * z2),
}
"""z₁ affects z₃ = 3 z₁ + 5 z₂ directly, by 3, and by z₂ = 4 z₁: 3 + 5 · 4 = 23."""


def recurrent_system(steps: int = 4) -> System:
    """A recurrent unit hₜ = tanh(w hₜ₋₁ + u xₜ), and the error E = ½ Σ (hₜ − dₜ)²."""
    inputs, targets = [1.0, -0.5, 0.8, 0.3][:steps], [0.2, 0.4, -0.1, 0.5][:steps]
    system = {"w": Equation((), lambda: 0.9), "u": Equation((), lambda: 0.7), "h0": Equation((), lambda: 0.1)}
    for t, x in enumerate(inputs, start=1):
        system[f"a{t}"] = Equation(("w", f"h{t - 1}", "u"), lambda w, h, u, x=x: w * h + u * x)
        system[f"h{t}"] = Equation((f"a{t}",), jnp.tanh)
    states = tuple(f"h{t}" for t in range(1, steps + 1))
    system["E"] = Equation(states, lambda *h: 0.5 * sum((h - d) ** 2 for h, d in zip(h, targets, strict=True)))
    return system
