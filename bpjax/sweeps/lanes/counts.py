"""How much work one epoch of one run is, counted on its jaxpr: what the choice of a layout is computed from."""

import math
from typing import NamedTuple

from jax.extend import core

from bpjax.sweeps.lanes.contractions import UNROLL
from bpjax.sweeps.lanes.elementwise import EXPENSIVE
from bpjax.sweeps.lanes.jaxprs import VIEWS
from bpjax.util.jaxprs import CALL_JAXPR, ELEMENTWISE, live_equations, num_entries, opened, scan_counts, subjaxprs

MOVES = {"concatenate", "split", "stack", "pad", "slice", "transpose", "rev"}
"""Primitives that copy entries to other places."""

FREE = (VIEWS - MOVES) | {"iota", "optimization_barrier", "random_wrap", "random_unwrap", "pvary"}
"""Primitives that compute nothing: XLA reads their results as another view of the input."""

WHILE_ITERATIONS = 8
"""Assumed iterations of a `while_loop`, whose number a jaxpr does not tell."""


class Counts(NamedTuple):
    """Work per epoch and run. Operations inside a scan count once per iteration; what all runs share is left out."""

    elementwise: float = 0.0  # entries of results of cheap elementwise operations and reductions
    expensive: float = 0.0  # entries of results such as tanh
    small_products: float = 0.0  # multiply-adds of contractions of up to 32 terms
    large_products: float = 0.0  # multiply-adds of longer contractions
    shared_products: float = 0.0  # of these, those in which all runs share a factor
    product_entries: float = 0.0  # entries of the results of contractions
    convolved: float = 0.0  # multiply-adds of convolutions, entries that pooling reads
    moved: float = 0.0  # entries of concatenations, slices, transpositions and paddings
    indexed: float = 0.0  # entries read or written at indices that differ between runs
    sorted: float = 0.0  # entries sorted
    kernels: float = 0.0  # contractions, reductions, indexing, sorts, random numbers
    elementwise_equations: float = 0.0
    iterations: float = 0.0  # of loops

    def plus(self, other: "Counts", times: float = 1.0) -> "Counts":
        """The sum of both, `other` taken so many times."""
        return Counts(*(a + times * b for a, b in zip(self, other, strict=True)))


def count_work(jaxpr, per_run: list[bool] | None = None) -> Counts:
    """Work of a jaxpr, open or closed, for one run.

    Args:
        jaxpr: of an epoch; all its arguments differ between runs, its constants do not.
        per_run: which arguments differ between runs; all by default.
    """
    return _count(opened(jaxpr), [True] * len(opened(jaxpr).invars) if per_run is None else per_run)[0]


def _count(jaxpr, per_run: list[bool]) -> tuple[Counts, list[bool]]:
    """The work, and which results differ between runs."""
    differs = {variable: differing for variable, differing in zip(jaxpr.invars, per_run, strict=True)}

    def is_per_run(atom) -> bool:
        return not isinstance(atom, core.Literal) and differs.get(atom, False)

    total = Counts()
    for equation in live_equations(jaxpr):
        inputs = [is_per_run(atom) for atom in equation.invars]
        work, outputs = _count_equation(equation, inputs)
        total = total.plus(work)
        differs.update(zip(equation.outvars, outputs, strict=True))
    return total, [is_per_run(atom) for atom in jaxpr.outvars]


def _count_equation(equation, inputs: list[bool]) -> tuple[Counts, list[bool]]:
    """The work of an equation, and which of its results differ between runs."""
    name = equation.primitive.name
    if not any(inputs):
        return Counts(), [False] * len(equation.outvars)
    if name in CALL_JAXPR:
        return _count(opened(equation.params[CALL_JAXPR[name]]), inputs)
    everywhere = [True] * len(equation.outvars)
    if name == "scan":
        return _count_scan(equation, inputs)
    if name == "while":
        body = opened(equation.params["body_jaxpr"])
        work, _ = _count(body, [True] * len(body.invars))
        return Counts(iterations=WHILE_ITERATIONS).plus(work, WHILE_ITERATIONS), everywhere
    if name == "cond":
        total = Counts()
        for branch in equation.params["branches"]:
            total = total.plus(_count(opened(branch), inputs[1:])[0])
        return total, everywhere
    total = _count_primitive(equation, inputs)
    for inner in subjaxprs(equation) if name not in PLAIN else ():
        total = total.plus(_count(opened(inner), [True] * len(opened(inner).invars))[0])
    return total, everywhere


def _count_scan(equation, inputs: list[bool]) -> tuple[Counts, list[bool]]:
    """The work of all iterations. The carry differs between runs if it does after any iteration."""
    body, (n_consts, n_carry) = opened(equation.params["jaxpr"]), scan_counts(equation)
    while True:
        work, outputs = _count(body, inputs)
        carry = [a or b for a, b in zip(inputs[n_consts:], outputs[:n_carry])]  # noqa: B905 - the slices follow the carry
        if carry == inputs[n_consts : n_consts + n_carry]:
            break
        inputs = [*inputs[:n_consts], *carry, *inputs[n_consts + n_carry :]]
    length = equation.params["length"]
    return Counts(iterations=length).plus(work, length), outputs


PLAIN = {"reduce_sum", "reduce_max", "reduce_min", "sort", "scatter", "scatter-add", "argmax", "argmin", "gather"}
"""Primitives whose inner functions, such as the comparison of a sort, are counted with the primitive."""


def _count_primitive(equation, inputs: list[bool]) -> Counts:
    """The work of a primitive without inner functions."""
    name = equation.primitive.name
    largest = max(num_entries(atom) for atom in (*equation.invars, *equation.outvars))
    made = max((num_entries(variable) for variable in equation.outvars), default=1)
    if name in FREE:
        return Counts()
    if name == "conv_general_dilated":
        return Counts(convolved=made * _conv_terms(equation), kernels=1)
    if name.startswith(("reduce_window", "select_and")):
        return Counts(convolved=largest * math.prod(equation.params.get("window_dimensions", (1,))), kernels=1)
    if name == "dot_general":
        terms = _terms(equation)
        multiplications = float(made * terms)
        if terms <= UNROLL:
            return Counts(small_products=multiplications, product_entries=made, kernels=1)
        shared = 0.0 if all(inputs[:2]) else multiplications
        return Counts(large_products=multiplications, shared_products=shared, product_entries=made, kernels=1)
    if name in MOVES:
        return Counts(moved=largest, elementwise_equations=1)
    if name == "sort":
        return Counts(sorted=largest * max(1.0, math.log2(largest + 1)), kernels=1)
    if name in ("gather", "dynamic_slice", "dynamic_update_slice") or name.startswith("scatter"):
        moved = made if name in ("gather", "dynamic_slice") else min(num_entries(atom) for atom in equation.invars[:2])
        return Counts(indexed=moved, kernels=1)
    if name in EXPENSIVE:
        return Counts(expensive=made, elementwise_equations=1)
    if name in ELEMENTWISE:
        return Counts(elementwise=made, elementwise_equations=1)
    if name.startswith(("random", "threefry")):
        return Counts(elementwise=40.0 * made, kernels=1)
    return Counts(elementwise=largest, kernels=1)


def _terms(equation) -> int:
    """Products summed in each entry of a contraction."""
    (summed, _), _ = equation.params["dimension_numbers"]
    return math.prod(equation.invars[0].aval.shape[axis] for axis in summed)


def _conv_terms(equation) -> int:
    """Products summed in each entry of a convolution."""
    features = equation.params["dimension_numbers"].rhs_spec[0]
    return num_entries(equation.invars[1]) // equation.invars[1].aval.shape[features]
