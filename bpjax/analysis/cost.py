"""The cost of a function: its time, and the temporary memory of its compiled program."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
from jax.stages import Compiled

from bpjax.rules.rule import Rule
from bpjax.training.step import TrainState, make_train_step
from bpjax.types import Key, Params


class Cost(NamedTuple):
    """The cost of one call of a compiled function."""

    seconds: float  # median over calls
    temporary_bytes: int | None  # None where the backend does not report it


def measure(compiled: dict[str, Compiled], *args) -> dict[str, Cost]:
    """Time compiled programs, called in turn with the same arguments."""
    samples = in_turn({name: lambda call=call: call(*args) for name, call in compiled.items()})
    return {name: Cost(float(np.median(samples[name])), temporary_bytes(call)) for name, call in compiled.items()}


def in_turn(calls: dict[str, Callable[[], Any]], rounds: int = 5, seconds: float = 0.04) -> dict[str, list[float]]:
    """Time several calls in turn; return seconds per call, one sample per round.

    The order is A B, B A, A B, …, so that a change of the machine's speed affects all alike. To compare two, take the
    median of the ratios within the rounds.

    Args:
        calls: by name.
        rounds: samples per call.
        seconds: a sample is the mean over as many repetitions as take about this long.
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
    """Compile a scan of steps of gradient descent; each call runs it from the same initial state.

    Args:
        rule: gives the direction.
        params: initial.
        batches: (x, target) with leading axes (S, N), S steps.
        key: for the rule's state.
    """
    optimizer = optax.sgd(1e-3)
    state = TrainState(params, optimizer.init(params), rule.init(key, params))
    step = make_train_step(rule, optimizer)
    train = jax.jit(lambda state, batches: jax.lax.scan(step, state, batches)).lower(state, batches).compile()
    return lambda: train(state, batches)


def temporary_bytes(compiled: Compiled) -> int | None:
    """Bytes that a program allocates beside arguments and results; None where the backend does not report them."""
    analysis = compiled.memory_analysis()
    return None if analysis is None else int(analysis.temp_size_in_bytes)
