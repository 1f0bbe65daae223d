"""What a sweep reports while it runs."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol

import numpy as np

from bpjax.sweeps.computation import Computation
from bpjax.sweeps.result import success_of
from bpjax.util.call_text import is_function, shown
from bpjax.util.extras import require_extra


class Progress(NamedTuple):
    """How far a sweep is."""

    done: int  # runs that have stopped, those of earlier sessions included
    runs: int  # all runs
    epochs: int  # epochs done by the runs of this session that have stopped
    seconds: float  # since this session started
    solved: int = 0  # runs that have reached their goal, those of earlier sessions included
    diverged: int = 0  # runs that have diverged, likewise

    @property
    def rate(self) -> float:
        """Net-epochs per second: passes of one network over the examples."""
        return self.epochs / self.seconds if self.seconds > 0 else 0.0

    def __str__(self) -> str:
        share = f", {self.solved / self.done:.0%} solved, {self.diverged / self.done:.0%} diverged" if self.done else ""
        return f"{self.done} of {self.runs} runs{share}"


def as_progress(who: str, progress) -> Any:
    """True, False or a function of a `Progress`, or a `ValueError`; None stands for False."""
    if progress is None or isinstance(progress, bool | np.bool_):
        return bool(progress)
    if is_function(progress) and not isinstance(progress, type):
        return progress
    raise ValueError(
        f"`{who}` expected `progress` to be True, False, or a function of a `Progress`, got {shown(progress)}."
    )


class Report(Protocol):
    """Reports progress."""

    def __call__(self, new: dict[str, np.ndarray], /) -> None:
        """Takes the results of runs that have just stopped."""
        ...


@contextlib.contextmanager
def progress_report(
    progress: bool | Callable[[Progress], None], runs: int, earlier: np.ndarray, computation: Computation
) -> Iterator[Report]:
    """Yields a `Report` that shows a bar or calls `progress`.

    Args:
        progress: True for a bar, or a function that is called with the `Progress`.
        runs: all runs.
        earlier: `reason` of the runs of earlier sessions.
        computation: whose reasons say what is success.
    """
    began, lock = time.perf_counter(), threading.Lock()
    reasons = computation.reasons
    success = success_of(reasons, computation.failures)
    state = counted(Progress(0, runs, 0, 0.0), earlier, success, reasons)

    with progress_bar() if progress is True else contextlib.nullcontext(progress or None) as show:

        def report(new: dict[str, np.ndarray]) -> None:
            nonlocal state
            with lock:
                epochs = int(new["epochs"].sum()) if "epochs" in new else 0
                state = counted(state, new["reason"], success, reasons)
                state = state._replace(epochs=state.epochs + epochs, seconds=time.perf_counter() - began)
                if show is not None:
                    show(state)

        if show is not None:
            show(state)
        yield report


def counted(state: Progress, reason: np.ndarray, success: list[int], reasons: tuple[str, ...]) -> Progress:
    """The progress after more runs have stopped, for these reasons."""
    diverged = int((reason == reasons.index("diverged")).sum()) if "diverged" in reasons else 0
    solved = int(np.isin(reason, success).sum())
    return state._replace(
        done=state.done + reason.size, solved=state.solved + solved, diverged=state.diverged + diverged
    )


@contextlib.contextmanager
def progress_bar() -> Iterator[Callable[[Progress], None]]:
    """A bar with the runs done, net-epochs per second, the shares solved and diverged, and the time left."""
    with require_extra("The progress bar comes from rich"):
        from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
        from rich.progress import Progress as Bars

    columns = (
        TextColumn("  {task.description}"), BarColumn(), TextColumn("{task.fields[state]}{task.fields[rate]}"),
        TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(),
    )  # fmt: skip
    with Bars(*columns, transient=True) as bars:
        task = bars.add_task("compiling", total=None, rate="", state="")

        def show(state: Progress) -> None:
            rate = f", {state.rate / 1e6:.3g} M epochs/s" if state.epochs else ""
            phase = "training" if state.epochs else "compiling"
            bars.update(task, total=state.runs, completed=state.done, description=phase, rate=rate, state=str(state))

        yield show


@contextlib.contextmanager
def all_progress(progress, count: int) -> Iterator[Callable[[int, Progress], None]]:
    """Yields a function (index, state) that reports the progress of all combinations together.

    Args:
        progress: True for a bar, or a function that is called with the `Progress`.
        count: of the combinations.
    """
    began, lock, states = time.perf_counter(), threading.Lock(), {}

    with progress_bar() if progress is True else contextlib.nullcontext(progress or None) as show:

        def report(index: int, state: Progress) -> None:
            if show is None:
                return
            with lock:
                states[index] = state
                total = Progress(*(sum(values) for values in zip(*states.values(), strict=True)))
                runs = total.runs + (count - len(states)) * state.runs  # those that have not started yet
                show(total._replace(runs=runs, seconds=time.perf_counter() - began))

        yield report
