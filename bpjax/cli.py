"""The command line: `bpjax compare`, with or without a file."""

import argparse
import json
import sys

import bpjax
from bpjax.gradcheck.registry import DTYPES, Checked, check_registry
from bpjax.gradcheck.report import table, to_plain_data
from bpjax.gradcheck.user_file import compare_file

EPILOG = """exit status: 0 all gradients are right, 1 a gradient is wrong, 2 bad usage

the file defines an ordinary JAX function, its hand-written gradient and example arguments:

    import jax, jax.numpy as jnp
    def function(w, x): return jnp.sum(jnp.tanh(x @ w))
    def gradient(w, x): return x.T @ (1 - jnp.tanh(x @ w) ** 2)      # with respect to the first argument
    arguments = (jnp.ones((4, 3)), jax.random.normal(jax.random.key(0), (5, 4)))

or, instead of `gradient`, a `function` that is a jax.custom_vjp."""


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="bpjax", description="Hand-written backpropagation, compared with jax.grad.", allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=f"bpjax {bpjax.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    comparison = commands.add_parser(
        "compare",
        help="compare hand-written gradients with jax.grad in float64",
        description="Check every built-in layer, activation and loss, or the hand-written gradient in your own file.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    comparison.add_argument("file", nargs="?", help="a Python file with `function`, `gradient` and `arguments`")
    comparison.add_argument("--json", action="store_true", help="print the result as JSON")
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
    """Check the gradient in a file; 0 where it is right, else 1."""
    report = compare_file(path)
    print(json.dumps(report.to_dict()) if as_json else report)
    return 0 if report.ok else 1


def compare_built_in(as_json: bool) -> int:
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
        print(json.dumps(to_plain_data({"ok": not wrong, "rows": rows})))
    else:
        print(built_in_table(checked))
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
