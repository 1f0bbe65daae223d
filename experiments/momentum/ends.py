"""The effective learning rate η/(1 − α), and the cases α = 0 and α = 1 of the encyclopedia article."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import xarray as xr
from jax.flatten_util import ravel_pytree

import bpjax as bp
from bpjax import theory
from experiments.common.networks import sigmoid_network
from experiments.common.starts import compiled_once, first_start
from experiments.momentum.forms import FORMS, any_form
from experiments.momentum.ravines import ravine, ravine_network, ravine_rule

# --- The effective rate ----------------------------------------------------------------------------------------------

LAGGING = ("heavy_ball", "convex", "nesterov")


def digits_rule(hidden: int) -> bp.Rule:
    """1,197 handwritten digits, 64-hidden-10, tanh, mean cross entropy: a smooth error surface."""
    return bp.backprop(bp.mlp((64, hidden, 10), bp.tanh), bp.losses.batch_mean(bp.softmax_cross_entropy))


def digits_curves(config, key) -> xr.Dataset:
    """Error curves over form × effective rate × momentum coefficient, the first of which is 0."""
    rule, batch = digits_rule(config.hidden), bp.digits("train").present(None)
    convex = FORMS.index("convex")

    def trial(key, form, effective_rate, momentum):
        params, _ = rule.network.init(key, batch[0].shape[1:])  # type: ignore[union-attr]
        rate = jnp.where(form == convex, effective_rate, effective_rate * (1 - momentum))
        return bp.trial(rule, any_form(form, rate, momentum), params, batch, key=key, epochs=config.lag_epochs)

    axes = {
        "form": [FORMS.index(form) for form in LAGGING],
        "effective_rate": config.effective_rates,
        "momentum": (0.0, *config.lag_momenta),
    }
    return bp.sweep(trial, axes, key=key, curves=range(1, config.lag_epochs + 1))


class Lag(NamedTuple):
    """By how many epochs a form lags behind plain descent at its effective rate."""

    form: str
    effective_rate: float
    momentum: float
    predicted: float  # for a constant gradient: `theory.plateau_lag`
    measured: float  # at the last epoch
    drift: float  # change over the second half of the training, in epochs


def lags(result: xr.Dataset) -> list[Lag]:
    """The lag of every curve: how many epochs earlier plain descent had the same error."""
    found = []
    for place, form in enumerate(LAGGING):
        for rate in result.effective_rate.values:
            curves = result.curve.isel(form=place).sel(effective_rate=rate)
            plain = curves.isel(momentum=0).values
            for alpha in result.momentum.values[1:]:
                behind = epochs_behind(plain, curves.sel(momentum=alpha).values)
                lag, drift = behind[-1], behind[-1] - behind[len(behind) // 2]
                predicted = float(theory.plateau_lag(form, alpha))
                found.append(Lag(form, float(rate), float(alpha), predicted, float(lag), float(drift)))
    return found


def epochs_behind(plain: np.ndarray, curve: np.ndarray) -> np.ndarray:
    """For each epoch, how many epochs ago plain descent had the error of `curve`.

    Both curves are (epochs,) and decreasing; NaN where plain descent never had that error.
    """
    epochs = np.arange(1, len(plain) + 1)
    return epochs - np.interp(-curve, -plain, epochs, left=np.nan, right=np.nan)


# --- α = 0 and α = 1 -------------------------------------------------------------------------------------------------


def up_to(difference: float) -> str:
    """A difference as text."""
    return f"to {difference:.0e}" if difference else "bit for bit"


class Fact(NamedTuple):
    """A statement of the encyclopedia article or of theory, and the result."""

    claim: str
    expected: str
    found: str
    holds: bool | None  # None if the statement is not exact


def path_of(rule: bp.Rule, optimizer: optax.GradientTransformation, params, batch, steps: int, velocity=None):
    """Weights after every step (steps, P), and the final state of the optimizer.

    Args:
        rule: the gradient.
        optimizer: the optimizer.
        params: initial weights.
        batch: examples and targets.
        steps: number of steps.
        velocity: initial velocity, like `params`; 0 by default.
    """
    state = bp.training.TrainState(params, optimizer.init(params), ())
    if velocity is not None:
        moving: Any = state.optimizer
        state = state._replace(optimizer=moving._replace(velocity=velocity))
    step = bp.make_train_step(rule, optimizer)

    def next_step(state, _):
        state, _ = step(state, batch)
        return state, ravel_pytree(state.params)[0]

    last, path = jax.lax.scan(next_step, state, None, length=steps)
    return path, last.optimizer


def end_facts(config, key) -> list[Fact]:
    """α = 0 and α = 1 on XOR, and α = 1 in a ravine."""
    network = sigmoid_network((2, 2, 1))
    rule, batch = bp.backprop(network, bp.squared_error), bp.xor().present(None)
    start = first_start(network, key, (2,))
    flat, unravel = ravel_pytree(start)
    steps, rate = config.end_steps, config.end_rate

    @compiled_once
    def train(form, momentum, velocity):
        return path_of(rule, any_form(form, rate, momentum), start, batch, steps, velocity)

    rest = jax.tree.map(np.zeros_like, start)
    facts = plain_descent(rule, start, batch, rate, max(1, steps // 10))
    plain = np.asarray(compiled_once(lambda: path_of(rule, optax.sgd(rate), start, batch, steps)[0])())
    fused = max(float(np.abs(np.asarray(train(form, 0.0, rest)[0]) - plain).max()) for form in range(len(FORMS)))
    facts.append(Fact(f"the same as one compiled program, {steps} steps", "up to rounding", up_to(fused), None))
    convex = FORMS.index("convex")
    still = np.asarray(train(convex, 1.0, rest)[0])
    moved = float(np.abs(still - np.asarray(flat)).max())
    facts.append(Fact("convex, α = 1, from rest: nothing is learnt", "moves by 0", f"moves by {moved:g}", moved == 0))
    push = jax.random.normal(jax.random.fold_in(key, 1), flat.shape, flat.dtype) * 1e-3
    path, last = train(convex, 1.0, unravel(push))
    facts.append(straight(*map(np.asarray, (path, flat, push, ravel_pytree(last.velocity)[0]))))
    return [*facts, same_steps(train, rest), *frictionless(config)]


def plain_descent(rule: bp.Rule, start, batch, rate: float, steps: int) -> list[Fact]:
    """Every form at α = 0 against `optax.sgd`, op by op: in a compiled program, fused operations round differently."""
    gradient = compiled_once(lambda params: rule.grads(params, (), batch)[1])

    def path(optimizer):
        params, state, visited = start, optimizer.init(start), []
        for _ in range(steps):
            updates, state = optimizer.update(gradient(params), state, params)
            params = optax.apply_updates(params, updates)
            visited.append(np.asarray(ravel_pytree(params)[0]))
        return np.array(visited)

    plain, facts = path(optax.sgd(rate)), []
    for form in FORMS:
        same = int((path(bp.momentum(rate, 0.0, form=form)) == plain).all(axis=1).sum())
        claim = f"{form}, α = 0: plain gradient descent"
        facts.append(Fact(claim, f"{steps} of {steps} steps bit for bit", f"{same} of {steps}", same == steps))
    return facts


def straight(path, start, push, velocity) -> Fact:
    """Whether weights with an initial velocity move in a straight line without slowing down."""
    expected = start + np.arange(1, len(path) + 1)[:, None] * push
    off = float(np.abs(path - expected).max() / np.abs(expected - start).max())
    constant = bool((velocity == push).all())
    return Fact(
        "convex, α = 1, with a velocity: a straight line", "velocity unchanged, w(t) = w(0) + t v",
        f"velocity {'bit for bit' if constant else 'changed'}, relative deviation from the line {off:.0e}",
        constant and off < 1e-4,
    )  # fmt: skip


def same_steps(train, rest) -> Fact:
    """The form "velocity" against "heavy_ball" at a constant learning rate."""
    one, other = (np.asarray(train(FORMS.index(form), 0.9, rest)[0]) for form in ("heavy_ball", "velocity"))
    early = slice(0, 100)  # afterwards rounding errors have grown
    off = float(np.abs(one - other)[early].max() / np.abs(one[early]).max())
    return Fact("velocity at a constant rate: heavy_ball", "the same 100 steps", up_to(off), off < 1e-4)


def frictionless(config) -> list[Fact]:
    """heavy_ball at α = 1 in a ravine at η = 2, half its limit: w(t+1) = (2 − ηλ) w(t) − w(t−1), no friction.

    Both roots have |σ| = 1, and w(t)² + w(t−1)² − (2 − ηλ) w(t) w(t−1) is constant in every direction: the weights
    neither converge nor diverge.
    """
    steps = config.frictionless_steps
    with jax.enable_x64(True):
        batch = ravine(config.ravine)
        params, _ = ravine_network.init(jax.random.key(0), batch[0].shape[1:])
        optimizer = bp.momentum(2.0, 1.0, form="heavy_ball")
        path, _ = compiled_once(lambda: path_of(ravine_rule, optimizer, params, batch, steps))()
        path, curvatures = np.asarray(path), np.asarray(jnp.diag(batch[0]) ** 2)
    now, before = path[1:], path[:-1]
    invariant = now**2 + before**2 - (2 - 2.0 * curvatures) * now * before
    drift = float(np.abs(invariant / invariant[0] - 1).max())
    error = 0.5 * (curvatures * path**2).sum(axis=1)
    early, late = (half.mean() for half in np.array_split(error, 2))
    return [
        Fact(f"heavy_ball, α = 1, ravine: no friction, {steps:,} steps", "its invariant is constant",
             f"to {drift:.0e}", drift < 1e-6),
        Fact("heavy_ball, α = 1, ravine: no convergence", "the same mean error late and early",
             f"late / early = {late / early:.3f}", 0.5 < late / early < 2),
    ]  # fmt: skip


def equal_curves(result: xr.Dataset) -> list[Fact]:
    """Convex at η/(1 − α) against heavy_ball at η: the same steps, hence the same errors up to rounding."""
    one, other = (result.curve.isel(form=LAGGING.index(form)).values for form in ("heavy_ball", "convex"))
    off = float(np.abs(other / one - 1).max())
    return [Fact("convex at η/(1 − α): heavy_ball at η, digits", "the same errors", up_to(off), off < 1e-4)]
