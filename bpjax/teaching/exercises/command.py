"""`bpjax exercise`: the exercises on the command line, one answer or a folder of answers."""

import argparse
import math
import sys
from pathlib import Path

EPILOG = """exit status: 0 right, 1 wrong, 2 the file, the folder or an option cannot be used; with --folder 0

    bpjax exercise --list                          all exercises
    bpjax exercise output_delta                    the statement; --hint 1 adds the first hint
    bpjax exercise output_delta answer.py          check the function `output_delta` of a file
    bpjax exercise --folder answers --csv out.csv  one row per file and exercise

Each file runs in a separate process: it may print, raise, exit or never end. It runs with your rights."""


def add(commands) -> None:
    """Add the command and its options to the subparsers of `bpjax`."""
    parser = commands.add_parser(
        "exercise",
        help="ten exercises on backpropagation, with answers checked",
        description="Exercises from the encyclopedia article on backpropagation: statements, hints, checked answers.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("name", nargs="?", help="of the exercise")
    parser.add_argument("answer", nargs="?", metavar="answer.py", help="a file with a function of this name")
    parser.add_argument("--list", action="store_true", help="list the exercises")
    parser.add_argument("--hint", type=int, metavar="N", help="show the first N hints")
    parser.add_argument("--folder", metavar="FOLDER", help="check all Python files of a folder")
    parser.add_argument("--csv", metavar="FILE", help="write the rows of a folder to a file instead of printing them")
    parser.add_argument("--time-limit", type=_seconds, default=20.0, metavar="S", help="seconds per exercise (20)")
    parser.set_defaults(run=run, parser=parser)


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"expected a positive number of seconds, got {text}")
    return value


def run(options: argparse.Namespace) -> int:
    """List, state or check exercises; see the epilog for the exit status."""
    from bpjax.teaching.exercises.exercise import exercise
    from bpjax.util.terminal import write

    try:
        if options.folder is not None:
            return _folder(options)
        if options.list or options.name is None:
            return _list()
        chosen = exercise(options.name)
        if options.answer is not None:
            return _answer(options)
        hints = [chosen.hint() for _ in range(max(0, min(options.hint or 0, 3)))]
        write("\n".join([str(chosen), *hints]), sys.stdout)
        return 0
    except (ValueError, OSError) as error:
        write(f"bpjax exercise: {error}", sys.stderr)
        return 2


def _list() -> int:
    from bpjax.teaching.exercises.registry import TASKS
    from bpjax.util.terminal import write
    from bpjax.util.text_table import table

    write("\n".join(table(("name", "exercise"), [(task.name, task.title) for task in TASKS.values()])[:-1]), sys.stdout)
    return 0


def _answer(options: argparse.Namespace) -> int:
    from bpjax.teaching.exercises.files import check_file
    from bpjax.util.terminal import write

    file = Path(options.answer)
    if not file.is_file():
        raise ValueError(f"There is no file {file}.")
    (row,) = check_file(file, options.time_limit, [options.name], quiet=False)
    write(row.sentence, sys.stdout)
    return 0 if row.right else 2 if row.mistake in ("file", "missing") else 1


def _folder(options: argparse.Namespace) -> int:
    from bpjax.teaching.exercises.exercise import exercise
    from bpjax.teaching.exercises.files import as_csv, check_folder
    from bpjax.util.files import write_file
    from bpjax.util.terminal import write

    names = None if options.name is None else [exercise(options.name).name]
    rows = check_folder(Path(options.folder), options.time_limit, names)
    if options.csv is None:
        write(as_csv(rows).rstrip("\n"), sys.stdout)
    else:
        write_file(options.csv, as_csv(rows).encode())
        right = sum(row.right for row in rows)
        write(f"{right} of {len(rows)} answers are right; written to {options.csv}.", sys.stdout)
    return 0
