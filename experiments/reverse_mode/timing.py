"""Measured time: that of the processor, in which other programs on the machine do not count."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import jax


def cpu_seconds(calls: Mapping[str, Callable[[], Any]], rounds: int, least: float = 0.02) -> dict[str, float]:
    """Processor time of one call, all threads together, the fastest of several rounds.

    The calls are made in turn, A B, B A, …, so that a change of the machine's speed affects all alike.

    Args:
        calls: by name.
        rounds: measurements of each.
        least: a measurement is the mean over as many repetitions as take about this many seconds.
    """
    repeats = {}
    for name, call in calls.items():
        measured(call, 1)
        repeats[name] = max(1, round(least / max(measured(call, 1), 1e-6)))
    found: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(rounds):
        for name in list(calls)[:: 1 if turn % 2 == 0 else -1]:
            found[name].append(measured(calls[name], repeats[name]))
    return {name: min(seconds) for name, seconds in found.items()}


def measured(call: Callable[[], Any], repeats: int) -> float:
    """Processor time of one of several calls."""
    begun = time.process_time()
    for _ in range(repeats):
        jax.block_until_ready(call())
    return (time.process_time() - begun) / repeats
