"""What people write in the place of a derivative: for each operation the wrong derivatives that are worth a try.

An alternative computes the cotangent of one input of an operation, as a wrong hand-written backward pass would.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from bpjax.tape.derivatives.registry import sum_to


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


def alternatives(
    primitive: str, params: dict, avals: list, index: int, result, active: list[bool]
) -> list[Alternative]:
    """The wrong derivatives of an operation by input `index`.

    Args:
        primitive: its name.
        params: its parameters.
        avals: shapes of the inputs.
        index: of the input.
        result: shape of the first result.
        active: which inputs are differentiated.
    """
    found: list[Alternative] = []
    shape = avals[index].shape
    if len(avals) == 1 and shape == result.shape and primitive not in NOT_ELEMENTWISE:
        found += _of_one_input(primitive)
    if primitive in OF_SEVERAL_INPUTS:
        found += OF_SEVERAL_INPUTS[primitive](index, avals, params)
    if primitive in BY_POSITION:
        found += BY_POSITION[primitive](index, avals, params, result)
    if shape != result.shape and primitive in ("add", "sub", "mul", "div", "broadcast_in_dim", "max", "min"):
        found += [
            Alternative(
                "one row instead of the sum", "the sum over the broadcast axis is one of its rows", one_row(index)
            )
        ]
    return found


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


def _of_one_input(primitive: str) -> list[Alternative]:
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


# --- Operations that move, sum or contract entries --------------------------------------------------------------------


def one_row(index: int):
    """The cotangent of an input that was broadcast, taken from the first position instead of summed."""

    def compute(s: Situation):
        fixed = list(s.inputs)
        x = fixed[index]
        mask = jnp.zeros_like(s.dz)
        if "broadcast_dimensions" in s.params:
            place = dict(zip(s.params["broadcast_dimensions"], jnp.shape(x), strict=True))
        else:
            place = dict(enumerate(jnp.shape(x)))
        first = tuple(0 if place.get(k, 1) != n else slice(None) for k, n in enumerate(jnp.shape(s.dz)))
        mask = mask.at[first].set(1)

        def along(x):
            fixed[index] = x
            return s.plain(*fixed)[0]

        _, vjp = jax.vjp(along, x)
        return vjp(s.dz * mask)[0]

    return compute


def _dot_general(index: int, avals, params, result) -> list[Alternative]:
    other = 1 - index
    found = []
    shape = avals[other].shape
    if len(shape) >= 2 and shape[-1] == shape[-2]:

        def transposed(s: Situation):
            return _with_operand(s, index, jnp.swapaxes(s.inputs[other], -1, -2))

        found.append(Alternative("not transposed", "the other matrix is not transposed", transposed))
    if len(result.shape) >= 2 and result.shape[-1] == result.shape[-2]:

        def flipped(s: Situation):
            return _with_operand(s._replace(cotangents=[jnp.swapaxes(s.dz, -1, -2)]), index, s.inputs[other])

        found.append(Alternative("not transposed", "the cotangent of the product is transposed, or is not", flipped))
    return found


def updated_weights(index: int, position: int) -> Alternative:
    """The product's cotangent with the gradient of its weights in the place of the weights, see `scaled`.

    Args:
        index: of the input that is not the weights.
        position: of the gradient by the weights in `Situation.extra`.
    """
    text = "the weights were updated before the error signal was propagated through them"
    return Alternative(
        "updated before propagated", text, lambda s: _with_operand(s, index, s.extra[position]), scaled=True
    )


def other_operand(index: int, position: int, name: str) -> Alternative:
    """The derivative of a product where another value stands in the place of the other operand.

    Args:
        index: of the input that is differentiated.
        position: of the other value in `Situation.extra`.
        name: what the other value is, in words.
    """
    text = f"{name} stands in the place of the other operand"
    return Alternative("wrong operand", text, lambda s: _with_operand(s, index, s.extra[position]))


def of_statement(ndim: int) -> list[Alternative]:
    """Wrong derivatives of a whole statement y = f(x), x and y of one shape: of sigmoids, tanh and softmax by hand."""

    def weighted(s: Situation, axis, keepdims=True):
        return jnp.sum(s.dz * s.z, axis=axis, keepdims=keepdims)

    def entry(mistake: str, text: str, compute) -> Alternative:
        return Alternative(mistake, text, compute)

    found = [
        entry("derivative missing", "the derivative is missing", lambda s: s.dz),
        entry("derivative incomplete", "the derivative is y alone", lambda s: s.dz * s.z),
        entry("derivative incomplete", "the derivative is 1 − y alone", lambda s: s.dz * (1 - s.z)),
        entry("derivative incomplete", "the derivative is y (1 − y)", lambda s: s.dz * s.z * (1 - s.z)),
        entry("derivative incomplete", "the derivative is 1 − y²", lambda s: s.dz * (1 - s.z**2)),
    ]
    x = "derivative of the wrong quantity"
    found.append(
        entry(x, "the derivative is x (1 − x), not y (1 − y)", lambda s: s.dz * s.inputs[0] * (1 - s.inputs[0]))
    )
    for axis in range(ndim):
        if ndim > 1:
            text = f"y (dy − Σ y dy) is summed along axis {axis}"
            found.append(entry("wrong axis", text, lambda s, axis=axis: s.z * (s.dz - weighted(s, axis))))
        text = "the factor y of y (dy − Σ y dy) is missing"
        found.append(entry("derivative incomplete", text, lambda s, axis=axis: s.dz - weighted(s, axis)))
    return found


def without_keepdims(s: Situation):
    """Softmax: y (dy − Σ y dy), where the sum lost its axis and is broadcast along the other."""
    return s.z * (s.dz - jnp.sum(s.dz * s.z, axis=-1)[None])


def _with_operand(s: Situation, index: int, operand):
    """The cotangent of input `index` of a product with another matrix in the place of the other operand."""
    _, vjp = jax.vjp(lambda x: s.plain(*((x, operand) if index == 0 else (operand, x)))[0], s.inputs[index])
    return vjp(s.dz)[0]


def _transpose(index: int, avals, params, result) -> list[Alternative]:
    if avals[0].shape != result.shape or list(params["permutation"]) == sorted(params["permutation"]):
        return []
    return [Alternative("not transposed", "the cotangent is not transposed", lambda s: s.dz)]


def _rev(index: int, avals, params, result) -> list[Alternative]:
    return [Alternative("not reversed", "the cotangent is not reversed", lambda s: s.dz)]


def _cumulative(index: int, avals, params, result) -> list[Alternative]:
    text = "the cumulative sum of the cotangent runs forward instead of backward"
    return [Alternative("not reversed", text, lambda s: s.plain(s.dz)[0])]


def _reduce_sum(index: int, avals, params, result) -> list[Alternative]:
    shape, axes = avals[0].shape, params["axes"]
    if len(axes) != 1 or result.ndim == 0:
        return []
    return [
        Alternative("wrong axis", f"summed along axis {other} instead of {axes[0]}", _other_axis(axes[0], other))
        for other in range(len(shape))
        if other != axes[0] and shape[other] == shape[axes[0]]
    ]


def _other_axis(axis: int, other: int):
    def compute(s: Situation):
        return jnp.broadcast_to(jnp.expand_dims(s.dz, other), jnp.shape(s.inputs[0]))

    return compute


def _reduce_max(index: int, avals, params, result) -> list[Alternative]:
    axes = params["axes"]

    def everywhere(s: Situation):
        return jnp.broadcast_to(jnp.expand_dims(s.dz, axes), jnp.shape(s.inputs[0]))

    return [Alternative("derivative missing", "the mask of the maximum is missing", everywhere)]


def _gather(index: int, avals, params, result) -> list[Alternative]:
    if index:
        return []
    d = params["dimension_numbers"]
    numbers = lax.ScatterDimensionNumbers(
        d.offset_dims, d.collapsed_slice_dims, d.start_index_map, d.operand_batching_dims, d.start_indices_batching_dims
    )

    def overwritten(s: Situation):
        zeros = jnp.zeros_like(s.inputs[0])
        return lax.scatter(zeros, s.inputs[1], s.dz, numbers, mode=s.params["mode"])

    text = "rows that are read more than once keep the last cotangent instead of the sum"
    return [Alternative("overwritten instead of summed", text, overwritten)]


def _convolution(index: int, avals, params, result) -> list[Alternative]:
    kernel = params["dimension_numbers"].rhs_spec[2:]
    if index:
        return []

    def unflipped(s: Situation):
        return _with_operand(s, 0, lax.rev(s.inputs[1], kernel))

    return [Alternative("not reversed", "the kernel is not flipped", unflipped)]


BY_POSITION = {
    "dot_general": _dot_general, "transpose": _transpose, "rev": _rev, "cumsum": _cumulative,
    "cumlogsumexp": _cumulative, "reduce_sum": _reduce_sum, "reduce_max": _reduce_max, "reduce_min": _reduce_max,
    "gather": _gather, "conv_general_dilated": _convolution,
}  # fmt: skip
