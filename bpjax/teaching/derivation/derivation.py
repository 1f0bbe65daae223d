"""`bp.derivation`: the equations of the encyclopedia article on backpropagation for one network, in order."""

from collections.abc import Callable
from typing import NamedTuple

from bpjax.layers.layer import Layer
from bpjax.losses import Loss
from bpjax.rules.rule import check_made_of
from bpjax.tape.tape import Tape, tape
from bpjax.teaching.derivation.back import Backward, change_steps
from bpjax.teaching.derivation.blocks import blocks_of
from bpjax.teaching.derivation.evaluate import evaluate
from bpjax.teaching.derivation.formulas import loss_formula
from bpjax.teaching.derivation.forward import error_step, forward_steps
from bpjax.teaching.derivation.render import html, latex, markdown, text
from bpjax.teaching.derivation.steps import Chosen, Numbers, Step
from bpjax.teaching.derivation.symbols import number, vector
from bpjax.util.call_text import shown
from bpjax.util.checks import check_count, check_function, check_number


class Derivation(NamedTuple):
    """The equations of a network, or the tape of a function; prints as text, in a notebook as HTML or LaTeX."""

    title: str
    """What is derived, and for which numbers."""
    steps: tuple[Step, ...]
    """Of a network: the steps of the algorithm with their equations, numbers and code."""
    tape: Tape | None = None
    """Of a function: its operations with their adjoints."""

    def to_text(self) -> str:
        """Unicode text."""
        return text(self)

    def to_markdown(self) -> str:
        """Markdown with equations between dollar signs, as notebooks and GitHub show them."""
        return markdown(self)

    def to_latex(self) -> str:
        """An `aligned` environment, for math mode."""
        return latex(self)

    def to_html(self) -> str:
        """HTML that needs no script: equations as Unicode text."""
        return html(self)

    def __str__(self) -> str:
        return self.to_text()

    def __repr__(self) -> str:
        return f"<derivation of {self.title.splitlines()[0]}>"

    def _repr_html_(self) -> str:
        return self.to_html()

    def _repr_latex_(self) -> str:
        return f"$$\n{self.to_latex()}\n$$"

    def _repr_markdown_(self) -> str:
        return self.to_markdown()


def derivation(
    network: Layer | Callable,
    *arguments,
    learning_rate: float = 0.1,
    example: int | None = None,
    most: int = 4,
) -> Derivation:
    """The equations of backpropagation for one network in the order of the algorithm, with the code of each.

        print(bp.derivation(network, loss))                    # symbols
        print(bp.derivation(network, loss, params, batch))     # symbols, then numbers
        print(bp.derivation(f, *arguments))                    # any JAX function: its tape

    The steps are those of the encyclopedia article: present an example and propagate it forward, compare with the
    target, propagate the error back, change the weights. δ of every layer is also written out back to the error of the
    output. Name, file and line of the code are read from the functions of the network. Dense layers, activations and
    losses of bpjax are expanded; for another layer a sentence says so, and the equations of its docstring are shown.

    Args:
        network: a Layer, or any JAX function.
        *arguments: for a Layer the loss, and for numbers also params and batch; for a function its arguments.
        learning_rate: η, for the numbers of Δw = −η δ x.
        example: whose numbers are worked out, from 0; by default the one with the largest error. Δw is that of the
            whole batch.
        most: units of a layer, and terms of a sum, that are worked out.

    Raises:
        ValueError: `network` is neither a Layer nor a function, or the arguments do not fit it.
    """
    check_count("derivation", "most", most)
    check_number("derivation", "learning_rate", learning_rate, above=0.0)
    if example is not None:
        check_count("derivation", "example", example, least=0)
    if not isinstance(network, Layer):
        check_function("derivation", "network", network)
        if isinstance(network, type):
            raise ValueError(
                f"`derivation` expected a network or a function, got the class {shown(network)}. Make a layer: "
                "`bp.dense(3)`."
            )
        recorded = tape(network, *arguments)
        return Derivation(recorded.title, (), recorded)
    if len(arguments) not in (1, 3):
        raise ValueError(
            "`derivation` expected a loss, or a loss, params and a batch after the network, got "
            f"{len(arguments)} arguments. For example: `bp.derivation(network, bp.squared_error, params, batch)`."
        )
    loss, *with_numbers = arguments
    check_made_of("derivation", network, loss)
    blocks = blocks_of(network)
    numbers = None
    if with_numbers:
        params, batch = with_numbers
        numbers = evaluate(network, loss, params, batch, Chosen(learning_rate, example, most))
    return Derivation(_title(network, loss, numbers), tuple(_steps(blocks, loss, numbers)))


def _title(network: Layer, loss: Loss, numbers: Numbers | None) -> str:
    title = f"Backpropagation in {network!r} with {loss!r}"
    if numbers is None:
        return title
    n, x = numbers.example, numbers.blocks[0].input
    given = f"x = {vector(x[n])}" if x.ndim == 2 else f"x of shape {x.shape[1:]}"
    rate = number(numbers.learning_rate)
    return f"{title}\nNumbers: example {n + 1} of {numbers.examples}, {given}; learning rate η = {rate}"


def _steps(blocks, loss: Loss, numbers: Numbers | None) -> list[Step]:
    formula = loss_formula(loss)
    backward = Backward(blocks, loss, formula, numbers)
    every = f"for all {numbers.examples} examples of the batch together" if numbers else "for a batch"
    return [
        Step("Present an example and propagate it forward", level=1),
        *forward_steps(blocks, numbers),
        error_step(loss, formula, numbers),
        Step("Propagate the error back", note="δ = ∂E/∂a is the error signal of a unit with net input a.", level=1),
        *backward.steps,
        Step("Change the weights", note=f"Each by −η times its influence on the error, {every}.", level=1),
        *change_steps(backward),
    ]
