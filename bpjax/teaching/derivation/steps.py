"""What a derivation consists of: steps, each with lines of equations, numbers and the code that computes them."""

from typing import Any, NamedTuple

from bpjax.teaching.derivation.places import CodePlace


class Line(NamedTuple):
    """Equal expressions for one quantity, with its numbers and its code."""

    equations: tuple[str, ...]  # in Unicode; those after the first continue it, beginning with "="
    code: tuple[CodePlace, ...] = ()
    numbers: tuple[str, ...] = ()  # the equation with numbers put in, one per unit or weight


class Step(NamedTuple):
    """One step of the algorithm, or one layer of it."""

    title: str
    lines: tuple[Line, ...] = ()
    note: str = ""  # a sentence
    quoted: tuple[str, ...] = ()  # lines of a docstring
    level: int = 2  # 1 for a step of the algorithm, 2 for a layer


class Values(NamedTuple):
    """The numbers of one block for a batch, as NumPy arrays."""

    input: Any  # (N, ...) x or the output of the previous block
    net_input: Any  # (N, ...) a; the output where the block is not expanded
    output: Any  # (N, ...) o
    slope: Any  # (N, H) φ′(a), None where there is no elementwise activation
    error: Any  # (N, ...) ∂E/∂o
    delta: Any  # (N, ...) ∂E/∂a
    back: Any  # (N, ...) ∂E/∂input
    params: Any


class Chosen(NamedTuple):
    """Which numbers to work out."""

    learning_rate: float  # η
    example: int | None  # from 0; None chooses the one with the largest error
    most: int  # units of a layer, terms of a sum


class Numbers(NamedTuple):
    """Everything that a derivation puts into the equations."""

    blocks: tuple[Values, ...]
    target: Any  # (N, ...), one-hot where the batch has labels
    value: float  # E of the batch
    example: int  # the one that is worked out, from 0
    learning_rate: float
    most: int  # units of a layer, terms of a sum

    @property
    def examples(self) -> int:
        """N."""
        return len(self.blocks[0].input)

    @property
    def output(self):
        """(N, ...) of the network."""
        return self.blocks[-1].output
