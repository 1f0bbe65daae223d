"""Operations in symbols: `v0 + v1`, `tanh x`, `x @ w`, `Σ x over axis 0`."""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np

from bpjax.tape.record import Operation
from bpjax.tape.unrolled import Slice, Stack, function_name, is_key
from bpjax.tape.values import Value

INFIX = {
    "add": "+", "add_any": "+", "sub": "−", "mul": "·", "div": "/", "pow": "^", "rem": "mod", "eq": "=", "ne": "≠",
    "lt": "<", "le": "≤", "gt": ">", "ge": "≥", "and": "∧", "or": "∨", "xor": "⊕",
}  # fmt: skip
"""Primitives of two inputs and the sign between them."""

PREFIX = {"neg": "−", "sqrt": "√", "rsqrt": "1/√", "not": "¬", "logistic": "sigmoid "}
"""Primitives of one input and what stands before it, where that is not their name."""

REDUCTIONS = {
    "reduce_sum": "Σ", "reduce_prod": "Π", "reduce_max": "max", "reduce_min": "min", "reduce_and": "all",
    "reduce_or": "any", "argmax": "argmax", "argmin": "argmin",
}  # fmt: skip
"""Reductions, with the parameter `axes`."""


def operation_name(record: Operation | Slice | Stack) -> str:
    """The name of the primitive; `index` and `stack` for the inputs and results of the iterations of a loop."""
    if isinstance(record, Operation):
        return record.equation.primitive.name
    return "index" if isinstance(record, Slice) else "stack"


def symbol(record: Operation | Slice | Stack, text_of: Callable[[Value], str | None]) -> str:
    """An operation in symbols.

    Args:
        record: the operation.
        text_of: the name of an input; None for a constant.
    """
    texts = [text_of(value) or constant_text(value.array) for value in record.inputs]
    if isinstance(record, Slice):
        return f"{texts[0]}[{record.index}]"
    name, params = operation_name(record), record.equation.params
    shapes = [value.array.shape for value in record.inputs if hasattr(value.array, "shape")]
    if name in INFIX and len(texts) == 2:
        return f"{texts[0]} {INFIX[name]} {texts[1]}"
    if name in REDUCTIONS:
        return _reduction(REDUCTIONS[name], texts[0], params["axes"], shapes[0])
    if name in SPECIAL:
        return SPECIAL[name](texts, params, shapes)
    if len(texts) == 1:
        return f"{PREFIX.get(name, f'{name} ')}{texts[0]}"
    return f"{name}({_listed(texts)})"


def constant_text(array) -> str:
    """A scalar as a number, an array as `float32[2, 3]`."""
    array = array if is_key(jnp.asarray(array)) else np.asarray(array)
    if array.shape == () and isinstance(array, np.ndarray):
        return number_text(array)
    return f"{array.dtype}[{', '.join(map(str, array.shape))}]"


def number_text(number, digits: int = 6) -> str:
    """A scalar with that many significant digits; integers and booleans exactly."""
    number = np.asarray(number)
    if jnp.issubdtype(number.dtype, jnp.complexfloating):
        real, imaginary = np.real(number), np.imag(number)
        sign = "-" if np.signbit(imaginary) else "+"
        return f"{number_text(real, digits)}{sign}{number_text(np.abs(imaginary), digits)}j"
    if jnp.issubdtype(number.dtype, jnp.floating):
        return f"{float(number) or 0.0:.{digits}g}"
    return str(number)


def shape_text(shape) -> str:
    """A shape as Python writes it."""
    return str(tuple(int(size) for size in shape))


def _listed(texts: list[str], most: int = 3) -> str:
    return ", ".join(texts if len(texts) <= most else [*texts[: most - 2], "…", texts[-1]])


def _reduction(sign: str, text: str, axes, shape) -> str:
    axes = tuple(axes)
    if len(axes) == len(shape):
        return f"{sign} {text}"
    return f"{sign} {text} over {_axes(axes)}"


def _axes(axes) -> str:
    return f"{'axis' if len(axes) == 1 else 'axes'} {', '.join(map(str, axes))}"


def _power(texts, params, shapes) -> str:
    superscript = str(params["y"]).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"{texts[0]}{superscript}"


def _product(texts, params, shapes) -> str:
    (left, right), batch = params["dimension_numbers"]
    plain = len(left) == len(right) == 1 and not any(batch) and all(len(shape) <= 2 for shape in shapes)
    if not plain:
        return f"dot_general({_listed(texts)})"
    x = texts[0] if left[0] == len(shapes[0]) - 1 else f"{texts[0]}ᵀ"
    y = texts[1] if right[0] == 0 else f"{texts[1]}ᵀ"
    return f"{x} @ {y}"


def _transpose(texts, params, shapes) -> str:
    return f"{texts[0]}ᵀ" if tuple(params["permutation"]) == (1, 0) else f"transpose({texts[0]})"


def _slice(texts, params, shapes) -> str:
    starts, limits, strides = params["start_indices"], params["limit_indices"], params["strides"]
    strides = strides or (1,) * len(starts)
    parts = []
    for start, limit, stride, size in zip(starts, limits, strides, shapes[0], strict=True):
        text = ":" if (start, limit) == (0, size) else f"{start}:{limit}"
        parts.append(text if stride == 1 else f"{text}{'' if text == ':' else ':'}{stride}")
    return f"{texts[0]}[{', '.join(parts)}]"


def _select(texts, params, shapes) -> str:
    return f"{texts[2]} if {texts[0]} else {texts[1]}" if len(texts) == 3 else f"select_n({_listed(texts)})"


def _custom(texts, params, shapes) -> str:
    name = function_name(params["call_jaxpr"]) or "custom"
    return f"{name} {texts[0]}" if len(texts) == 1 else f"{name}({_listed(texts)})"


SPECIAL: dict[str, Callable[[list[str], dict, list], str]] = {
    "integer_pow": _power,
    "square": lambda texts, params, shapes: f"{texts[0]}²",
    "dot_general": _product,
    "transpose": _transpose,
    "slice": _slice,
    "select_n": _select,
    "custom_jvp_call": _custom,
    "custom_vjp_call": _custom,
    "convert_element_type": lambda texts, params, shapes: f"{texts[0]} as {params['new_dtype']}",
    "broadcast_in_dim": lambda texts, params, shapes: f"{texts[0]} repeated to {shape_text(params['shape'])}",
    "reshape": lambda texts, params, shapes: f"{texts[0]} reshaped to {shape_text(params['new_sizes'])}",
    "squeeze": lambda texts, params, shapes: f"{texts[0]} without {_axes(params['dimensions'])}",
    "iota": lambda texts, params, shapes: f"0, …, {params['shape'][params['dimension']] - 1}",
    "concatenate": lambda texts, params, shapes: f"[{_listed(texts)}] joined along axis {params['dimension']}",
    "max": lambda texts, params, shapes: f"max({_listed(texts)})",
    "min": lambda texts, params, shapes: f"min({_listed(texts)})",
}
"""Primitives whose parameters are part of what is read."""
