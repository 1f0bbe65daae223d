"""Which layout suits a trial: the one with the lowest time per epoch and run by a model of the time.

The work of an epoch is counted on its jaxpr (`counts`); the nanoseconds of each operation were fitted to measurements
of 22 trials on two CPU cores (`times`). There is no model for accelerators: there the layout is lanes.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from bpjax.sweeps.lanes.counts import count_work
from bpjax.sweeps.lanes.times import modelled_time
from bpjax.sweeps.lanes.transform import lanes
from bpjax.util.checks import check_choice
from bpjax.util.extras import require_extra
from bpjax.util.jaxprs import largest_array, opened

WIDTHS = (256, 128, 64, 32, 16)
"""Active runs of lanes, the widest first."""
VMAP_WIDTH = 8
"""Active runs of `vmap`: more were hardly faster on any workload, and up to six times slower on some."""
CACHED = 2**18
"""Entries of the largest array, all active runs together, that stay in the caches of a core."""
POOL_EPOCH = 3e6
"""Nanoseconds that an epoch of all active runs may take: places without a run cost as much as those with one."""
FREQUENT = 5e4
"""Nanoseconds per epoch and run up to which stopped runs are looked for every 32 epochs, else every 4."""
MOST_PREPARED = 1024
"""Runs prepared at a time. Memory use follows this number, not the number of runs."""
MOST_ENTRIES = 2**17
"""Entries of all runs that are prepared at a time."""

NAMES = ("auto", "lanes", "vmap", "single", "llvm")


class Layout(NamedTuple):
    """How the runs of a pool are arranged side by side."""

    name: Literal["lanes", "vmap", "single", "llvm"]
    width: int  # active runs
    chunk: int  # epochs between two checks which runs have stopped
    feed: int  # runs prepared at a time

    @property
    def compiler(self) -> dict[str, str]:
        """Name and version of the compiler, beside JAX."""
        if self.name != "llvm":
            return {}
        with require_extra('`layout="llvm"` compiles by llvmlite', "llvm"):
            from bpjax.sweeps.lanes.llvm.machine import versions
        return {"llvm": versions()}

    @property
    def text(self) -> str:
        """The layout in words."""
        return self.name if self.name == "llvm" else f"{self.name}, {self.width} runs side by side"

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


def choose_layout(name: str, start, epoch_jaxpr, shared: int = 0) -> Choice:
    """The layout called `name`; "auto": the one with the lowest modelled time per epoch and run.

    It depends on the program alone, never on the number of runs nor on a measurement, so that the same sweep has the
    same layout everywhere, and a run's numbers do not depend on how many others there are.

    Args:
        name: "auto", "lanes", "vmap" or "single"; "llvm" where LLVM cannot compile the sweep: lanes.
        start: the state of a run before its first epoch; shapes and dtypes are enough.
        epoch_jaxpr: the jaxpr, open or closed, of one epoch of one run.
        shared: how many of its first arguments are the same for all runs.

    Raises:
        ValueError: there is no layout of that name.
    """
    check_choice("sweep", "layout", name, NAMES)
    per_run = [place >= shared for place in range(len(opened(epoch_jaxpr).invars))]
    work, largest = count_work(epoch_jaxpr, per_run), max(1, largest_array(epoch_jaxpr))
    on_cpu = jax.default_backend() == "cpu"
    lanes_width = next(
        (w for w in WIDTHS if w * largest <= CACHED and w * modelled_time("lanes", w, work) <= POOL_EPOCH), WIDTHS[-1]
    )
    widths = {"lanes": lanes_width, "vmap": VMAP_WIDTH, "single": 1}
    times = {which: modelled_time(which, width, work) for which, width in widths.items()}
    why = "asked for by name"
    if name == "auto":
        name = min(times, key=lambda which: times[which]) if on_cpu else "lanes"
        shown = ", ".join(f"{which} {time / 1e3:.3g} µs" for which, time in times.items())
        why = f"the model of the time per epoch and run says {shown}" if on_cpu else "many runs fill an accelerator"
    if name == "llvm":
        name, why = "lanes", "LLVM cannot compile this trial, see the log"
    width = widths[name] if on_cpu or name == "single" else 64 * widths[name]
    size = sum(leaf.size for leaf in jax.tree.leaves(start) if jnp.issubdtype(leaf.dtype, jnp.floating))
    prepared = min(MOST_PREPARED, power_of_two(MOST_ENTRIES // max(1, size) + 1) // 2)
    chunk = 32 if times["single"] <= FREQUENT else 4
    return Choice(Layout(name, width, chunk, feed=max(width, prepared)), why)  # type: ignore[arg-type]


def power_of_two(n: int) -> int:
    """The smallest power of two that is at least n."""
    return 1 << max(0, n - 1).bit_length()
