"""What a function costs: time, and the temporary memory its compiled program asks for."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
import optax

from bpjax.rules.rule import Rule
from bpjax.training.step import TrainState, make_train_step
from bpjax.types import Key, Params


class Cost(NamedTuple):
    """The cost of one call of a compiled function."""

    seconds: float  # median over calls
    temporary_bytes: int | None  # None where the backend does not tell


def measure(functions: dict[str, Callable], *args) -> dict[str, Cost]:
    """Compile the functions and time them in turn."""
    compiled = {name: jax.jit(function).lower(*args).compile() for name, function in functions.items()}
    samples = in_turn({name: lambda call=call: call(*args) for name, call in compiled.items()})
    return {name: Cost(float(np.median(samples[name])), temporary_bytes(call)) for name, call in compiled.items()}


def in_turn(calls: dict[str, Callable[[], Any]], rounds: int = 5, seconds: float = 0.04) -> dict[str, list[float]]:
    """Seconds a call, a sample each round: A B, B A, A B, …, so that a change of the machine's speed hits all alike.

    A sample is the mean over as many calls as take about `seconds`. Medians of ratios within a round compare two.
    """
    repeats, samples = {}, {name: [] for name in calls}
    for name, call in calls.items():
        _timed(call, 1)
        repeats[name] = max(1, round(seconds / max(_timed(call, 1), 1e-7)))
    for turn in range(rounds):
        for name in list(calls)[:: 1 if turn % 2 == 0 else -1]:
            samples[name].append(_timed(calls[name], repeats[name]))
    return samples


def _timed(call: Callable[[], Any], repeats: int) -> float:
    start, result = time.perf_counter(), None
    for _ in range(repeats):
        result = call()
    jax.block_until_ready(result)
    return (time.perf_counter() - start) / repeats


def training_steps(rule: Rule, params: Params, batches, key: Key) -> Callable[[], Any]:
    """A compiled scan of steps of gradient descent over `batches` (S, N, ...), always from the same start."""
    optimizer = optax.sgd(1e-3)
    state = TrainState(params, optimizer.init(params), rule.init(key, params))
    step = make_train_step(rule, optimizer)
    train = jax.jit(lambda state, batches: jax.lax.scan(step, state, batches)).lower(state, batches).compile()
    return lambda: train(state, batches)


def temporary_bytes(compiled) -> int | None:
    """Bytes a compiled program allocates beside its arguments and results, None where the backend does not tell."""
    analysis = compiled.memory_analysis()
    return None if analysis is None else int(analysis.temp_size_in_bytes)
