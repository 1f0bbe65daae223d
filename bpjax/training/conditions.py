"""The user's own reasons to stop: a function that is compiled in, and wall-clock time; the check of all reasons."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, Protocol

import jax.numpy as jnp
import numpy as np

from bpjax.training.epoch import Epoch
from bpjax.training.stops import Stop, watching_divergence
from bpjax.types import Array
from bpjax.util.call_text import shown
from bpjax.util.checks import check_flag, check_function, check_number, check_text
from bpjax.util.user_functions import call_user, hashable, place


class Condition(Protocol):
    """The user's reason to stop."""

    def __call__(self, epoch: Epoch, /) -> Array:
        """Whether () to stop after this epoch."""
        ...


class UserCheck(NamedTuple):
    """The check of `stop_when`. Equal for the same function, so that it compiles once."""

    condition: Condition

    def __call__(self, watch, epoch: Epoch):
        """(watch, whether the condition holds)."""
        holds = call_user("stop_when", "condition", self.condition, epoch)
        shape, dtype = getattr(holds, "shape", ()), getattr(holds, "dtype", type(holds))
        if shape != () or dtype not in (bool, np.bool_):
            got = f"{jnp.dtype(dtype).name}{list(shape)}" if hasattr(holds, "dtype") else shown(holds)
            raise ValueError(
                f"`stop_when` expected one boolean from the condition function {place(self.condition)}, got {got}. "
                "Compare, as in `now.error < 0.1`, and combine several comparisons with `.all()` or `.any()`."
            )
        return watch, jnp.asarray(holds)


def stop_when(condition: Condition, reason: str, success: bool = True) -> Stop:
    """Stop when a condition of your own holds after an epoch: on accuracy, on weights, on validation data.

        def accurate(now):
            return bp.accuracy(network, now.params, now.validation) > 0.95

        bp.fit(..., stops=bp.stop_when(accurate, "95 % accurate"), validation=validation)

    The function receives an `Epoch`: `epoch`, `error`, `gradient_norm`, `params`, `data`, `validation`,
    `validation_error`, `worst_output`. It is compiled into the training with what it closes over; the same function
    compiles once. With all examples in one batch `now.params` are the weights at which `now.error` was measured, and
    the run keeps them when it stops.

    Args:
        condition: `Epoch` -> a boolean (), a pure function of `jax.numpy`.
        reason: what `Fit.reason` and a sweep's `reason` say when it has fired.
        success: whether a sweep counts such a run as solved.

    Raises:
        ValueError: `condition` is no function or `reason` is not a text, or one of those that every training has;
            while the training is traced, an exception in the function, or a result that is not one boolean.
    """
    check_function("stop_when", "condition", condition)
    if check_text("stop_when", "reason", reason) in RESERVED_REASONS:
        raise ValueError(
            f"`stop_when` expected another reason than {reason!r}: every training has that one. Name the condition."
        )
    check_flag("stop_when", "success", success)
    return Stop(reason, (), UserCheck(hashable(condition)), is_success=success)


RESERVED_REASONS = ("running", "diverged", "epoch limit", "time limit")


class TimeLimit(NamedTuple):
    """A limit on the wall-clock time of `fit`, measured on the host between chunks of epochs."""

    seconds: float


def time_limit(seconds: float) -> TimeLimit:
    """Stop `bp.fit` with the reason "time limit" once it has run for `seconds` of wall-clock time.

    The time counts from the call of `fit`, compilation included, and is looked at between chunks of epochs: choose
    `fit(..., chunk=...)` so that a chunk takes less time than you can spare. How far such a training comes depends
    on the machine, so that a sweep, whose results must not, refuses it.

    Raises:
        ValueError: `seconds` is not above 0.
    """
    check_number("time_limit", "seconds", seconds, above=0.0)
    return TimeLimit(float(seconds))


def as_stops(who: str, stops) -> tuple[Stop, ...]:
    """One stop, several, or None for none, as a tuple that begins with `diverged`, or a `ValueError`."""
    several: Any = (
        () if stops is None else (stops,) if isinstance(stops, Stop | TimeLimit) or callable(stops) else stops
    )
    if isinstance(several, str | Mapping) or not isinstance(several, Iterable):
        raise ValueError(f"`{who}` expected `stops` to be a stop or a tuple of stops, got {shown(stops)}.")
    several = tuple(several)
    for stop in several:
        if isinstance(stop, TimeLimit):
            raise ValueError(
                f"`{who}` cannot stop on time: its runs share one program, and their results must not depend on the "
                'speed of the machine. Limit `epochs`, or write `bp.stop_when(condition, "reason")`; '
                "`bp.fit` takes `time_limit`."
            )
        if not isinstance(stop, Stop):
            raise ValueError(
                f"`{who}` expected `stops` to be a stop or a tuple of stops, got {shown(stop)}. Stops are made by "
                'calls such as `bp.error_below(0.1)` or, for a condition of your own, `bp.stop_when(f, "reason")`.'
            )
    return watching_divergence(several)
