"""The record of a task."""

from typing import Any, NamedTuple, Protocol

from bpjax.types import Batch, Shape


class Present(Protocol):
    """Draws the examples of a task."""

    def __call__(self, key: Any = None, /) -> Batch:
        """Examples x (N, *in_shape) and targets. A task with a fixed set of examples returns all, for any key."""
        ...


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
