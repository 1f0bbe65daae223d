"""Wrong derivatives of operations on each entry."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from bpjax.gradcheck.alternatives.record import Alternative, Situation
from bpjax.tape.derivatives.registry import sum_to

NOT_ELEMENTWISE = frozenset(
    "transpose rev cumsum cumprod cummax cummin cumlogsumexp sort copy reshape convert_element_type neg "
    "reduce_precision broadcast_in_dim slice optimization_barrier while scan cond custom_jvp_call".split()
)


# --- Elementwise operations of one input ------------------------------------------------------------------------------


def factor(of: Callable[[Any, Any], Any], index: int = 0):
    """dx = dz · of(x, z)."""

    def compute(s: Situation):
        x = s.inputs[index]
        return sum_to(s.dz * of(x, s.z), jnp.shape(x))

    return compute


BY_OUTPUT = {
    "tanh": lambda z: 1 - z * z,
    "logistic": lambda z: z * (1 - z),
    "exp": lambda z: z,
    "sqrt": lambda z: 0.5 / z,
    "rsqrt": lambda z: -0.5 * z * z * z,
    "expm1": lambda z: z + 1,
    "log": lambda z: jnp.exp(-z),
    "log1p": lambda z: jnp.exp(-z),
    "tan": lambda z: 1 + z * z,
}
"""Derivatives as functions of the output z."""

INCOMPLETE = {
    "tanh": [
        ("the square in 1 − tanh² is missing", lambda x, z: 1 - z),
        ("1 − in 1 − tanh² is missing", lambda x, z: z * z),
    ],
    "logistic": [
        ("the factor 1 − σ of σ′ is missing", lambda x, z: z),
        ("the factor σ of σ′ is missing", lambda x, z: 1 - z),
    ],
    "sqrt": [("√′ has √x in the place of 1/√x", lambda x, z: 0.5 * z), ("√′ is 1/x", lambda x, z: 0.5 / x)],
    "rsqrt": [
        ("the derivative of 1/√x has the power −1/2 instead of −3/2", lambda x, z: -0.5 * z),
        ("the derivative of 1/√x has the power −1 instead of −3/2", lambda x, z: -0.5 * z * z),
    ],
    "log": [("log′ has x in the place of 1/x", lambda x, z: x), ("log′ is 1/x²", lambda x, z: 1 / (x * x))],
    "sin": [("sin′ is sin instead of cos", lambda x, z: z)],
    "cos": [("cos′ is cos instead of −sin", lambda x, z: z)],
    "square": [("the derivative of a square has the power 2", lambda x, z: 2 * z)],
    "erf": [("the factor 2/√π of erf′ is missing", lambda x, z: jnp.exp(-x * x))],
}  # fmt: skip


def of_one_input(primitive: str) -> list[Alternative]:
    """Of an operation with one input."""
    word = {"logistic": "σ", "sqrt": "√", "integer_pow": "power", "square": "square"}.get(primitive, primitive)
    found = [Alternative("derivative missing", f"{word}′ is missing", factor(lambda x, z: jnp.ones_like(x)))]
    if primitive not in ("exp", "abs", "integer_pow"):
        text = f"{word}′ is evaluated at the output instead of the input"
        found.append(Alternative("derivative of the wrong quantity", text, _derivative_at_output))
    if primitive in BY_OUTPUT:
        text = f"{word}′, a function of the output, is evaluated at the input"
        by_output = BY_OUTPUT[primitive]
        found.append(Alternative("derivative of the wrong quantity", text, factor(lambda x, z: by_output(x))))
    for text, of in INCOMPLETE.get(primitive, ()):
        found.append(Alternative("derivative incomplete", text, factor(of)))
    if primitive == "integer_pow":
        text = "the derivative of a power has the power itself: n xⁿ instead of n xⁿ⁻¹"
        found.append(Alternative("derivative incomplete", text, lambda s: s.dz * s.params["y"] * s.z))
    return found


def _derivative_at_output(s: Situation):
    _, vjp = jax.vjp(lambda x: s.plain(x)[0], s.z)
    return vjp(s.dz)[0]


# --- Products, quotients, selections ----------------------------------------------------------------------------------


def _mul(index: int, avals, params) -> list[Alternative]:
    found = [Alternative("factor missing", "the other factor is missing", factor(lambda x, z: jnp.ones_like(z), index))]
    if avals[0].shape == avals[1].shape:
        text = "the factor itself is in the place of the other factor"
        found.append(Alternative("wrong operand", text, factor(lambda x, z: x, index)))
    text = "the other factor is squared"
    found.append(Alternative("factor squared", text, lambda s: _summed(s, index, s.dz * s.inputs[1 - index] ** 2)))
    text = "divided by the other factor instead of multiplied"
    found.append(Alternative("wrong operand", text, lambda s: _summed(s, index, s.dz / s.inputs[1 - index])))
    return found


def _div(index: int, avals, params) -> list[Alternative]:
    if index == 0:
        return [
            Alternative("factor missing", "the division is missing", lambda s: _summed(s, 0, s.dz)),
            Alternative("wrong operand", "multiplied instead of divided", lambda s: _summed(s, 0, s.dz * s.inputs[1])),
            Alternative("factor squared", "divided twice", lambda s: _summed(s, 0, s.dz / s.inputs[1] ** 2)),
        ]
    wrong = {
        "divided by y instead of y²": lambda x, y: x / y,
        "the division by y² is missing": lambda x, y: x,
        "−1/y² instead of −x/y²": lambda x, y: 1 / y**2,
        "divided by y³ instead of y²": lambda x, y: x / y**3,
    }
    return [
        Alternative("derivative incomplete", text, lambda s, of=of: _summed(s, 1, -s.dz * of(*s.inputs)))
        for text, of in wrong.items()
    ]


def _pow(index: int, avals, params) -> list[Alternative]:
    if index:
        return [
            Alternative(
                "derivative incomplete", "the logarithm of the base is missing", lambda s: _summed(s, 1, s.dz * s.z)
            )
        ]
    return [
        Alternative("derivative missing", "the derivative of the power is missing", lambda s: _summed(s, 0, s.dz)),
        Alternative(
            "derivative incomplete", "n xⁿ instead of n xⁿ⁻¹", lambda s: _summed(s, 0, s.dz * s.inputs[1] * s.z)
        ),
    ]


def _max(index: int, avals, params) -> list[Alternative]:
    return [
        Alternative(
            "derivative missing",
            "the derivative of the maximum or minimum is missing",
            lambda s: _summed(s, index, s.dz),
        )
    ]


def _select(index: int, avals, params) -> list[Alternative]:
    if index == 0 or avals[index].shape != avals[-1].shape:
        return []
    return [Alternative("derivative missing", "the condition is missing", lambda s: s.dz)]


def _summed(s: Situation, index: int, cotangent):
    return sum_to(cotangent, jnp.shape(s.inputs[index]))


OF_SEVERAL_INPUTS = {
    "mul": _mul, "div": _div, "pow": _pow, "max": _max, "min": _max, "select_n": _select,
}  # fmt: skip
