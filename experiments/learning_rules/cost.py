"""What a step of each rule costs, as a multiple of a step of backprop, measured in turns."""

from collections.abc import Callable

import jax
import numpy as np

from bpjax.analysis.cost import in_turn, training_steps
from experiments.common.threads import in_parallel
from experiments.learning_rules.problems import Entry, Problem


def step_costs(problem: Problem, entries: list[Entry], rounds: int, seconds: float = 0.01) -> dict[str, float]:
    """Time of an epoch of every rule over that of backprop: the median of ratios within a round.

    Args:
        problem: whose batches are presented.
        entries: the rules, backprop among them.
        rounds: in each all rules run, one after another.
        seconds: at least so long is timed at once.
    """

    def compiled(entry, _):
        return epoch_of(problem, entry)

    epochs = dict(zip((entry.name for entry in entries), in_parallel(compiled, entries), strict=True))
    samples = {name: np.array(times) for name, times in in_turn(epochs, rounds, seconds).items()}
    return {name: float(np.median(times / samples["backprop"])) for name, times in samples.items()}


def epoch_of(problem: Problem, entry: Entry) -> Callable:
    """A compiled epoch, () -> arrays."""
    x, target = entry.padded(problem.data(0).train)
    size = problem.batch_size or len(target)
    steps = len(target) // size
    batches = jax.tree.map(lambda a: a[: steps * size].reshape(steps, size, *a.shape[1:]), (x, target))
    return training_steps(entry.rule, entry.init(jax.random.key(0), problem), batches, jax.random.key(1))
