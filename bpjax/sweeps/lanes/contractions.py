"""Rules of sums, reductions and products. Few terms are unrolled, many are a loop over unrolled groups.

XLA's own reductions put the sum in the innermost loop, where it does not vectorize over the runs.
"""

import functools
import math
import operator
from collections.abc import Callable

import jax.numpy as jnp
from jax import lax

from bpjax.sweeps.lanes.elementwise import same_axes
from bpjax.sweeps.lanes.interpreter import Interpreter, PrimitiveRule
from bpjax.sweeps.lanes.values import PerRun, array_of, recompute_cost
from bpjax.types import Array
from bpjax.util.jaxprs import num_entries

UNROLL = 32
"""Terms up to which a sum is unrolled. Longer sums are loops inside one kernel: they compile in constant time."""


def sum_of_products(*arrays) -> Array:
    """Σₖ aₖ bₖ … over the first axis of arrays (K, ...); for K > `UNROLL` a loop over groups of `UNROLL` terms."""

    def unrolled(arrays, terms: int):
        products = (functools.reduce(operator.mul, (a[k] for a in arrays)) for k in range(terms))
        return functools.reduce(operator.add, products)

    terms = arrays[0].shape[0]
    if terms <= UNROLL:
        return unrolled(arrays, terms)
    groups, rest = divmod(terms, UNROLL)
    grouped = [a[: terms - rest].reshape(groups, UNROLL, *a.shape[1:]) for a in arrays]
    total = unrolled([a[0] for a in grouped], UNROLL)
    total, _ = lax.scan(lambda t, group: (t + unrolled(group, UNROLL), None), total, [a[1:] for a in grouped])
    return total + unrolled([a[terms - rest :] for a in arrays], rest) if rest else total


def reduce_sum(interpreter: Interpreter, equation, values: list) -> list:
    """The sum over each of the axes, the last axis first."""
    array = values[0].array
    if 0 in array.shape:
        return same_axes(interpreter, equation, values)
    for axis in sorted(equation.params["axes"], reverse=True):
        array = sum_of_products(jnp.moveaxis(array, axis, 0))
    return [PerRun(array, cost_of_reduction(equation, values[0]))]


def cost_of_reduction(equation, value: PerRun) -> int:
    """Operations to recompute an entry of the result: all terms it is reduced from."""
    terms = num_entries(equation.invars[0]) // max(1, num_entries(equation.outvars[0]))
    return terms * (1 + value.recompute_cost)


def reduction(combine: Callable[[Array, Array], Array]) -> PrimitiveRule:
    """The rule of a reduction by `combine`, unrolled where the axes are short."""

    def rule(interpreter: Interpreter, equation, values: list) -> list:
        array, axes = values[0].array, sorted(equation.params["axes"], reverse=True)
        if 0 in array.shape or max((array.shape[axis] for axis in axes), default=0) > UNROLL:
            return same_axes(interpreter, equation, values)
        for axis in axes:
            entries = [lax.index_in_dim(array, k, axis, keepdims=False) for k in range(array.shape[axis])]
            array = functools.reduce(combine, entries)
        return [PerRun(array, cost_of_reduction(equation, values[0]))]

    return rule


def dot_general(interpreter: Interpreter, equation, values: list) -> list | None:
    """Σₖ a b unrolled; one large matrix product where all runs share a factor and the sum is long."""
    (a_sum, _), (a_batch, _) = equation.params["dimension_numbers"]
    terms = math.prod(equation.invars[0].aval.shape[axis] for axis in a_sum)
    if terms == 0:
        return None
    is_shared = not all(isinstance(value, PerRun) for value in values)
    if terms > UNROLL and not a_batch and is_shared:
        return [PerRun(one_matrix_product(equation, *values))]
    result = unrolled_product(equation, *values)
    result = jnp.broadcast_to(result, (*equation.outvars[0].aval.shape, interpreter.runs))
    return [PerRun(result, terms * (2 + sum(map(recompute_cost, values))))]


def one_matrix_product(equation, a, b) -> Array:
    """A product without batch axes where `a` or `b` is shared: the runs are more rows or columns of the other."""
    (a_sum, b_sum), _ = equation.params["dimension_numbers"]
    dtype = equation.outvars[0].aval.dtype
    options = {"precision": equation.params["precision"], "preferred_element_type": dtype}
    if not isinstance(a, PerRun):
        return jnp.tensordot(a, array_of(b), (a_sum, b_sum), **options)
    product = jnp.tensordot(b, a.array, (b_sum, a_sum), **options)  # b's axes, a's axes, runs
    b_axes = b.ndim - len(b_sum)
    return jnp.moveaxis(product, range(b_axes), range(-1 - b_axes, -1))


def unrolled_product(equation, a, b) -> Array:
    """`dot_general` as multiply-adds over the contracted axes; the last axis is the runs, or 1 if both are shared."""
    (a_sum, b_sum), (a_batch, b_batch) = equation.params["dimension_numbers"]
    dtype = equation.outvars[0].aval.dtype
    a, b = (v.array if isinstance(v, PerRun) else jnp.asarray(v)[..., None] for v in (a, b))
    a_free, b_free = (
        v.ndim - 1 - len(batch) - len(summed) for v, batch, summed in ((a, a_batch, a_sum), (b, b_batch, b_sum))
    )
    a = contracted_first(a.astype(dtype), a_sum, a_batch)
    b = contracted_first(b.astype(dtype), b_sum, b_batch)
    a = a.reshape(*a.shape[:-1], *(1,) * b_free, a.shape[-1])
    front = 1 + len(b_batch)
    b = b.reshape(*b.shape[:front], *(1,) * a_free, *b.shape[front:])
    return sum_of_products(a, b)


def contracted_first(array, contracted, batch) -> Array:
    """(K, batch…, free…, runs): the contracted axes merged into one leading axis, the run axis last.

    Args:
        array: (..., runs).
        contracted: axes that are summed over.
        batch: batch axes, in order.
    """
    rank = array.ndim - 1
    free = [axis for axis in range(rank) if axis not in (*batch, *contracted)]
    array = lax.transpose(array, (*contracted, *batch, *free, rank))
    return array.reshape(-1, *array.shape[len(contracted) :])
