"""`bpjax compare`: check the gradients in a file, or every built-in layer, activation and loss."""

import argparse
import contextlib
import json
import math
import sys
from typing import TextIO

from bpjax.gradcheck.check_file import check_file
from bpjax.gradcheck.registry import DTYPES, Checked, check_registry
from bpjax.gradcheck.report import to_plain_data
from bpjax.gradcheck.user_file import FileError
from bpjax.util.terminal import own_output, write
from bpjax.util.text_table import table

EPILOG = """exit status: 0 every gradient is right, 1 a gradient is wrong, 3 cannot tell (the report says why),
2 the file or an option cannot be used, 130 interrupted

the file defines any function that JAX can call, its hand-written gradient and example arguments:

    import jax, jax.numpy as jnp
    def function(w, x): return jnp.sum(jnp.tanh(x @ w))
    def gradient(w, x): return x.T @ (1 - jnp.tanh(x @ w) ** 2)      # by the first argument, or a tuple by several
    arguments = (jnp.ones((4, 3)), jax.random.normal(jax.random.key(0), (5, 4)))

or, instead of `gradient`, a `function` with a custom rule (jax.custom_vjp, jax.custom_jvp) in it at any depth.
Without `function` every custom rule NAME of the file with NAME_arguments is checked, with NAME_gradient if there is
one; FILE::NAME checks one function, FILE::Class.method a method."""


def add(commands) -> None:
    """Add the command and its options to the subparsers of `bpjax`."""
    parser = commands.add_parser(
        "compare",
        help="check hand-written gradients against two references in float64",
        description="Check the hand-written gradients in your own file, or every built-in layer, activation and loss.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("file", nargs="?", metavar="FILE[::NAME]", help="a Python file, and a function in it")
    parser.add_argument("--tolerance", type=_positive, metavar="X", help="largest relative error that is right")
    parser.add_argument("--order", type=int, choices=(1, 2), help="2 also checks the second derivative")
    parser.add_argument("--seed", type=_whole, metavar="N", help="of the random cotangents and directions")
    parser.add_argument("--no-timing", action="store_true", help="leave out times: the same output in each run")
    parser.add_argument("--json", action="store_true", help="print the result as JSON, and nothing else")
    parser.set_defaults(run=run, parser=parser)


def run(options: argparse.Namespace) -> int:
    """Compare; as a program, leave standard output redirected at the end, where a file's exit handlers may print."""
    only_files = {"--tolerance": options.tolerance, "--order": options.order, "--seed": options.seed}
    given = [option for option, value in only_files.items() if value is not None]
    if not options.file:
        if options.file is not None:
            options.parser.error("expected the name of a file, got an empty one")
        if given:
            options.parser.error(f"{given[0]} needs a FILE")
    with own_output(redirect=options.json, restore=not options.as_program) as out:
        try:
            return compare_user_file(options, out) if options.file else compare_built_in(options.json, out)
        except (FileError, ValueError, OSError) as error:
            shown = getattr(error, "shown", "")
            if shown:
                write(shown, sys.stderr)
            write(f"bpjax compare: {error}", sys.stderr)
            if options.json:
                with contextlib.suppress(OSError):  # where nothing can be written
                    write(json.dumps({"ok": False, "verdict": None, "error": str(error), "traceback": shown}), out)
            return 2
        except KeyboardInterrupt:
            write("\nbpjax compare: interrupted.", sys.stderr)
            return 130


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"expected a positive number, got {text}")
    return value


def _whole(text: str) -> int:
    value = int(text)
    if not 0 <= value < 2**32:
        raise argparse.ArgumentTypeError(f"expected an integer from 0 to 2**32 - 1, got {text}")
    return value


def compare_user_file(options: argparse.Namespace, out: TextIO) -> int:
    """Check the gradients in a file; 0 where they are right, 1 where one is wrong, 3 where that cannot be told."""
    given = {"tolerance": options.tolerance, "order": options.order, "seed": options.seed}
    chosen = {name: value for name, value in given.items() if value is not None}
    report = check_file(options.file, timed=not options.no_timing, **chosen)
    write(json.dumps(to_plain_data(report.to_dict())) if options.json else str(report), out)
    return {"right": 0, "wrong": 1, "cannot tell": 3}[report.verdict]


def compare_built_in(as_json: bool, out: TextIO) -> int:
    """Check every built-in layer, activation and loss; 0 where all are right, else 1."""
    progress = not as_json and sys.stderr.isatty()
    checked = []
    for row in check_registry():
        checked.append(row)
        if progress:
            print(f"\r\033[Kchecked {row.dtype} {row.name}", end="", file=sys.stderr, flush=True)
    if progress:
        print("\r\033[K", end="", file=sys.stderr)
    wrong = [row for row in checked if not row.worst.ok]
    if as_json:
        rows = [row._asdict() for row in checked]
        write(json.dumps(to_plain_data({"ok": not wrong, "rows": rows})), out)
    else:
        write(built_in_table(checked), out)
    return 1 if wrong else 0


def built_in_table(checked: list[Checked]) -> str:
    """One line per entry, one column per dtype: the relative error of the worst quantity."""
    entries: dict[tuple[str, str], dict[str, Checked]] = {}
    for row in checked:
        entries.setdefault((row.kind, row.name), {})[row.dtype] = row
    rows = []
    for (kind, name), by_dtype in entries.items():
        errors = [f"{by_dtype[dtype].worst.error:.1e}" for dtype in DTYPES]
        wrong = [dtype for dtype in DTYPES if not by_dtype[dtype].worst.ok]
        rows.append((kind, name, *errors, f"WRONG in {', '.join(wrong)}" if wrong else "ok"))
    wrong = sum(not row.worst.ok for row in checked)
    verdict = (
        f"{len(checked) - wrong} checks right, {wrong} wrong: hand-written backward compared with jax.vjp in float64."
    )
    lines = table(("kind", "name", *DTYPES, ""), rows)
    return "\n".join(["Relative error by norm of the worst gradient, by dtype.", "", *lines, verdict])
