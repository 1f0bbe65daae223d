"""A learning rate for a network and its data, from the curvature of the error and from a small sweep."""

import math
import textwrap
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from bpjax.analysis.curvature import largest_curvature
from bpjax.layers.layer import Layer
from bpjax.losses import Loss
from bpjax.optimizers.momentum import momentum
from bpjax.results.statistics import wilson
from bpjax.rules.backprop import backprop
from bpjax.rules.rule import Rule, as_batch, check_batch, check_made_of
from bpjax.sweeps.sweep import sweep
from bpjax.training.epoch import error_of
from bpjax.training.inputs import as_params
from bpjax.training.trial import trial
from bpjax.types import Batch, Key, Params
from bpjax.util.checks import check_count, check_function, check_key
from bpjax.util.text_table import table
from bpjax.util.trees import norm

BORNE = 0.9
"""A suggested rate lowers the error from at least this share of the starts."""
PROGRESS = 0.01
"""A suggested rate lowers the median error by at least this share of the initial one."""
RATES_PER_DECADE = 4


def gradient_descent(learning_rate) -> optax.GradientTransformation:
    """Δw = −η ∂E/∂w, the default optimizer of `suggest_learning_rate`."""
    return momentum(learning_rate, 0.0)


class SuggestedRate(NamedTuple):
    """A learning rate with the evidence for it, or the reason why there is none."""

    value: float | None  # η; None where no rate is suggested
    reason: str  # in words
    share: float  # of the starts from which the best rate lowers the error
    interval: tuple[float, float]  # of this share, 95 %, by Wilson
    limit: float  # median of 2/λ_max over the starts; ∞ where no curvature is positive
    rates: np.ndarray  # (R,) the rates that were tried
    borne: np.ndarray  # (R,) share of the starts from which each lowers the error
    error: np.ndarray  # (R,) median error after the epochs, ∞ for runs that diverge
    initial_error: float  # median; NaN without runs

    def __repr__(self) -> str:
        return f"<learning rate {self.value:.3g}>" if self.value is not None else f"<no learning rate: {self.reason}>"

    def __str__(self) -> str:
        rows = [
            (f"{rate:.3g}", f"{share:.0%}", f"{error:.4g}", "suggested" if rate == self.value else "")
            for rate, share, error in zip(self.rates, self.borne, self.error, strict=True)
        ]
        lines = table(("rate", "borne by", "median error", ""), rows)
        limit = f"{self.limit:.3g}" if math.isfinite(self.limit) else "∞: no direction is curved upwards"
        facts = f"Median initial error {self.initial_error:.4g}; median limit 2/λ_max at the starts {limit}."
        return "\n".join([*lines, facts, *textwrap.wrap(self.reason, 80)])


def suggest_learning_rate(
    network: Layer,
    loss: Loss,
    data: Batch,
    *,
    key: Key,
    params: Params | None = None,
    optimizer: Callable[..., optax.GradientTransformation] = gradient_descent,
    starts: int = 20,
    epochs: int = 30,
    batch_size: int | None = None,
) -> SuggestedRate:
    """Suggest a learning rate, with the share of starts that bear it, or say why there is none.

        suggested = bp.suggest_learning_rate(network, bp.softmax_cross_entropy, data, key=jax.random.key(0))
        print(suggested)

    Rates around the classical limit 2/λ_max, where gradient descent begins to oscillate along the most curved
    direction, are each tried from several initial weights, in one sweep. A start bears a rate if the run does not
    diverge and ends with a lower error than it began with. Suggested is the rate with the lowest median error among
    those that at least 90 % of the starts bear. Where the best rate is the smallest or the largest one, smaller or
    larger ones are tried too. Unlike a range test, which raises the rate within one run, this depends on no single
    batch.

    Args:
        network: to be trained.
        loss: compares its output with the target.
        data: (x, target), the training data or a part of them.
        key: for the initial weights, the order of the examples, and Lanczos' random directions.
        params: weights to go on from; by default `network.init` draws them for each start.
        optimizer: makes the optimizer of a rate, such as `optax.adam` or `lambda rate: bp.momentum(rate, 0.9)`;
            gradient descent, `bp.momentum(rate, 0)`, by default. For others the limit says little: rates from 10⁻⁵ to 1
            are tried first.
        starts: initial weights. With `params`, orders of the examples.
        epochs: of each run. The suggestion holds for this many: for more a smaller rate may be better.
        batch_size: examples per step; None for all.

    Raises:
        ValueError: network, loss and data do not fit each other, counts that are none, `optimizer` not a function of
            a rate, such as an optimizer that has its rate already.
        ModuleNotFoundError: xarray is missing; the message names the extra to install.
    """
    who = "suggest_learning_rate"
    check_made_of(who, network, loss)
    key = check_key(who, "key", key)
    for name, count in (("starts", starts), ("epochs", epochs)):
        check_count(who, name, count)
    _check_optimizer(who, optimizer)
    rule, data = backprop(network, loss), as_batch(who, data)
    params = None if params is None else as_params(who, params)
    start = _start(network, params, data)
    data = check_batch(who, rule, start(key), data)
    keys = jax.vmap(lambda seed: jax.random.fold_in(key, seed))(jnp.arange(starts))
    limits, slopes = jax.device_get(jax.jit(jax.vmap(_at_start(rule, start, data)))(keys))
    limit = float(np.median(limits))
    if not np.any(slopes):
        return _no_gradient(limit)

    def run(key, learning_rate):
        def errors(run):
            return {"before": error_of(rule, start(key), data), "after": error_of(rule, run.params, data)}

        made = optimizer(learning_rate)
        return trial(rule, made, start(key), data, key=key, epochs=epochs, batch_size=batch_size, outcome=errors)

    def measure(rates: np.ndarray) -> Measured:
        result = sweep(run, {"learning_rate": rates, "seed": range(starts)}, key=key).transpose("learning_rate", "seed")
        before, after = np.asarray(result.before, np.float64), np.asarray(result.after, np.float64)
        return Measured(rates, before, np.where(np.asarray(result.diverged) | ~np.isfinite(after), np.inf, after))

    found = measure(_first_rates(limit, optimizer is gradient_descent))
    for _ in range(2):
        wider = _wider(found)
        if wider is None:
            break
        found = found.joined(measure(wider))
    return _decide(found, limit, epochs)


class Measured(NamedTuple):
    """The runs at R rates from S starts each."""

    rates: np.ndarray  # (R,) ascending
    before: np.ndarray  # (R, S) the error at the start
    after: np.ndarray  # (R, S) the error at the end; ∞ where a run diverged

    def joined(self, other: "Measured") -> "Measured":
        """The runs of both, by rate."""
        both = [np.concatenate(pair) for pair in zip(self, other, strict=True)]
        return Measured(*(values[np.argsort(both[0])] for values in both))

    @property
    def borne(self) -> np.ndarray:
        """For each rate the share of the starts that bear it."""
        return np.mean(self.after < self.before, axis=1)

    @property
    def error(self) -> np.ndarray:
        """For each rate the median error at the end."""
        return np.median(self.after, axis=1)

    @property
    def best(self) -> int | None:
        """The rate with the lowest median error among those that enough starts bear."""
        good = np.flatnonzero(self.borne >= BORNE)
        return int(good[np.argmin(self.error[good])]) if len(good) else None


def _check_optimizer(who: str, optimizer) -> None:
    """Raise a `ValueError` unless it is a function rate -> optimizer."""
    if not isinstance(optimizer, optax.GradientTransformation):
        check_function(who, "optimizer", optimizer)
        try:
            if isinstance(optimizer(0.1), optax.GradientTransformation):
                return
        except TypeError:
            pass
    raise ValueError(
        f"`{who}` expected `optimizer` to be a function of the learning rate, such as `optax.adam` or "
        f"`lambda rate: bp.momentum(rate, 0.9)`, got {optimizer!r:.60}."
    )


def _start(network: Layer, params, data):
    """key -> initial weights."""
    if params is not None:
        return lambda key: params
    in_shape = jax.tree.map(lambda leaf: leaf.shape[1:], data[0])
    return lambda key: network.init(key, in_shape)[0]


def _at_start(rule: Rule, start, data: Batch):
    """key -> (2/λ_max, norm of the gradient) at its initial weights."""

    def measure(key):
        params = start(key)
        _, gradient, _ = rule.grads(params, (), data)
        curvature = largest_curvature(rule, params, data, key)
        return jnp.where(curvature > 1e-12, 2 / jnp.maximum(curvature, 1e-12), jnp.inf), norm(gradient)

    return measure


def _first_rates(limit: float, is_gradient_descent: bool) -> np.ndarray:
    """Rates to try first: from limit/1000 to 10 limit, or fixed decades where the limit says nothing."""
    if is_gradient_descent and math.isfinite(limit):
        low, high = math.log10(limit) - 2.5, math.log10(limit) + 0.5
    else:
        low, high = (-4, 1) if is_gradient_descent else (-5, 0)
    return np.logspace(low, high, round((high - low) * RATES_PER_DECADE) + 1)


def _wider(found: Measured) -> np.ndarray | None:
    """More rates beyond the end at which the best one is; None where it is inside."""
    decades = np.arange(1, 2 * RATES_PER_DECADE + 1) / RATES_PER_DECADE
    if found.best is None or found.best == 0:
        return found.rates[0] * 10.0 ** -decades[::-1]
    return found.rates[-1] * 10.0**decades if found.best == len(found.rates) - 1 else None


def _no_gradient(limit: float) -> SuggestedRate:
    reason = (
        "No rate, because the gradient is 0 at every start: a minimum, or units that are dead. Look at `bp.health`."
    )
    nothing = np.zeros(0)
    return SuggestedRate(None, reason, 0.0, (0.0, 1.0), limit, nothing, nothing, nothing, math.nan)


def _decide(found: Measured, limit: float, epochs: int) -> SuggestedRate:
    """The suggestion from all runs."""
    rates, borne, error, best = found.rates, found.borne, found.error, found.best
    before, starts = float(np.median(found.before)), found.before.shape[1]
    most = int(np.argmax(borne)) if best is None else best
    share, interval = float(borne[most]), wilson(round(float(borne[most]) * starts), starts)
    value, reason = None, ""
    if best is None:
        reason = (
            f"No rate, because none lowers the error from {BORNE:.0%} of the starts: the best, {rates[most]:.3g}, does "
            f"so from {share:.0%}. Look at `bp.health`, and at the scale of inputs and initial weights."
        )
    elif best == len(rates) - 1:
        reason = (
            f"No rate, because up to {rates[-1]:.3g} a larger one always lowers the error more, to {error[-1]:.4g}: "
            "the error may have no minimum. Check the loss, and that the output layer is the one it expects."
        )
    elif before - error[best] < PROGRESS * abs(before):
        reason = (
            f"No rate, because in {epochs} epochs none lowers the error by more than {PROGRESS:.0%} (median "
            f"{before:.4g} to {error[best]:.4g}): the weights are at a minimum or on a plateau, or the targets do not "
            "depend on the inputs."
        )
    else:
        value = float(rates[best])
        reason = (
            f"Learning rate {value:.3g}: {round(share * starts)} of {starts} starts bear it (95 % interval "
            f"{interval[0]:.0%} to {interval[1]:.0%}); their median error falls from {before:.4g} to "
            f"{error[best]:.4g} in {epochs} epochs."
        )
    return SuggestedRate(value, reason, share, interval, limit, rates, borne, error, before)
