"""How well the gradient check judges, locates and names mistakes in gradients of plain functions.

The folder `handwritten` has twelve functions with a right gradient written by hand, and for each a table of mistakes:
text of the backward pass, what replaces it, the line of the forward pass whose derivative becomes wrong (its first
words; several where they are equally right), and the names of the mistake that are right. Each mistake is made in the
source text, and `check_gradient` is asked for its verdict, the line and the name. JAX's `check_grads` stands beside it.
Then the right gradients, at other arguments and in every dtype, where any alarm is a false one.

    python scripts/gradient_mistakes.py [--only layer_norm ...] [--right 2000] [--verbose]
"""

import argparse
import collections
import functools
import linecache
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.test_util import check_grads

from bpjax.gradcheck.check import check_gradient
from bpjax.util.text_table import table

FOLDER = Path(__file__).parent / "handwritten"
DTYPES = ("float32", "float64", "bfloat16", "float16")


class Handwritten(NamedTuple):
    """A function with a gradient written by hand."""

    function: Callable
    arguments: tuple
    gradient: Callable | None  # None: the rule of the function


class Mistake(NamedTuple):
    """A mistake in the source text of a gradient."""

    file: str
    old: str
    new: str
    lines: tuple[int, ...]  # of the forward pass: where it is right to say that the mistake is
    names: tuple[str, ...]

    @property
    def source(self) -> str:
        """The text of the file with the mistake in it."""
        return (FOLDER / f"{self.file}.py").read_text(encoding="utf-8").replace(self.old, self.new)


class Outcome(NamedTuple):
    """What was said of one mistake."""

    wrong: bool
    located: bool  # the line that is named is the line of the mistake
    named: bool
    by_jax: bool  # `check_grads` fails as well
    seconds: float
    text: str


def files() -> list[str]:
    """The names of the functions."""
    return sorted(path.stem for path in FOLDER.glob("*.tsv"))


def load(file: str, source: str | None = None) -> Handwritten:
    """Run a file, or its text with a mistake in it."""
    path = str(FOLDER / f"{file}.py")
    source = Path(path).read_text(encoding="utf-8") if source is None else source
    linecache.cache[path] = (len(source), None, source.splitlines(keepends=True), path)
    names: dict = {"__name__": file}
    exec(compile(source, path, "exec"), names)
    return Handwritten(names["function"], names["arguments"], names.get("gradient"))


def mistakes(file: str) -> Iterator[Mistake]:
    """The mistakes of one function."""
    source = (FOLDER / f"{file}.py").read_text(encoding="utf-8")
    lines = [line.strip() for line in source.splitlines()]
    for row in (FOLDER / f"{file}.tsv").read_text(encoding="utf-8").splitlines():
        old, new, beginnings, names = row.split("\t")
        starts = tuple(start.strip() for start in beginnings.split("|"))
        found = tuple(k + 1 for k, line in enumerate(lines) if line.startswith(starts))
        if source.count(old) != 1 or not found:
            raise ValueError(f"{file}: expected {old!r} once and a line that begins with one of {starts}.")
        yield Mistake(file, old, new, found, tuple(names.split("|")))


def examine(mistake: Mistake, beside: bool = True) -> Outcome:
    """Check one wrong gradient.

    Args:
        mistake: that is made.
        beside: also run `check_grads`.
    """
    case = load(mistake.file, mistake.source)
    start = time.perf_counter()
    report = check_gradient(case.function, *case.arguments, gradient=case.gradient)
    seconds = time.perf_counter() - start
    found = report.explanation
    return Outcome(
        report.verdict == "wrong",
        found is not None and found.place.line in mistake.lines,
        found is not None and found.mistake in mistake.names,
        beside and not passes_check_grads(case),
        seconds,
        str(found),
    )


def passes_check_grads(case: Handwritten) -> bool:
    """Whether `jax.test_util.check_grads` finds nothing, with its default tolerances."""
    floating = [
        k for k, a in enumerate(case.arguments)
        if all(jnp.issubdtype(jnp.result_type(leaf), jnp.floating) for leaf in jax.tree.leaves(a))
    ]  # fmt: skip

    def of_floating(*chosen):
        arguments = list(case.arguments)
        for k, argument in zip(floating, chosen, strict=True):
            arguments[k] = argument
        return case.function(*arguments) if case.gradient is None else with_rule(case)(*arguments)

    try:
        check_grads(of_floating, [case.arguments[k] for k in floating], order=1, modes=["rev"])
    except Exception:  # noqa: BLE001  (an AssertionError, or shapes that JAX refuses)
        return False
    return True


def with_rule(case: Handwritten) -> Callable:
    """The function with its separate gradient as a `custom_vjp`; arguments without a gradient get zeros."""
    function = jax.custom_vjp(case.function)

    def backward(arguments, dy):
        assert case.gradient is not None
        gradients = case.gradient(*arguments)
        gradients = gradients if isinstance(gradients, tuple) else (gradients,)
        scaled = [jax.tree.map(lambda g: dy * g, gradient) for gradient in gradients]
        return *scaled, *(jax.tree.map(_zero, a) for a in arguments[len(scaled) :])

    function.defvjp(lambda *arguments: (case.function(*arguments), arguments), backward)
    return function


def _zero(leaf):
    floating = jnp.issubdtype(jnp.result_type(leaf), jnp.floating)
    return jnp.zeros_like(leaf) if floating else np.zeros(jnp.shape(leaf), jax.dtypes.float0)


def at_other_arguments(case: Handwritten, seed: int, dtype: str) -> tuple:
    """Arguments of the same shapes: normal numbers of the size and sign of the given ones, in a dtype."""
    rng = np.random.default_rng([seed, 1])  # not the numbers of the cotangents

    def draw(leaf):
        if not jnp.issubdtype(jnp.result_type(leaf), jnp.floating):
            return leaf
        leaf = np.asarray(leaf, np.float64)
        size = np.sqrt(np.mean(leaf**2)) or 1.0
        values = rng.standard_normal(leaf.shape) * size
        return jnp.asarray(np.abs(values) + 0.1 * size if (leaf > 0).all() else values, dtype)

    return jax.tree.map(draw, case.arguments)


def alarms(file: str, dtype: str, checks: int, advance: Callable[[], None]) -> tuple[collections.Counter, int]:
    """Verdicts on the right gradient of one function in one dtype, and the alarms of `check_grads`."""
    counts, by_jax = collections.Counter(), 0
    with jax.enable_x64(dtype == "float64"):
        case = load(file)
        for seed in range(checks):
            arguments = at_other_arguments(case, seed, dtype)
            counts[check_gradient(case.function, *arguments, gradient=case.gradient, seed=seed).verdict] += 1
            by_jax += not passes_check_grads(case._replace(arguments=arguments))
            advance()
    return counts, by_jax


def show_mistakes(chosen: list[str], verbose: bool, progress) -> collections.Counter:
    """Examine every mistake and print one row for each function."""
    rows, total = [], collections.Counter()
    work = {file: list(mistakes(file)) for file in chosen}
    task = progress.add_task("mistakes", total=sum(map(len, work.values())))
    for file, found in work.items():
        count = collections.Counter()
        for mistake in found:
            outcome = examine(mistake)
            progress.advance(task)
            count.update(
                made=1, wrong=outcome.wrong, located=outcome.located, named=outcome.named, by_jax=outcome.by_jax
            )
            count["milliseconds"] += round(1000 * outcome.seconds)
            if verbose and not (outcome.wrong and outcome.located and outcome.named):
                said = (
                    "  ".join(word for word in ("wrong", "located", "named") if getattr(outcome, word))
                    or "nothing right"
                )
                progress.print(f"{file}: {mistake.old} → {mistake.new} ({said})\n    {outcome.text}", markup=False)
        rows.append((file, count))
        total.update(count)
    columns = ("made", "wrong", "located", "named", "by_jax")
    cells = [(file, *(str(c[k]) for k in columns), f"{c['milliseconds'] / 1000 / c['made']:.1f}") for file, c in rows]
    header = (
        "function",
        "mistakes",
        "judged wrong",
        "right line",
        "right name",
        "wrong by check_grads",
        "seconds each",
    )
    print("\n".join(table(header, cells)))
    shares = ", ".join(
        f"{total[k]} {words} ({total[k] / total['made']:.1%})"
        for k, words in zip(columns[1:], header[2:], strict=False)
    )
    print(f"{total['made']} mistakes: {shares}.")
    return total


def show_alarms(chosen: list[str], checks: int, progress) -> int:
    """Check the right gradients and print one row for each dtype; the number of false alarms."""
    each = -(-checks // (len(chosen) * len(DTYPES)))
    task = progress.add_task("right gradients", total=each * len(chosen) * len(DTYPES))
    rows, wrong = [], 0
    for dtype in DTYPES:
        counts, by_jax = collections.Counter(), 0
        for file in chosen:
            more, more_by_jax = alarms(file, dtype, each, functools.partial(progress.advance, task))
            counts, by_jax = counts + more, by_jax + more_by_jax
        wrong += counts["wrong"]
        cells = (counts["right"], counts["cannot tell"], counts["wrong"], by_jax)
        rows.append((dtype, str(each * len(chosen)), *map(str, cells)))
    print("\n".join(table(("dtype", "checks", "right", "cannot tell", "wrong", "wrong by check_grads"), rows)))
    return wrong


def main() -> int:
    """Print both tables; return 0 where every mistake is judged wrong and no right gradient is."""
    try:
        from rich.progress import Progress
    except ModuleNotFoundError:
        sys.exit("rich is not installed. Install what experiments need: pip install 'bpjax[experiments]'.")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=files(), default=files(), help="the functions; all by default")
    parser.add_argument("--right", type=int, default=2000, help="checks of right gradients, over functions and dtypes")
    parser.add_argument("--verbose", action="store_true", help="print what is said of mistakes that are missed")
    options = parser.parse_args()
    with Progress() as progress:
        total = show_mistakes(options.only, options.verbose, progress)
        wrong = show_alarms(options.only, options.right, progress) if options.right else 0
    return 0 if total["wrong"] == total["made"] and not wrong else 1


if __name__ == "__main__":
    sys.exit(main())
