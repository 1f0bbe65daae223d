"""What a step of each rule costs, as a multiple of a step of backprop, measured in turns."""

import time
from concurrent.futures import ThreadPoolExecutor

import jax
import numpy as np
import optax
from learning_rules_problems import Entry, Problem
from learning_rules_tuning import cores

import bpjax as bp
from bpjax.settings import jax_settings, under


def step_costs(problem: Problem, entries: list[Entry], rounds: int, seconds: float = 0.01) -> dict[str, float]:
    """Time of an epoch of every rule over that of backprop: the median of `rounds` pairs, timed one after the other.

    Args:
        problem: whose batches are presented.
        entries: the rules, backprop among them.
        rounds: pairs to each rule.
        seconds: at least so long is timed at once.
    """
    settings = jax_settings()

    def compiled(entry):
        with under(settings):
            return epoch_of(problem, entry)

    with ThreadPoolExecutor(cores()) as threads:
        epochs = dict(zip((entry.name for entry in entries), threads.map(compiled, entries), strict=True))
    once = {name: timed(epoch, 1) for name, epoch in epochs.items()}
    often = {name: 1 + int(seconds / duration) for name, duration in once.items()}

    def pair(name):
        return timed(epochs[name], often[name]) / timed(epochs["backprop"], often["backprop"])

    return {name: float(np.median([pair(name) for _ in range(rounds)])) for name in epochs}


def epoch_of(problem: Problem, entry: Entry):
    """A compiled epoch, () -> arrays, that has run once."""
    params = entry.init(jax.random.key(0), problem)
    optimizer = optax.sgd(problem.rates[0])
    x, target = entry.padded(problem.data(0).train)
    size = problem.batch_size or len(target)
    steps = len(target) // size
    batches = jax.tree.map(lambda a: a[: steps * size].reshape(steps, size, *a.shape[1:]), (x, target))
    state = bp.TrainState(params, optimizer.init(params), entry.rule.init(jax.random.key(1), params))
    step = bp.make_train_step(entry.rule, optimizer)
    epoch = jax.jit(lambda state, batches: jax.lax.scan(step, state, batches)).lower(state, batches).compile()
    jax.block_until_ready(epoch(state, batches))
    return lambda: epoch(state, batches)


def timed(call, times: int) -> float:
    """Seconds of a call, the mean of so many."""
    began = time.perf_counter()
    for _ in range(times):
        jax.block_until_ready(call())
    return (time.perf_counter() - began) / times
