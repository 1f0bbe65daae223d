"""What a sweep tells while it runs."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from bpjax.util.extras import require_extra


class Progress(NamedTuple):
    """How far a sweep is."""

    done: int  # runs that have ended, those of an earlier session included
    runs: int  # all of them
    epochs: int  # passes that the runs of this session needed
    seconds: float  # since this session began

    @property
    def rate(self) -> float:
        """Net-epochs a second: passes over the examples, one net each, that a run needed."""
        return self.epochs / self.seconds if self.seconds > 0 else 0.0


@contextlib.contextmanager
def shown(progress: bool | Callable[[Progress], None], runs: int, done: int) -> Iterator[Callable]:
    """Yields `tell(log)`, to be called with what has ended; shows a bar or calls `progress`."""
    began, lock = time.perf_counter(), threading.Lock()
    state = Progress(done, runs, 0, 0.0)

    with bar() if progress is True else contextlib.nullcontext(progress or None) as say:

        def tell(log: dict[str, np.ndarray]) -> None:
            nonlocal state
            with lock:
                epochs = int(log["epochs"].sum()) if "epochs" in log else 0
                state = Progress(
                    state.done + len(log["number"]), runs, state.epochs + epochs, time.perf_counter() - began
                )
                if say is not None:
                    say(state)

        if say is not None:
            say(state)
        yield tell


@contextlib.contextmanager
def bar() -> Iterator[Callable[[Progress], None]]:
    """A bar with runs done, net-epochs a second and the time left."""
    with require_extra("The progress bar comes from rich"):
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
        from rich.progress import Progress as Bars

    columns = (
        TextColumn("  {task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("runs, {task.fields[rate]}"),
        TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(),
    )  # fmt: skip
    with Bars(*columns, transient=True) as bars:
        task = bars.add_task("compiling", total=None, rate="")

        def say(state: Progress) -> None:
            rate = f"{state.rate / 1e6:.3g} M epochs/s" if state.epochs else ""
            words = "training" if state.epochs else "compiling"
            bars.update(task, total=state.runs, completed=state.done, description=words, rate=rate)

        yield say
