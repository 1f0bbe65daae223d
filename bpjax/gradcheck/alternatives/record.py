"""A wrong derivative, and what it is computed from."""

from collections.abc import Callable
from typing import Any, NamedTuple


class Situation(NamedTuple):
    """An operation and the cotangent of its result: what a derivative is computed from."""

    plain: Callable[..., list]  # the operation: (*inputs) -> results
    params: dict
    inputs: list
    outputs: list
    cotangents: list
    extra: list = []  # other arrays, see `other_operand` and `updated_weights`

    @property
    def dz(self):
        """The cotangent of the only result."""
        return self.cotangents[0]

    @property
    def z(self):
        """The only result."""
        return self.outputs[0]


class Alternative(NamedTuple):
    """A wrong derivative of one operation by one of its inputs."""

    mistake: str  # a key of `mistakes.MISTAKES`
    text: str  # what is wrong, in words
    compute: Callable[[Situation], Any]  # the cotangent of the input
    scaled: bool = False  # `compute` gives a direction: an unknown multiple of it is added to the right cotangent
