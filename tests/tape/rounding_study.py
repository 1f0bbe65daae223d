"""The forecast of rounding errors held against measured errors of random programs.

Run `PYTHONPATH=.:tests python -m tape.rounding_study 10000` for the numbers in docs/tape.md.

Each program is forecast at one input, and its error measured there: the program is evaluated in the dtype, operation by
operation. One error is one draw; so for every fourth program the root mean square is taken over 16 inputs within 1 % of
that input, where the forecast is about the same.
"""

import sys
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from tape.random_programs import random_program

from bpjax.tape.forecast import Forecast, forecast, sources_of
from bpjax.tape.lines import lines_of
from bpjax.tape.record import sweep
from bpjax.tape.replay import evaluate_in
from bpjax.tape.rounding import WITH_ALL_ERRORS
from bpjax.tape.values import Adjoints, Value

DTYPES = (jnp.float32, jnp.bfloat16, jnp.float16)
INPUTS = 16


class Outcome(NamedTuple):
    """One program in one dtype."""

    seed: int
    dtype: int  # position in DTYPES
    is_valid: bool
    share: float  # |error| / bound
    ratio: float  # root mean square of the error / its expectation; NaN where it was not measured


def recorded(f, arguments):
    """Values of the arguments, the recorder's entries, the operations, the value of the result."""
    inputs = [Value(jnp.asarray(a), True) for a in arguments]
    entries, (result,) = WITH_ALL_ERRORS._replace(custom_rules="open_all").record(jax.make_jaxpr(f)(*arguments), inputs)
    return inputs, entries, [line.record for line in lines_of(entries)], result


def error_in(dtype, inputs, records, result) -> np.ndarray:
    """Result in the dtype minus result in float64."""
    sources = list(dict.fromkeys([*inputs, *sources_of(records)]))
    return np.asarray(evaluate_in(dtype, records, sources, result)) - np.asarray(result.array)


def study(seed: int, size: int, with_ratio: bool) -> tuple[Outcome, Forecast]:
    """The forecast and the measured error of one random program."""
    program, arguments = random_program(seed, size)
    dtype = DTYPES[seed % 3]
    inputs, entries, records, result = recorded(lambda *a: program(*a), arguments)
    adjoints = Adjoints()
    adjoints.add(result, jnp.ones(()))
    sweep(entries, adjoints)
    found = forecast(records, inputs, result, adjoints, dtype)
    share = float(abs(error_in(dtype, inputs, records, result)) / found.bound)
    ratio = np.nan
    if with_ratio and found.is_valid:
        random = np.random.default_rng(seed)
        batch = [a * (1 + 0.01 * random.uniform(-1, 1, (INPUTS, *a.shape))) for a in arguments]
        inputs, _, records, result = recorded(jax.vmap(lambda *a: program(*a)), batch)
        ratio = float(np.sqrt(np.mean(error_in(dtype, inputs, records, result) ** 2)) / found.expected)
    return Outcome(seed, seed % 3, found.is_valid, share, ratio), found


def summary(outcomes: list[Outcome]) -> str:
    """A table, one row a dtype."""
    lines = ["dtype     programs  valid  broken  largest share  assessed  within 3  median ratio"]
    for k, dtype in enumerate(DTYPES):
        some = [o for o in outcomes if o.dtype == k]
        valid = [o for o in some if o.is_valid]
        ratios = np.array([o.ratio for o in valid if np.isfinite(o.ratio)])
        within = np.mean((ratios > 1 / 3) & (ratios < 3))
        lines.append(
            f"{np.dtype(dtype).name:9} {len(some):8}  {len(valid):5}  {sum(o.share > 1 for o in valid):6}  "
            f"{max(o.share for o in valid):13.2f}  {len(ratios):8}  {within:8.1%}  {np.median(ratios):12.2f}"
        )
    return "\n".join(lines)


def size_of(seed: int) -> int:
    """5 to 50 operations in every tenth program, 5 to 16 in the others."""
    return 5 + seed % 46 if seed % 10 == 0 else 5 + seed // 10 % 12


def main(count: int, first: int = 1000) -> None:
    """Study programs and print the summary."""
    jax.config.update("jax_enable_x64", True)
    outcomes = []
    for seed in range(first, first + count):
        outcomes.append(study(seed, size_of(seed), seed % 4 == 0)[0])
        if len(outcomes) % 1000 == 0 or len(outcomes) == count:
            print(summary(outcomes), flush=True)
            jax.clear_caches()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
