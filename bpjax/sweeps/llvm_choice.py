"""Whether LLVM can compile a sweep, and what to do where it cannot."""

import functools
import importlib.metadata
import importlib.util
import logging

import jax

from bpjax.sweeps.computation import Computation
from bpjax.sweeps.lanes.layout import Choice, Layout
from bpjax.util.extras import require_extra
from bpjax.util.trees import bytes_of

log = logging.getLogger("bpjax.sweeps.lanes")

OLDEST = (0, 44)
"""The oldest version of llvmlite whose LLVM has one type of pointers."""
LARGEST_RUN = 2**16
"""Bytes of a run (weights, the optimizer's averages, counters) up to which LLVM compiles it by default: 16 of them lie
side by side in a core's cache.

Of the trials in `scripts/layout_workloads.py`, all up to 42 kB are 1.2 to 3.3 times as fast by LLVM as in the fastest
layout of XLA, and the one of 407 kB (784-64-10) a third as fast. The table is in `docs/sweeps.md`.
"""
LLVM = Layout("llvm", width=1, chunk=1, feed=128)
"""The layout for the identity of a sweep. How many runs fit into a vector is no part of it: no number depends on it."""


def is_installed() -> bool:
    """Whether a version of llvmlite is installed that compiles what is written here."""
    if importlib.util.find_spec("llvmlite") is None:
        return False
    major, minor = importlib.metadata.version("llvmlite").split(".")[:2]
    return (int(major), int(minor)) >= OLDEST


def llvm_choice(name: str, computation: Computation, curve_epochs: tuple[int, ...], platform: str) -> Choice | None:
    """The layout "llvm" if it applies; None where XLA compiles the sweep.

    Args:
        name: "llvm" for runs of any size, or "auto".
        computation: the traced trial.
        curve_epochs: at which values are stored.
        platform: of the devices: "cpu", or another.

    Raises:
        ModuleNotFoundError: it is asked for by name, and llvmlite is not installed.
    """
    if name == "auto" and not (is_installed() and bytes_of(computation.run_shape) <= LARGEST_RUN):
        return None
    if platform != "cpu":
        reason = "it compiles for CPUs alone"
    elif not jax.config.jax_threefry_partitionable:  # type: ignore[attr-defined]
        reason = "jax_threefry_partitionable=False has no rule"
    else:
        reason = unsupported(computation, curve_epochs)
    if reason is None:
        from bpjax.sweeps.lanes.llvm.machine import versions
        from bpjax.sweeps.llvm_pool import width

        asked = "asked for by name" if name == "llvm" else f"a run is {bytes_of(computation.run_shape):,} bytes"
        return Choice(LLVM, f"{asked}; LLVM {versions()}, {width(computation)} runs to a vector")
    log.log(
        logging.WARNING if name == "llvm" else logging.INFO, "LLVM does not compile this sweep, XLA does: %s", reason
    )
    return None


@functools.lru_cache(maxsize=64)
def unsupported(computation: Computation, curve_epochs: tuple[int, ...]) -> str | None:
    """What of a trial has no rule, or None."""
    with require_extra('`layout="llvm"` compiles by llvmlite', "llvm"):
        from bpjax.sweeps.lanes.llvm.compiled import write
    from bpjax.sweeps.lanes.llvm.dtypes import Unsupported
    from bpjax.sweeps.llvm_pool import width

    try:
        write(computation, curve_epochs, width(computation), False)
    except Unsupported as missing:
        return f"{missing} has no rule"
    return None
