"""An activation made of φ and φ′, applied to every entry."""

from collections.abc import Callable
from typing import Literal

from bpjax.layers.layer import Kind, Layer, check_any_shape
from bpjax.types import Array
from bpjax.util.checks import as_floating, check_choice, check_function, check_text
from bpjax.util.precision import widen


def elementwise(
    name: str,
    phi: Callable[[Array], Array],
    derivative: Callable[[Array], Array],
    of: Literal["input", "output"],
    arguments: str | None = None,
) -> Layer:
    """An activation made from φ and φ′, for inputs of any shape (N, ...).

    forward    y = φ(a)
    backward   da = φ′ ⊙ dy       φ′ = derivative(y) or derivative(a)

    Residuals: y or a, whichever φ′ is a function of.

    Args:
        name: The name in reports and messages.
        phi: φ, an elementwise function of a.
        derivative: φ′, an elementwise function of y or of a.
        of: What `derivative` takes, the "input" a or the "output" y.
        arguments: The arguments of the factory that calls this, for `repr`: "0.01" for `leaky_relu(0.01)`.

    Raises:
        ValueError: `name` or `arguments` is no text, `phi` or `derivative` no function, or `of` neither word.
    """
    check_text("elementwise", "name", name)
    check_function("elementwise", "phi", phi)
    check_function("elementwise", "derivative", derivative)
    check_choice("elementwise", "of", of, ("input", "output"))
    if arguments is not None and arguments != "":  # a factory whose arguments are all defaults
        check_text("elementwise", "arguments", arguments)

    def init(key, in_shape):
        return (), check_any_shape(name, in_shape)

    def forward(params, a):
        a = as_floating(name, "x", a)
        y = phi(widen(a)).astype(a.dtype)
        return y, (y if of == "output" else a)

    def backward(params, residual, dy):
        return (), (derivative(widen(residual)) * widen(dy)).astype(dy.dtype)

    return Layer(name, init, forward, backward, Kind.ACTIVATION, arguments=arguments)
