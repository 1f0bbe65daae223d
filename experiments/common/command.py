"""The command line of an experiment: parse the flags, show progress, end with an exit status."""

import contextlib
import sys
from collections.abc import Iterator
from typing import Any, Protocol, TypeVar

import jax
import tyro
from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from bpjax.results.replace import claimed, target_of
from bpjax.util.compilation import backend_has_started, cache_compilations, compile_small_loops
from bpjax.util.terminal import make_printable
from experiments.common.config import QuickSettings, Settings, StoredSettings
from experiments.common.start import INTERRUPTED

ConfigType = TypeVar("ConfigType", bound=Settings)
Shown = TypeVar("Shown", bound=Settings, contravariant=True)


class Show(Protocol[Shown]):
    """Runs the experiment, stores the result and prints the tables; may return an exit status other than 0."""

    def __call__(self, config: Shown, console: Console) -> int | None:
        """Run, store and print."""
        ...


class Advance(Protocol):
    """Moves a progress bar."""

    def __call__(self, completed: int, doing: str = "training", unit: str = "") -> None:
        """Set the bar to `completed` steps; `doing` stands before the bar and `unit` behind the count."""
        ...


def command(
    name: str, config_type: type[ConfigType], description: str | None, show: Show[ConfigType], arguments=None
) -> int:
    """Run an experiment from the command line and return its exit status.

    The status is 2 for a wrong flag or value and 130 after Ctrl-C. `show` must write its result by
    `experiments.common.keep.keep`, so that an interrupted run leaves an earlier result in place. Until it ends, no
    other process can write to the same folder.

    Args:
        name: of the experiment, as in `python -m experiments.<name>`.
        config_type: a subclass of `Settings`; its fields are the flags.
        description: the text that `--help` shows first.
        show: runs the experiment with the parsed config, under its `matmul_precision`.
        arguments: list of flags; those of the process by default.
    """
    if not backend_has_started():  # only in a process that runs nothing else: see `bpjax.util.compilation`
        compile_small_loops()
        cache_compilations()
    config = parsed(config_type, f"python -m experiments.{name}", description, arguments)
    make_printable(sys.stdout)
    make_printable(sys.stderr)
    console = Console()
    try:
        config.check()
        is_part = getattr(config, "part", "whole") != "whole"  # parts run at the same time; the last one writes `out`
        if isinstance(config, StoredSettings) and not is_part:
            alone = claimed(target_of(config.out))
        else:
            alone = contextlib.nullcontext()
        with alone, jax.default_matmul_precision(config.matmul_precision):
            return show(config, console) or 0
    except KeyboardInterrupt:
        store = getattr(config, "store", None)  # of an experiment that keeps its sweeps
        kept = f" The sweeps so far are kept in {store}: the same command continues there." if store else ""
        console.print(f"\nInterrupted: nothing was written, an earlier result is unchanged.{kept}")
        return INTERRUPTED
    except (ValueError, ModuleNotFoundError, OSError) as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 2


def parsed(config_type: type[ConfigType], program: str, description: str | None, arguments=None) -> ConfigType:
    """The settings from the flags; with `--quick`, those of a quick run are the defaults."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    others: dict[str, Any] = {"prog": program, "description": description, "args": arguments}
    if "--quick" in arguments and issubclass(config_type, QuickSettings):
        others["default"] = config_type.quickly()
    return tyro.cli(config_type, **others)


def bare_table(title: str | None = None, caption: str | None = None) -> Table:
    """A table with a line under its head and no edges, as all experiments print; without columns yet."""
    return Table(
        title=title, title_justify="left", caption=caption, caption_justify="left",
        box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0),
    )  # fmt: skip


def add_heading(table: Table, text: str) -> None:
    """Begin a group of rows under a heading."""
    table.add_section()
    table.add_row(f"[bold]{text}[/bold]")


@contextlib.contextmanager
def progress(console: Console, total: int) -> Iterator[Advance]:
    """A progress bar of `total` steps; yields the function that moves it."""
    columns = (
        TextColumn("  {task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[unit]}"),
        TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=console, transient=not console.is_terminal) as bars:
        bar = bars.add_task("compiling", total=total, unit="")

        def advance(completed: int, doing: str = "training", unit: str = "") -> None:
            bars.update(bar, completed=completed, description=doing, unit=unit)

        yield advance


def print_totals(console: Console, trainings: int, epochs: int | None, seconds: float) -> None:
    """One line with the size and the duration of a run."""
    counted = f"{trainings:,} trainings" + (f", {epochs:,} epochs" if epochs is not None else "")
    console.print(f"{counted} in {seconds:.0f} s, compilation included")
