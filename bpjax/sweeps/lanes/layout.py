"""Which layout suits a trial: chosen by size, from measurements on two CPU cores.

    tiny      up to 3,000 numbers that change (weights, velocities, rates) and arrays of up to 8,192:
              lanes, as many as keep the largest array in the cache
    beyond    single: one run after another, on every core its own

2-2-1 is fastest with 512 lanes, 10-5-10 with 64, 8-16-1 with 256 examples with 8; for 64-32-10 on 1,197 digits one run
after another takes 0.4 times as long as lanes and 0.6 times as long as `vmap`, which was the fastest for none.
"""

import jax
import jax.numpy as jnp

from bpjax.sweeps.pool import Layout
from bpjax.util.checks import check_choice

TINY, SHORT = 3_000, 8_192
"""Numbers that change, and numbers in the largest array, up to which runs side by side are faster."""
CACHED = 32_000
"""Numbers in the largest array of all runs held, so that it stays in the cache of a core."""
WIDEST = 512
MOST_FED = 4096
"""Runs prepared at a time; what is in memory follows it, not the number of runs."""
PREPARED = 2**25
"""Numbers in all runs that are prepared at a time."""

NAMES = ("auto", "lanes", "vmap", "single")


def choose_layout(name: str, start, largest: int, runs: int) -> Layout:
    """The layout called `name`, "auto" by size.

    Args:
        name: "auto", "lanes", "vmap" or "single".
        start: the beginning of a run; shapes are enough.
        largest: numbers in the largest array of one run's epoch.
        runs: how many there are.

    Raises:
        ValueError: no such layout.
    """
    check_choice("sweep", "layout", name, NAMES)
    size = sum(leaf.size for leaf in jax.tree.leaves(start) if jnp.issubdtype(leaf.dtype, jnp.floating))
    on_cpu = jax.default_backend() == "cpu"
    tiny = size <= TINY and largest <= SHORT
    if name == "auto":
        name = "lanes" if tiny or not on_cpu else "single"
    most = min(WIDEST, max(8, power_of_two(CACHED // max(1, largest)))) * (1 if on_cpu else 64)
    width = 1 if name == "single" else min(most, power_of_two(runs))
    fed = min(MOST_FED, PREPARED // max(1, size), power_of_two(runs // 8))
    return Layout(name, width, chunk=32 if tiny else 4, feed=max(width, fed))  # type: ignore[arg-type]


def power_of_two(n: int) -> int:
    """The smallest power of two that is at least n."""
    return 1 << max(0, n - 1).bit_length()
