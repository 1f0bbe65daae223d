"""The time of a step of each rule divided by that of backprop, measured alternately."""

from collections.abc import Callable

import jax
import numpy as np

from bpjax.analysis.cost import in_turn, training_steps
from experiments.common.threads import in_parallel
from experiments.learning_rules.problems import Entry, Problem


def step_costs(problem: Problem, entries: list[Entry], rounds: int, seconds: float = 0.01) -> dict[str, float]:
    """Time of an epoch of every rule ÷ that of backprop: the median of the ratios within a round.

    Args:
        problem: provides the batches.
        entries: the rules, including backprop.
        rounds: in each round all rules run, one after another.
        seconds: minimum duration of one timing.
    """

    def compiled(entry, _):
        return epoch_of(problem, entry)

    epochs = dict(zip((entry.name for entry in entries), in_parallel(compiled, entries), strict=True))
    samples = {name: np.array(times) for name, times in in_turn(epochs, rounds, seconds).items()}
    return {name: float(np.median(times / samples["backprop"])) for name, times in samples.items()}


def epoch_of(problem: Problem, entry: Entry) -> Callable:
    """A compiled epoch, () -> (state, metrics)."""
    x, target = entry.padded(problem.data(0).train)
    size = problem.batch_size or len(target)
    steps = len(target) // size
    batches = jax.tree.map(lambda a: a[: steps * size].reshape(steps, size, *a.shape[1:]), (x, target))
    return training_steps(entry.rule, entry.init(jax.random.key(0), problem), batches, jax.random.key(1))
