"""What people write in the place of a derivative: for each operation the wrong derivatives that are worth a try.

An alternative computes the cotangent of one input of an operation, as a wrong hand-written backward pass would.
"""

from bpjax.gradcheck.alternatives.arrays import BY_POSITION, one_row, other_operand, updated_weights
from bpjax.gradcheck.alternatives.elementwise import NOT_ELEMENTWISE, OF_SEVERAL_INPUTS, of_one_input
from bpjax.gradcheck.alternatives.record import Alternative, Situation
from bpjax.gradcheck.alternatives.statements import of_statement, without_keepdims

__all__ = [
    "Alternative", "Situation", "alternatives", "of_statement", "other_operand", "updated_weights", "without_keepdims",
]  # fmt: skip


def alternatives(primitive: str, params: dict, avals: list, index: int, result) -> list[Alternative]:
    """The wrong derivatives of an operation by input `index`.

    Args:
        primitive: its name.
        params: its parameters.
        avals: shapes of the inputs.
        index: of the input.
        result: shape of the first result.
    """
    found: list[Alternative] = []
    shape = avals[index].shape
    if len(avals) == 1 and shape == result.shape and primitive not in NOT_ELEMENTWISE:
        found += of_one_input(primitive)
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
