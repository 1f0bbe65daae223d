"""Which layout suits a trial: chosen by size, from what `scripts/benchmark.py` measures."""

import jax
import jax.numpy as jnp

from bpjax.sweeps.pool import Layout

TINY = 300
"""Numbers that change from epoch to epoch (weights, velocities, rates) up to which wide pools pay."""
SMALL = 10_000
"""The same, up to which runs side by side are faster than one after another."""
MOST_FED = 4096
"""Runs prepared at a time; what is in memory follows it, not the number of runs."""
MEMORY = 2**27
"""Bytes that prepared runs may take."""

NAMES = ("auto", "lanes", "vmap", "single")


def choose_layout(name: str, start, runs: int) -> Layout:
    """The layout called `name`, "auto" by size, for trials that begin as `start` (shapes are enough).

        up to 300 numbers      lanes, 256 runs side by side
        up to 10,000           lanes, 128 or fewer
        beyond                 single: one run after another, on every core its own

    Plain `vmap` was never the fastest.

    Raises:
        ValueError: no such layout.
    """
    if name not in NAMES:
        raise ValueError(f"`sweep` expected `layout` to be one of {', '.join(NAMES)}, got {name!r}.")
    size = sum(leaf.size for leaf in jax.tree.leaves(start) if jnp.issubdtype(leaf.dtype, jnp.floating))
    on_cpu = jax.default_backend() == "cpu"
    if name == "auto":
        name = "lanes" if size <= SMALL or not on_cpu else "single"
    if name == "single":
        width = 1
    else:
        width = 256 if size <= TINY else 128 if size <= SMALL // 4 else 32
        width = width if on_cpu else 64 * width
    width = min(width, power_of_two(runs))
    most = max(width, MEMORY // (8 * max(1, size)))
    chunk = 32 if size <= SMALL else 4
    return Layout(name, width, chunk, min(max(width, power_of_two(runs // 4)), MOST_FED, most))  # type: ignore[arg-type]


def power_of_two(n: int) -> int:
    """The smallest power of two that is at least n."""
    return 1 << max(0, n - 1).bit_length()
