"""The contract of a task, and every task by its name."""

from collections.abc import Callable
from typing import NamedTuple

from bpjax.types import Shape


class Task(NamedTuple):
    """Examples to present, and the targets to compare with."""

    name: str
    in_shape: Shape
    out_shape: Shape
    present: Callable
    """key -> (x (N, *in_shape), target). A task with a fixed set of examples presents all of them, whatever the key."""
    hidden: Shape = ()
    """Widths of the hidden layers in the network the literature gave it."""
