"""The command line: `bpjax compare`, with or without a file."""

import argparse
import json
import sys

import bpjax
from bpjax.gradcheck.registry import DTYPES, Checked, check_catalogue
from bpjax.gradcheck.report import plain, table
from bpjax.gradcheck.user_file import compare_file

EPILOG = """exit status: 0 all right, 1 something is wrong, 2 bad usage

a file to check defines an ordinary JAX function, a hand-written gradient and example arguments:

    import jax, jax.numpy as jnp
    def function(w, x): return jnp.sum(jnp.tanh(x @ w))
    def gradient(w, x): return x.T @ (1 - jnp.tanh(x @ w) ** 2)      # by the first argument
    arguments = (jnp.ones((4, 3)), jax.random.normal(jax.random.key(0), (5, 4)))

or, instead of `gradient`, a `function` that is a jax.custom_vjp."""


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="bpjax", description="Backpropagation by hand, held against jax.grad.", allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=f"bpjax {bpjax.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    comparison = commands.add_parser(
        "compare",
        help="check hand-written gradients against jax.grad in float64",
        description="Check every built-in layer, activation and loss, or the hand-written gradient in a file of yours.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    comparison.add_argument("file", nargs="?", help="a Python file with `function`, `gradient` and `arguments`")
    comparison.add_argument("--json", action="store_true", help="print the result as JSON, for machines")
    options = parser.parse_args(argv)
    try:
        return compare_user_file(options.file, options.json) if options.file else compare_built_in(options.json)
    except (ValueError, FileNotFoundError) as error:
        print(f"bpjax compare: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nbpjax compare: interrupted.", file=sys.stderr)
        return 130


def compare_user_file(path: str, as_json: bool) -> int:
    """Check the gradient of a file; 0 where it is right, else 1."""
    report = compare_file(path)
    print(json.dumps(report.to_dict()) if as_json else report)
    return 0 if report.ok else 1


def compare_built_in(as_json: bool) -> int:
    """Check the catalogue; 0 where all is right, else 1."""
    watched = not as_json and sys.stderr.isatty()
    checked = []
    for row in check_catalogue():
        checked.append(row)
        if watched:
            print(f"\r\033[Kchecked {row.dtype} {row.name}", end="", file=sys.stderr, flush=True)
    if watched:
        print("\r\033[K", end="", file=sys.stderr)
    wrong = [row for row in checked if not row.worst.ok]
    if as_json:
        rows = [row._asdict() for row in checked]
        print(json.dumps(plain({"ok": not wrong, "rows": rows})))
    else:
        print(built_in_table(checked))
    return 1 if wrong else 0


def built_in_table(checked: list[Checked]) -> str:
    """A line for each entry, a column for each dtype: the relative error of its worst quantity."""
    entries: dict[tuple[str, str], dict[str, Checked]] = {}
    for row in checked:
        entries.setdefault((row.kind, row.name), {})[row.dtype] = row
    rows = []
    for (kind, name), by_dtype in entries.items():
        errors = [f"{by_dtype[dtype].worst.error:.1e}" for dtype in DTYPES]
        wrong = [dtype for dtype in DTYPES if not by_dtype[dtype].worst.ok]
        rows.append((kind, name, *errors, f"WRONG in {', '.join(wrong)}" if wrong else "ok"))
    wrong = sum(not row.worst.ok for row in checked)
    verdict = f"{len(checked) - wrong} checks right, {wrong} wrong: hand-written backward against jax.vjp in float64."
    lines = table(("kind", "name", *DTYPES, ""), rows)
    return "\n".join(["Relative error by norm of the worst gradient, by dtype.", "", *lines, verdict])
