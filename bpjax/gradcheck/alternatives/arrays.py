"""Wrong derivatives of operations that move, sum or contract entries."""

import jax
import jax.numpy as jnp
from jax import lax

from bpjax.gradcheck.alternatives.record import Alternative, Situation


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
