"""What every experiment does around its question: read flags, show progress, and end well when interrupted."""

import contextlib
import sys
from collections.abc import Callable, Iterator

import jax

from bpjax.util.compilation import backend_has_started, cache_compilations, compile_small_loops

PRECISIONS = ("default", "high", "highest", "float32", "tensorfloat32", "bfloat16")


def command(name: str, config_type: type, description: str | None, answer: Callable, arguments=None) -> int:
    """The exit status of an experiment's command line.

    Flags are the fields of the frozen dataclass `config_type`, whose `check()` raises a `ValueError` where a number
    makes no sense; its `matmul_precision` holds while `answer(config, console)` runs. A wrong number ends with
    status 2, an interrupt with 130: `answer` must write results aside, see `bpjax.results.record`.
    """
    try:
        import tyro
        from rich.console import Console
    except ModuleNotFoundError as missing:
        sys.exit(f"{missing.name} is not installed. Install what experiments need: pip install 'bpjax[experiments]'.")

    if not backend_has_started():  # in a process of our own: see `bpjax.util.compilation`
        compile_small_loops()
        cache_compilations()
    config = tyro.cli(config_type, description=description, args=arguments)
    console = Console()
    try:
        config.check()
        with jax.default_matmul_precision(config.matmul_precision):
            answer(config, console)
    except KeyboardInterrupt:
        console.print("\nInterrupted: nothing was written, an earlier result is as it was.")
        return 130
    except (ValueError, ModuleNotFoundError) as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 2
    return 0


def bare_table(title: str | None = None, caption: str | None = None):
    """A `rich.table.Table` with a line under its head and no edges, as all experiments print; without columns yet."""
    from rich import box
    from rich.table import Table

    return Table(
        title=title, title_justify="left", caption=caption, caption_justify="left",
        box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0),
    )  # fmt: skip


def check_precision(precision: str) -> None:
    """Raise a `ValueError` unless `jax.default_matmul_precision` takes it."""
    if precision not in PRECISIONS:
        raise ValueError(f"`Config` expected `matmul_precision` among {', '.join(PRECISIONS)}, got {precision!r}.")


@contextlib.contextmanager
def progress(console, total: int) -> Iterator[Callable]:
    """A progress bar; yields `advance(completed, doing, done)`: how far, at what, and a word on it."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("  {task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[done]}"),
        TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=console, transient=not console.is_terminal) as bars:
        bar = bars.add_task("compiling", total=total, done="")

        def advance(completed: int, doing: str = "training", done: str = "") -> None:
            bars.update(bar, completed=completed, description=doing, done=done)

        yield advance
