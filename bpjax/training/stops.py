"""Reasons to stop: each one is a pure function that is evaluated in the compiled program after every epoch."""

import math
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from bpjax.training.epoch import Epoch
from bpjax.types import Array
from bpjax.util.checks import check_count, check_number


class Check(Protocol):
    """Decides after an epoch whether to stop."""

    def __call__(self, watch: Any, epoch: Epoch, /) -> tuple[Any, Array]:
        """(watch, whether () to stop)."""
        ...


class Stop(NamedTuple):
    """A reason to stop. Its thresholds are data in `watch`, so that changing them does not recompile."""

    reason: str
    watch: Any
    """Pytree of scalars, the initial state of the stop: its thresholds, and values it remembers between epochs."""
    check: Check
    keeps_old: bool = False
    """Whether the run keeps the weights from before the epoch, as after a divergence."""
    is_success: bool = True
    """Whether a sweep counts a run that stops for this reason as solved."""

    def __repr__(self) -> str:
        return f"Stop({self.reason!r}, {self.watch})"


def error_below(goal: float) -> Stop:
    """Stop when the error of the epoch is below `goal`, in the units of the loss (a sum or a mean over examples).

    Raises:
        ValueError: `goal` is not above 0.
    """
    check_number("error_below", "goal", goal, above=0.0)
    return Stop("error below goal", goal, _error_below)


def _error_below(goal, epoch):
    return goal, epoch.error < goal


def outputs_within(tolerance: float = 0.4) -> Stop:
    """Stop when every output is right: |t − o| < tolerance for all examples and outputs.

    With targets 0 and 1, 0.4 is Fahlman's 40-20-40 criterion: below 0.4 counts as off, above 0.6 as on.

    Raises:
        ValueError: `tolerance` is not above 0.
    """
    check_number("outputs_within", "tolerance", tolerance, above=0.0)
    return Stop("every output right", tolerance, _outputs_within)


def _outputs_within(tolerance, epoch):
    return tolerance, epoch.worst_output < tolerance


def gradient_below(floor: float) -> Stop:
    """Stop when the norm of the gradient is below `floor`: at a minimum, or on a plateau.

    Raises:
        ValueError: `floor` is not above 0.
    """
    check_number("gradient_below", "floor", floor, above=0.0)
    return Stop("gradient below floor", floor, _gradient_below)


def _gradient_below(floor, epoch):
    return floor, epoch.gradient_norm < floor


class Patience(NamedTuple):
    """The watch of `no_improvement`."""

    epochs: int  # how long to wait
    least: float  # the smallest improvement that counts
    best: float = math.inf  # lowest validation error so far
    since: int = 0  # epochs since then


def no_improvement(epochs: int, least: float = 0.0) -> Stop:
    """Stop when the validation error has not improved on its best by more than `least` for `epochs` epochs.

    Raises:
        ValueError: `epochs` is not a positive integer or `least` is negative.
    """
    check_count("no_improvement", "epochs", epochs)
    check_number("no_improvement", "least", least, least=0.0)
    return Stop("no improvement", Patience(int(epochs), least), _no_improvement)


def _no_improvement(patience, epoch):
    error = epoch.validation_error.astype(patience.best.dtype)
    better = error < patience.best - patience.least
    best, since = jnp.where(better, error, patience.best), jnp.where(better, 0, patience.since + 1)
    return patience._replace(best=best, since=since), since >= patience.epochs


class Explosion(NamedTuple):
    """The watch of `diverged`."""

    factor: float  # of the first epoch's error
    first: float = math.inf  # error of the first epoch since the last restart


def diverged(factor: float = 1e6) -> Stop:
    """Stop when the error is not finite, or larger than `factor` times that of the first epoch, whatever its sign.

    Raises:
        ValueError: `factor` is not above 1.
    """
    check_number("diverged", "factor", factor, above=1.0)
    return Stop("diverged", Explosion(factor), _diverged, keeps_old=True)


def _diverged(explosion, epoch):
    error = epoch.error.astype(explosion.first.dtype)
    first = jnp.where(jnp.isinf(explosion.first), error, explosion.first)
    return explosion._replace(first=first), ~jnp.isfinite(error) | (error > explosion.factor * jnp.abs(first))


def watching_divergence(stops: tuple[Stop, ...]) -> tuple[Stop, ...]:
    """The stops, preceded by `diverged` unless it is one of them."""
    return stops if any(stop.check is _diverged for stop in stops) else (diverged(), *stops)


def start_watches(stops: tuple[Stop, ...]) -> tuple:
    """The initial state of every stop, as arrays of explicit dtype."""

    def as_array(number):
        return jnp.asarray(number, jnp.int32 if isinstance(number, int) else jnp.result_type(float))

    return tuple(jax.tree.map(as_array, stop.watch) for stop in stops)
