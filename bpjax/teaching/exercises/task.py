"""The records that exercises are made of."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np

Arguments = tuple[Any, ...]
"""What a student's function is called with: NumPy arrays and floats."""


class Draw(Protocol):
    """Draw the arguments of one instance."""

    def __call__(self, rng: np.random.Generator, size: Callable[[], int], /) -> Arguments:
        """Arguments; `size()` is another axis length each time, or the same each time for a square instance."""
        ...


class Mistake(NamedTuple):
    """A wrong answer with a name."""

    name: str
    """For tables: "derivative forgotten"."""
    sentence: str
    """What is wrong, without the solution."""
    answer: Callable[..., Any]
    """The wrong answer, a function of the same arguments; it may refuse shapes by an exception, as a student's does."""


class Task(NamedTuple):
    """A statement of the encyclopedia article on backpropagation as a function to write."""

    name: str
    """Such as "output_delta"; also the name of the function in a file of answers."""
    title: str
    statement: str
    """Markdown; ends with what the function takes and returns."""
    arguments: tuple[str, ...]
    """Names of the arguments."""
    draw: Draw
    answer: Callable[..., Any]
    """The right answer."""
    mistakes: tuple[Mistake, ...]
    hints: tuple[str, ...]
    """From a nudge to all but the answer."""
    examples: Callable[..., int] | None = None
    """N of an instance, where a mean over the examples in place of the sum is a likely mistake."""
    error: Callable[..., Any] | None = None
    """E as a JAX function of the same arguments, where the answer is a gradient of it; for the dials."""
    by: tuple[int, ...] = ()
    """The arguments that the answer is the gradient by."""
    as_gradient: Callable[..., Any] | None = None
    """(answer, arguments) -> the gradient, where the answer is −η times it."""
    extreme: tuple[Draw, str] | None = None
    """An instance that overflows in a careless answer, and what to say then."""


class Verdict(NamedTuple):
    """The answer of `check`: prints as one sentence, and is true where the function is right."""

    right: bool
    mistake: str | None
    """A short name, "derivative forgotten", "shape", "raises"; None where the function is right."""
    sentence: str

    def __bool__(self) -> bool:
        return self.right

    def __str__(self) -> str:
        return self.sentence

    def _repr_markdown_(self) -> str:
        return f"**{'Right' if self.right else 'Not yet'}.** {self.sentence}"
