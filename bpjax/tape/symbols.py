"""Operations in symbols."""

from collections.abc import Callable

from bpjax.tape.record import Operation
from bpjax.tape.unrolled import Slice, Stack
from bpjax.tape.values import Value


def operation_name(record: Operation | Slice | Stack) -> str:
    """The name of the primitive; `index` and `stack` for the inputs and results of the iterations of a loop."""
    if isinstance(record, Operation):
        return record.equation.primitive.name
    return "index" if isinstance(record, Slice) else "stack"


def symbol(record, text_of: Callable[[Value], str | None]) -> str:
    """An operation in symbols."""
    return operation_name(record)
