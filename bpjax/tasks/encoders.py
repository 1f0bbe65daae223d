"""The encoder: one of n inputs is on and is to be repeated through a narrow hidden layer."""

import math

import numpy as np

from bpjax.tasks.boolean import Levels, in_levels
from bpjax.tasks.task import Task
from bpjax.util.checks import check_count


def encoder(
    n: int, hidden: int | None = None, levels: Levels = (0.0, 1.0), target_levels: Levels | None = None
) -> Task:
    """The n-m-n encoder: n examples, each its own target, m = `hidden` units between, log₂ n where not given.

    8-3-8 is Rumelhart, Hinton & Williams' (1986); 10-5-10 and the tight ones are Fahlman's (1988).
    """
    check_count("encoder", "n", n, least=2)
    m = math.ceil(math.log2(n)) if hidden is None else hidden
    check_count("encoder", "hidden", m)

    def present(key=None):
        return in_levels("encoder", np.eye(n), levels), in_levels("encoder", np.eye(n), target_levels or levels)

    return Task(f"encoder-{n}-{m}-{n}", (n,), (n,), present, (m,))
