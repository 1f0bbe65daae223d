"""The record of a task."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax.numpy as jnp

from bpjax.types import Batch, Shape


class Present(Protocol):
    """Draws the examples of a task."""

    def __call__(self, key: Any = None, /) -> Batch:
        """Examples x (N, *in_shape) and targets. A task with a fixed set of examples returns all, for any key."""
        ...


LARGEST = 2**32
"""The most bytes of the examples of a task, 4 GiB: all of them are presented in every epoch."""


def check_fits(who: str, what: str, count: Callable[[], int], log2: int = 0) -> None:
    """Raise a `ValueError` unless the examples of a task fit in memory.

    Args:
        who: The task, for messages.
        what: The examples, for messages.
        count: The number of their numbers; called only where `log2` allows to write it down.
        log2: A lower bound of the binary logarithm of `count`.
    """
    number_of_bytes = count() * jnp.dtype(jnp.result_type(float)).itemsize if log2 < 100 else math.inf
    if number_of_bytes > LARGEST:
        size = f"{number_of_bytes / 2**30:.3g} GiB" if number_of_bytes < math.inf else "more than any memory holds"
        raise ValueError(f"`{who}` expected examples of at most {LARGEST >> 30} GiB, got {what}: {size}. Choose fewer.")


class Task(NamedTuple):
    """Examples to present, and the targets to compare with."""

    name: str
    in_shape: Shape
    out_shape: Shape
    present: Present
    hidden: Shape = ()
    """Widths of the hidden layers in the network that the literature uses for it."""

    def __repr__(self) -> str:
        return f"Task({self.name!r}, in_shape={self.in_shape}, out_shape={self.out_shape})"
