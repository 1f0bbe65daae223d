"""What a sweep reports while it runs."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol

import numpy as np

from bpjax.util.extras import require_extra


class Progress(NamedTuple):
    """How far a sweep is."""

    done: int  # runs that have stopped, those of earlier sessions included
    runs: int  # all runs
    epochs: int  # epochs done by the runs of this session that have stopped
    seconds: float  # since this session started

    @property
    def rate(self) -> float:
        """Net-epochs per second: passes of one network over the examples."""
        return self.epochs / self.seconds if self.seconds > 0 else 0.0


class Report(Protocol):
    """Reports progress."""

    def __call__(self, new: dict[str, np.ndarray], /) -> None:
        """Takes the results of runs that have just stopped."""
        ...


@contextlib.contextmanager
def progress_report(progress: bool | Callable[[Progress], None], runs: int, done: int) -> Iterator[Report]:
    """Yields a `Report` that shows a bar or calls `progress`.

    Args:
        progress: True for a bar, or a function that is called with the `Progress`.
        runs: all runs.
        done: runs with a result from earlier sessions.
    """
    began, lock = time.perf_counter(), threading.Lock()
    state = Progress(done, runs, 0, 0.0)

    with progress_bar() if progress is True else contextlib.nullcontext(progress or None) as show:

        def report(new: dict[str, np.ndarray]) -> None:
            nonlocal state
            with lock:
                epochs = int(new["epochs"].sum()) if "epochs" in new else 0
                state = Progress(
                    state.done + len(new["number"]), runs, state.epochs + epochs, time.perf_counter() - began
                )
                if show is not None:
                    show(state)

        if show is not None:
            show(state)
        yield report


@contextlib.contextmanager
def progress_bar() -> Iterator[Callable[[Progress], None]]:
    """A bar with the runs done, net-epochs per second and the time left."""
    with require_extra("The progress bar comes from rich"):
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
        from rich.progress import Progress as Bars

    columns = (
        TextColumn("  {task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("runs, {task.fields[rate]}"),
        TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(),
    )  # fmt: skip
    with Bars(*columns, transient=True) as bars:
        task = bars.add_task("compiling", total=None, rate="")

        def show(state: Progress) -> None:
            rate = f"{state.rate / 1e6:.3g} M epochs/s" if state.epochs else ""
            phase = "training" if state.epochs else "compiling"
            bars.update(task, total=state.runs, completed=state.done, description=phase, rate=rate)

        yield show
