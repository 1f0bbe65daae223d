"""What a function costs: time, and the temporary memory its compiled program asks for."""

import time
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np


class Cost(NamedTuple):
    """The cost of one call of a compiled function."""

    seconds: float  # median over calls
    temporary_bytes: int | None  # None where the backend does not tell


def measure(functions: dict[str, Callable], *args, seconds: float = 0.2, rounds: int = 5) -> dict[str, Cost]:
    """Compile the functions and time them in turn, A B A B …, so that a change of the machine's speed hits all.

    Each round calls each function for about `seconds` / `rounds`; the result is the median over the rounds.
    """
    compiled = {name: jax.jit(function).lower(*args).compile() for name, function in functions.items()}
    repeats, samples = {}, {name: [] for name in compiled}
    for name, function in compiled.items():
        jax.block_until_ready(function(*args))
        repeats[name] = max(1, round(seconds / rounds / max(_timed(function, args, 1), 1e-6)))
    for _ in range(rounds):
        for name, function in compiled.items():
            samples[name].append(_timed(function, args, repeats[name]))
    return {name: Cost(float(np.median(samples[name])), _temporary_bytes(f)) for name, f in compiled.items()}


def _timed(function, args, repeats: int) -> float:
    start = time.perf_counter()
    result = None
    for _ in range(repeats):
        result = function(*args)
    jax.block_until_ready(result)
    return (time.perf_counter() - start) / repeats


def _temporary_bytes(compiled) -> int | None:
    analysis = compiled.memory_analysis()
    return None if analysis is None else int(analysis.temp_size_in_bytes)
