"""Count the elementary operations of a function, and of its reverse mode: cost that no machine's load changes.

Value and gradient together take at most 5 times the operations of the function, whatever the number of inputs
(Linnainmaa 1970; Baur and Strassen 1983; Griewank 1989, whose model of +, −, ×, / and elementary functions this is).
"""

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp

from bpjax.util.call_text import shown
from bpjax.util.checks import check_arguments, check_function
from bpjax.util.jaxprs import CALL_JAXPR, ELEMENTWISE, live_equations, num_entries, opened


class Operations(NamedTuple):
    """Numbers of scalar operations."""

    arithmetic: int  # on floating-point or complex numbers: + − × / comparisons, and elementary functions such as tanh
    moved: int  # numbers that are copied: repeated, gathered, transposed, chosen, converted, with another sign

    def plus(self, other: "Operations", times: int = 1) -> "Operations":
        """The sum of these operations and of `times` repetitions of others."""
        return Operations(self.arithmetic + times * other.arithmetic, self.moved + times * other.moved)


class Rule(Protocol):
    """The arithmetic of one equation."""

    def __call__(self, equation, /) -> int:
        """How many operations."""
        ...


def count_operations(f: Callable, *args, rules: Mapping[str, Rule] | None = None, **kwargs) -> Operations:
    """Count the scalar operations of a function.

    Counted in the jaxpr, so that the result is an exact integer that depends on shapes only: an operation on each entry
    counts once per entry of its result, a sum of n numbers n − 1, a product of matrices (m, k) and (k, n) m n (2k − 1),
    a loop its body times its length, a branch the most expensive one. Operations that the result does not depend on,
    and those on integers and booleans, are not counted. For value and gradient pass `reverse(f)`.

    Args:
        f: a function of pytrees of arrays.
        *args: its arguments; only shapes and dtypes matter, so that `jax.ShapeDtypeStruct` will do.
        rules: how many operations an equation takes, under the name of its primitive, for primitives that have no rule
            here (eigenvalues, kernels written by hand) and instead of those that have one.
        **kwargs: further arguments of `f`.

    Returns:
        the numbers of operations.

    Raises:
        ValueError: a primitive without a rule, or a `while_loop`, whose number of iterations is not in the jaxpr.
    """
    check_function("count_operations", "f", f)
    check_arguments("count_operations", (args, kwargs))
    if not (rules is None or isinstance(rules, Mapping)):
        raise ValueError(
            f"`count_operations` expected `rules` to be a dict, primitive name to function, got {shown(rules)}."
        )
    jaxpr = opened(jax.make_jaxpr(f)(*args, **kwargs))
    return _of_jaxpr(jaxpr, jaxpr.outvars, RULES | dict(rules or {}))


def _of_jaxpr(jaxpr, wanted, rules: Mapping[str, Rule]) -> Operations:
    total = Operations(0, 0)
    equations = live_equations(jaxpr, wanted)
    read = {id(atom) for equation in equations for atom in equation.invars} | set(map(id, wanted))
    for equation in equations:
        total = total.plus(_of_equation(equation, [id(v) in read for v in equation.outvars], rules))
    return total


def _of_equation(equation, read: list[bool], rules: Mapping[str, Rule]) -> Operations:
    name, params = equation.primitive.name, equation.params
    if name in rules:
        return Operations(rules[name](equation) if _on_numbers(equation) else 0, 0)
    if name in CALL_JAXPR:
        inner = opened(params[CALL_JAXPR[name]])
        return _of_jaxpr(inner, [v for v, is_read in zip(inner.outvars, read, strict=True) if is_read], rules)
    if name == "scan":
        body = opened(params["jaxpr"])
        return Operations(0, 0).plus(_of_jaxpr(body, body.outvars, rules), params["length"])
    if name == "cond":
        return max(_of_jaxpr(opened(branch), opened(branch).outvars, rules) for branch in params["branches"])
    if name in MOVES or not _on_numbers(equation):
        return Operations(0, sum(map(num_entries, equation.outvars)) if _on_numbers(equation) else 0)
    if name == "while":
        raise ValueError(
            "The number of iterations of a `while_loop` is not in the jaxpr. Count a version with `lax.scan`, or with "
            "`fori_loop` and fixed bounds."
        )
    raise ValueError(
        f"`count_operations` has no rule for the primitive {name!r}. Pass one: "
        f"rules={{{name!r}: lambda equation: number_of_operations}}."
    )


def _on_numbers(equation) -> bool:
    """Whether an equation reads or computes floating-point or complex numbers."""
    dtypes = [getattr(atom.aval, "dtype", None) for atom in (*equation.invars, *equation.outvars)]
    return any(dtype is not None and jnp.issubdtype(dtype, jnp.inexact) for dtype in dtypes)


# --- Rules -----------------------------------------------------------------------------------------------------------


def _entries(equation) -> int:
    """One for each entry of the result."""
    return num_entries(equation.outvars[0])


def _combined(equation) -> int:
    """A reduction of n numbers to one: n − 1."""
    return max(num_entries(equation.invars[0]) - num_entries(equation.outvars[0]), 0)  # a sum of no numbers costs none


def _accumulated(equation) -> int:
    """A cumulative sum, product or maximum along an axis of length n: n − 1."""
    shape, axis = equation.invars[0].aval.shape, equation.params["axis"]
    return max(shape[axis] - 1, 0) * (math.prod(shape) // max(shape[axis], 1))


def _windows(equation) -> int:
    """A reduction of each window of n entries: n − 1."""
    return num_entries(equation.outvars[0]) * (math.prod(equation.params["window_dimensions"]) - 1)


def _scattered_by_comparison(equation) -> int:
    """The adjoint of a window's maximum: n − 1 comparisons and one sum for each window of n entries."""
    return num_entries(equation.invars[0]) * math.prod(equation.params["window_dimensions"])


def _scattered(equation) -> int:
    """One for each update."""
    return num_entries(equation.invars[2])


def _dot_general(equation) -> int:
    """A product (m, k) (k, n): k products and k − 1 sums for each of m n entries."""
    (contracted, _), _ = equation.params["dimension_numbers"]
    k = math.prod(equation.invars[0].aval.shape[axis] for axis in contracted)
    return num_entries(equation.outvars[0]) * (2 * k - 1) if k else 0


def _convolution(equation) -> int:
    """As a product of matrices; products with padding, and with the zeros between dilated inputs, are left out."""
    p, (x, w) = equation.params, (atom.aval.shape for atom in equation.invars)
    numbers = p["dimension_numbers"]
    _, features_in, *kernel_axes = numbers.rhs_spec
    pairs = 1
    for axis, (x_axis, y_axis, w_axis) in enumerate(
        zip(numbers.lhs_spec[2:], numbers.out_spec[2:], kernel_axes, strict=True)
    ):
        pairs *= sum(
            1
            for place in range(equation.outvars[0].aval.shape[y_axis])
            for k in range(w[w_axis])
            if _hits(place * p["window_strides"][axis] + k * p["rhs_dilation"][axis] - p["padding"][axis][0],
                     p["lhs_dilation"][axis], x[x_axis])
        )  # fmt: skip
    shape = equation.outvars[0].aval.shape
    batch_and_features = math.prod(shape[axis] for axis in numbers.out_spec[:2])
    products = pairs * batch_and_features * w[features_in]
    return max(2 * products - math.prod(shape), 0)


def _hits(position: int, dilation: int, size: int) -> bool:
    """Whether a position among dilated inputs holds an input."""
    return position >= 0 and position % dilation == 0 and position // dilation < size


def _sort(equation) -> int:
    """Comparisons of a merge sort of n numbers, at most: n ⌈log₂ n⌉ − 2^⌈log₂ n⌉ + 1."""
    shape = equation.invars[0].aval.shape
    n = shape[equation.params.get("dimension", -1)]
    depth = (n - 1).bit_length() if n > 1 else 0
    return (n * depth - 2**depth + 1) * (math.prod(shape) // n) if n else 0


def _fft(equation) -> int:
    """5 n log₂ n for each transform of n numbers, the usual convention, and half of it for real numbers."""
    n, arrays = math.prod(equation.params["fft_lengths"]), (equation.invars[0], equation.outvars[0])
    transforms = max(map(num_entries, arrays)) // max(n, 1)
    real = any(jnp.issubdtype(array.aval.dtype, jnp.floating) for array in arrays)
    return transforms * round(5 * n * math.log2(n) / (1 + real)) if n else 0


def _cholesky(equation) -> int:
    """n roots, n (n − 1) / 2 quotients and n (n² − 1) / 3 products and sums: n (n + 1) (2n + 1) / 6."""
    *batch, n, _ = equation.invars[0].aval.shape
    return math.prod(batch) * n * (n + 1) * (2 * n + 1) // 6


def _triangular_solve(equation) -> int:
    """n² for each right-hand side, n fewer with ones on the diagonal."""
    n = equation.invars[0].aval.shape[-1]
    return num_entries(equation.invars[1]) * (n - bool(equation.params["unit_diagonal"]))


def _lu(equation) -> int:
    """Σₖ (m − k) (1 + 2 (n − k)): quotients, then products and differences."""
    *batch, m, n = equation.invars[0].aval.shape
    return math.prod(batch) * sum((m - k) * (1 + 2 * (n - k)) for k in range(1, min(m, n) + 1))


MOVES = frozenset(
    "neg broadcast_in_dim reshape squeeze expand_dims transpose rev slice dynamic_slice dynamic_update_slice "
    "concatenate split stack unstack tile pad gather scatter select_n select_and_gather_add convert_element_type "
    "bitcast_convert_type copy copy_p real imag complex conj reduce_precision stop_gradient iota broadcast "
    "optimization_barrier sharding_constraint reshard pvary".split()
)
"""Primitives that copy numbers; a change of sign belongs to the sum or product that reads the result, as in x̄ −= z̄."""

RULES: dict[str, Rule] = {
    **dict.fromkeys(set(ELEMENTWISE) - MOVES, _entries),
    **dict.fromkeys("polygamma zeta regularized_incomplete_beta igamma_grad_a random_gamma_grad".split(), _entries),
    "clamp": lambda equation: 2 * _entries(equation),
    **dict.fromkeys("reduce_sum reduce_prod reduce_max reduce_min reduce argmax argmin".split(), _combined),
    **dict.fromkeys("cumsum cumprod cummax cummin cumlogsumexp".split(), _accumulated),
    **dict.fromkeys("reduce_window_sum reduce_window_max reduce_window_min reduce_window".split(), _windows),
    "select_and_scatter_add": _scattered_by_comparison,
    **dict.fromkeys("scatter-add scatter_add scatter_sub scatter_mul scatter_min scatter_max".split(), _scattered),
    "dot_general": _dot_general,
    "conv_general_dilated": _convolution,
    "sort": _sort,
    "fft": _fft,
    "cholesky": _cholesky,
    "triangular_solve": _triangular_solve,
    "lu": _lu,
}
"""How many operations an equation takes, under the name of its primitive."""
