"""The encoder: reproduce n inputs, one of which is on, through a narrow hidden layer."""

import math

import numpy as np

from bpjax.tasks.boolean import Levels, check_levels, in_levels
from bpjax.tasks.task import Task, check_fits
from bpjax.util.checks import check_count


def encoder(
    n: int, hidden: int | None = None, levels: Levels = (0.0, 1.0), target_levels: Levels | None = None
) -> Task:
    """The n-m-n encoder: n examples, each equal to its target.

    8-3-8 is from Rumelhart, Hinton & Williams 1986; 10-5-10 and those with m = log₂ n from Fahlman 1988.

    Args:
        n: inputs and outputs, ≥ 2.
        hidden: m; None for log₂ n, rounded up.
        levels: (off, on) in the examples.
        target_levels: (off, on) in the targets; None for `levels`.

    Raises:
        ValueError: `n` or `hidden` is not such an integer, the examples do not fit in memory, or the levels are not two
            finite numbers, lower first.
    """
    n = check_count("encoder", "n", n, least=2)
    m = math.ceil(math.log2(n)) if hidden is None else hidden
    m = check_count("encoder", "hidden", m)

    levels, target_levels = check_levels("encoder", levels, target_levels)
    check_fits("encoder", f"{n} examples of {n} inputs and {n} outputs", lambda: 2 * n * n)

    def present(key=None):
        return in_levels(np.eye(n), levels), in_levels(np.eye(n), target_levels)

    return Task(f"encoder-{n}-{m}-{n}", (n,), (n,), present, (m,))
