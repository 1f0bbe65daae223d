"""The errors of the special functions of LLVM's lanes, beside XLA's, in units of the last place (ULP).

    python -m scripts.ulp_of_lanes

Every function is computed for random numbers of its interval, half of them spread evenly and half by magnitude, and
compared with mpmath. The table has the largest error. Results that are subnormal are left out: both count them as 0.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import mpmath
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from llvm_evaluation import evaluated  # noqa: E402  # pyright: ignore[reportMissingImports]

from bpjax.sweeps.lanes.llvm.dtypes import Unsupported  # noqa: E402


class Function(NamedTuple):
    """A special function."""

    ours: Callable
    exact: Callable | None  # of mpmath; None for powers
    interval: tuple[float, float]  # in float32
    wider: tuple[float, float] | None = None  # in float64


FUNCTIONS = {
    "exp": Function(jnp.exp, mpmath.exp, (-87.3, 88.7), (-708, 709.7)),
    "log": Function(jnp.log, mpmath.log, (1e-37, 3e38), (1e-300, 1e300)),
    "tanh": Function(jnp.tanh, mpmath.tanh, (-12, 12)),
    "logistic": Function(jax.nn.sigmoid, lambda x: 1 / (1 + mpmath.exp(-x)), (-87, 20), (-700, 40)),
    "sin": Function(jnp.sin, mpmath.sin, (-1e5, 1e5)),
    "cos": Function(jnp.cos, mpmath.cos, (-1e5, 1e5)),
    "erf": Function(jax.lax.erf, mpmath.erf, (-6, 6)),
    "erf_inv": Function(jax.lax.erf_inv, mpmath.erfinv, (-0.999999, 0.999999)),
    "pow, base 0.7": Function(lambda x: jnp.asarray(0.7, x.dtype) ** x, None, (-200, 200)),
    "expm1": Function(jnp.expm1, mpmath.expm1, (-20, 88)),
    "log1p": Function(jnp.log1p, mpmath.log1p, (-0.9999, 1e30)),
}


def samples(interval, dtype, count: int) -> np.ndarray:
    """Random numbers of an interval: half of them evenly, half by magnitude."""
    rng, (low, high) = np.random.default_rng(0), interval
    even = rng.uniform(low, high, count // 2)
    largest = max(abs(low), high)
    smallest = low if low > 0 else 1e-30
    sizes = np.exp(rng.uniform(np.log(smallest), np.log(largest), count // 2))
    signs = np.where(rng.random(count // 2) < 0.5, 1, -1) if low < 0 else 1
    values = np.concatenate([even, sizes * signs]).astype(dtype)
    return values[(values >= low) & (values <= high)]


def worst(values: np.ndarray, exact: list, dtype) -> float:
    """The largest error in ULP of the exact value, of results that are not subnormal."""
    limits, found = np.finfo(dtype), 0.0
    for value, truth in zip(values.tolist(), exact, strict=True):
        if limits.tiny < abs(truth) < limits.max:
            ulp = float(np.spacing(np.abs(dtype(float(truth)))))
            found = max(found, float(abs(mpmath.mpf(value) - truth)) / ulp)
    return found


def row(name: str, function: Function, count: int) -> str:
    """A line of the table: LLVM and XLA, float32 and float64."""
    cells = []
    for dtype in (np.float32, np.float64):
        x = samples(function.wider if dtype is np.float64 and function.wider else function.interval, dtype, count)
        with mpmath.workdps(40):
            base = mpmath.mpf(float(dtype(0.7)))
            exact = [function.exact(mpmath.mpf(v)) if function.exact else base ** mpmath.mpf(v) for v in x.tolist()]
            try:
                ours = f"{worst(evaluated(function.ours, x)[0], exact, dtype):.2f}"
            except Unsupported:
                ours = "no rule"
            cells += [ours, f"{worst(np.asarray(jax.jit(function.ours)(x)), exact, dtype):.2f}"]
    return f"| {name} | {' | '.join(cells)} |"


def main() -> None:
    """Print the table as Markdown."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--count", type=int, default=20_000, help="numbers for each function")
    count = parser.parse_args().count
    print("| function | float32, LLVM | float32, XLA | float64, LLVM | float64, XLA |\n|---|---|---|---|---|")
    with jax.enable_x64(True):
        for name, function in FUNCTIONS.items():
            print(row(name, function, count), flush=True)


if __name__ == "__main__":
    main()
