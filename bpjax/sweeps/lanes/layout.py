"""Which layout suits a trial: chosen by size, from measurements on two CPU cores.

    tiny      up to 3,000 entries that change (weights, momenta, rates) and arrays of up to 8,192 entries:
              lanes, as many as keep the largest array in the cache
    larger    single: one run after another, a separate run on each core

2-2-1 is fastest with 512 lanes, 10-5-10 with 64, 8-16-1 with 256 examples with 8. For 64-32-10 on 1,197 digits, one run
after another takes 0.4 times as long as lanes and 0.6 times as long as `vmap`, which was the fastest for none.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from bpjax.sweeps.lanes.transform import lanes
from bpjax.util.checks import check_choice
from bpjax.util.jaxprs import largest_array

TINY, SHORT = 3_000, 8_192
"""Entries that change, and entries of the largest array, up to which runs side by side are faster."""
CACHED = 32_000
"""Entries of the largest array, all active runs together, that stay in the cache of a core."""
WIDEST = 256
MOST_PREPARED = 1024
"""Runs prepared at a time. Memory use follows this number, not the number of runs."""
MOST_ENTRIES = 2**17
"""Entries of all runs that are prepared at a time."""

NAMES = ("auto", "lanes", "vmap", "single")


class Layout(NamedTuple):
    """How the runs of a pool are arranged side by side."""

    name: Literal["lanes", "vmap", "single"]
    width: int  # active runs
    chunk: int  # epochs between two checks which runs have stopped
    feed: int  # runs prepared at a time

    @property
    def axis(self) -> int:
        """The run axis of every array."""
        return -1 if self.name == "lanes" else 0

    def map(self, f: Callable) -> Callable:
        """`f` of one run as a function of all active runs."""
        if self.name == "lanes":
            return lanes(f, in_axes=-1, out_axes=-1)
        if self.name == "vmap":
            return jax.vmap(f)
        return lambda *args: jax.tree.map(lambda a: a[None], f(*jax.tree.map(lambda a: a[0], args)))


class Choice(NamedTuple):
    """A layout and the reason for it."""

    layout: Layout
    why: str  # one sentence, for the record of a sweep


def choose_layout(name: str, start, epoch_jaxpr) -> Choice:
    """The layout called `name`, "auto" by size. It depends on the program alone, never on the number of runs.

    Args:
        name: "auto", "lanes", "vmap" or "single".
        start: the state of a run before its first epoch; shapes and dtypes are enough.
        epoch_jaxpr: the jaxpr, open or closed, of one epoch of one run.

    Raises:
        ValueError: there is no layout of that name.
    """
    check_choice("sweep", "layout", name, NAMES)
    largest = largest_array(epoch_jaxpr)
    size = sum(leaf.size for leaf in jax.tree.leaves(start) if jnp.issubdtype(leaf.dtype, jnp.floating))
    on_cpu = jax.default_backend() == "cpu"
    is_tiny = size <= TINY and largest <= SHORT
    why = "as asked for"
    if name == "auto":
        name = "lanes" if is_tiny or not on_cpu else "single"
        why = f"a run's state has {size} numbers, the largest array of its epoch {largest}"
    most = min(WIDEST, max(8, power_of_two(CACHED // max(1, largest)))) * (1 if on_cpu else 64)
    width = 1 if name == "single" else most
    prepared = min(MOST_PREPARED, power_of_two(MOST_ENTRIES // max(1, size) + 1) // 2)
    return Choice(Layout(name, width, chunk=32 if is_tiny else 4, feed=max(width, prepared)), why)  # type: ignore[arg-type]


def power_of_two(n: int) -> int:
    """The smallest power of two that is at least n."""
    return 1 << max(0, n - 1).bit_length()
