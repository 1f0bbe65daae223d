"""Laws that every entry of the table of derivatives obeys.

A `Case` is a function that applies a primitive, and inputs to try it at. `Cases` computes all of them in one compiled
program for each dtype, and one for the differences; each test then reads its case from the results. The laws that need
a program are thorough tests, except that elementwise operations equal `jax.vjp` in float64.

    CASES = Cases([Case("tanh", lax.tanh, normal((2, 3)))])

    @every_law()
    @pytest.mark.parametrize("name", CASES.names)
    def test_law(law, name):
        law(CASES, name)
"""

import contextlib
import functools
import itertools
from collections.abc import Callable
from typing import NamedTuple
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import relative_error
from passes import QUICKLY

from bpjax.tape import vjp as tape_vjp
from bpjax.tape.derivatives import DERIVATIVES, depends_on_inputs
from bpjax.tape.values import is_differentiable
from bpjax.types import Array
from bpjax.util.jaxprs import opened, subjaxprs

STEP = 1e-3  # of the differences
UNOPTIMIZED = QUICKLY | {"xla_backend_optimization_level": 0, "xla_cpu_parallel_codegen_split_count": 1}
"""`compiler_options` for large programs that run once: a third of the time to compile."""


class Case:
    """A function that applies a primitive, and inputs to try it at.

    Args:
        primitive: its name.
        function: of arrays, returns an array or several.
        *inputs: NumPy arrays; those of float64 or complex128 are differentiated.
        name: of the case, by default that of the primitive.
        rounding: factor on the tolerances against `jax.vjp`, for ill-conditioned cases.
        truncation: factor on the tolerance against differences, for functions with large higher derivatives.
        unlike_jax: why the cotangents are not those of `jax.vjp`; a law then wants them to differ.
        reference: the same function in other words, where JAX cannot differentiate the primitive.
    """

    def __init__(
        self,
        primitive: str,
        function: Callable,
        *inputs,
        name: str = "",
        rounding: float = 1.0,
        truncation: float = 1.0,
        unlike_jax: str = "",
        reference: Callable | None = None,
    ):
        self.primitive, self.function, self.inputs = primitive, function, tuple(map(np.asarray, inputs))
        self.name, self.reference = name or primitive, reference or function
        self.rounding, self.truncation, self.unlike_jax = rounding, truncation, unlike_jax

    def inputs_of(self, dtype) -> list:
        """The inputs with floating-point numbers of a dtype, and complex numbers of twice its size."""
        dtype = jnp.dtype(dtype)
        complex_dtype = np.complex128 if dtype == np.float64 else np.complex64
        cast = {"f": dtype, "c": complex_dtype}
        return [jnp.asarray(x, cast.get(x.dtype.kind, x.dtype)) for x in self.inputs]


class Cotangents(NamedTuple):
    """What `jax.vjp` is held against."""

    inputs: list  # those that are differentiated
    ours: list  # their cotangents by the table
    theirs: list  # by jax.vjp


class Products(NamedTuple):
    """What central differences are held against, in a random direction v."""

    by_differences: Array  # ⟨dy, J v⟩
    by_table: Array  # ⟨Jᵀ dy, v⟩
    size: Array  # ‖dy‖² + ‖J v‖²


class Cases:
    """Cases that are computed together."""

    def __init__(self, cases):
        self.cases = {case.name: case for case in cases}
        assert len(self.cases) == len(list(cases)), "two cases have one name"

    @property
    def names(self) -> list[str]:
        """One for each case."""
        return list(self.cases)

    def __getitem__(self, name) -> Case:
        return self.cases[name]

    def cotangents(self, name, dtype) -> Cotangents:
        """Of one case, by the table and by JAX."""
        return self._measured(cotangents, jnp.dtype(dtype), name)

    def products(self, name) -> Products:
        """Of one case, by differences and by the table."""
        return self._measured(products, jnp.dtype(jnp.float64), name)

    def _measured(self, measure, dtype, name):
        results, errors = self._program(measure, dtype)
        if name in errors:
            raise errors[name]
        return results[name]

    @functools.cache  # noqa: B019  (as many objects as test modules)
    def _program(self, measure, dtype):
        return compute(measure, self.cases.values(), dtype)


def compute(measure, cases, dtype) -> tuple[dict, dict]:
    """`measure` of all cases in one compiled program, and the errors of those that cannot be traced."""
    errors = {}

    def program(inputs):
        results = {}
        for case in cases:
            try:
                results[case.name] = measure(case, inputs[case.name])
            except Exception as error:  # raised again by the test of that case
                errors[case.name] = error
        return results

    results = jax.jit(program, compiler_options=UNOPTIMIZED)({case.name: case.inputs_of(dtype) for case in cases})
    return jax.tree.map(np.asarray, results), errors


def cotangents(case, inputs) -> Cotangents:
    """The cotangents of a case's inputs by the table and by JAX."""
    random = np.random.default_rng(len(case.name))
    result, pull_back = tape_vjp(case.function, *inputs)
    _, vjp = jax.vjp(case.reference, *inputs)
    dy = jax.tree.map(functools.partial(normal_like, random), result)
    chosen = differentiated(inputs)
    return Cotangents(*([arrays[k] for k in chosen] for arrays in (inputs, pull_back(dy), vjp(dy))))


def products(case, inputs) -> Products:
    """The products of a case's Jacobian with random vectors on both sides, by differences and by the table."""
    random = np.random.default_rng(len(case.name))
    result, pull_back = tape_vjp(case.function, *inputs)
    dy = jax.tree.map(functools.partial(normal_like, random), result)
    dx, v = pull_back(dy), {k: normal_like(random, inputs[k]) for k in differentiated(inputs)}
    jv = central_difference(case.function, inputs, v)
    size = sum((jnp.sum(jnp.abs(leaf) ** 2) for leaf in inexact((dy, jv))), jnp.zeros(()))
    return Products(inner(dy, jv), inner([dx[k] for k in v], list(v.values())), size)


def differentiated(inputs) -> list[int]:
    """The positions of the inputs that are differentiated."""
    return [k for k, x in enumerate(inputs) if is_differentiable(x)]


def central_difference(function, inputs, direction: dict):
    """J v of fourth order: (f(x − 2hv) − 8 f(x − hv) + 8 f(x + hv) − f(x + 2hv)) / 12h."""

    def along(t):
        return function(*(x + t * direction[k] if k in direction else x for k, x in enumerate(inputs)))

    values = jax.vmap(along)(jnp.array([-2, -1, 1, 2]) * STEP)
    return jax.tree.map(lambda f: (f[0] - 8 * f[1] + 8 * f[2] - f[3]) / (12 * STEP) if is_differentiable(f) else f[0],
                        values)  # fmt: skip


def normal_like(random, array):
    """Normal noise of the shape and dtype of an array, complex where it is, float0 for one of integers."""
    shape, dtype = jnp.shape(array), jnp.result_type(array)
    if not jnp.issubdtype(dtype, jnp.inexact):
        return np.zeros(shape, jax.dtypes.float0)
    noise = random.standard_normal(shape)
    if jnp.issubdtype(dtype, jnp.complexfloating):
        noise = noise + 1j * random.standard_normal(shape)
    return jnp.asarray(noise, dtype)


def inexact(tree) -> list:
    """The leaves with floating-point or complex entries."""
    return [leaf for leaf in jax.tree.leaves(tree) if is_differentiable(leaf)]


def inner(a, b):
    """Re Σ a b without conjugation, JAX's pairing of cotangents with tangents, over the inexact leaves."""
    return sum((jnp.sum(x * y).real for x, y in zip(inexact(a), inexact(b), strict=True)), jnp.zeros(()))


# --- The laws --------------------------------------------------------------------------------------------------------


def equals_vjp_float64(cases: Cases, name: str):
    """The cotangents are those of `jax.vjp`."""
    check_equal(cases, name, jnp.float64, 1e-12)


def equals_vjp_float32(cases: Cases, name: str):
    """The cotangents are those of `jax.vjp`, to rounding."""
    check_equal(cases, name, jnp.float32, 3e-6)


def check_equal(cases: Cases, name: str, dtype, tolerance: float):
    found, case = cases.cotangents(name, dtype), cases[name]
    error = relative_error(found.ours, found.theirs)
    equal = error < tolerance * case.rounding
    assert equal != bool(case.unlike_jax), f"relative error {error:.1e}; expected to differ: {case.unlike_jax or 'no'}"


def equals_differences(cases: Cases, name: str):
    """⟨dy, J v⟩ = ⟨Jᵀ dy, v⟩ for a random direction v, with J v by central differences."""
    by_differences, by_table, size = cases.products(name)
    error = abs(by_differences - by_table) / size if size else 0.0
    assert error <= 1e-9 * cases[name].truncation, f"{by_differences} by differences, {by_table} by the table"


def has_the_type_of_the_input(cases: Cases, name: str):
    """Cotangents have the shapes and dtypes of the inputs."""
    for dtype in (jnp.float64, jnp.float32):
        found = cases.cotangents(name, dtype)
        for dx, x in zip(found.ours, found.inputs, strict=True):
            assert (dx.shape, dx.dtype) == (x.shape, x.dtype)


def uses_the_entry(cases: Cases, name: str):
    """The function applies the primitive, and the sweep calls the entry: it raises when the entry raises."""
    case = cases[name]
    jaxpr = jax.make_jaxpr(case.function)(*case.inputs)
    assert case.primitive in primitives(jaxpr)
    if not any(depends_on_inputs(case.primitive, x) for x in case.inputs):
        return

    class CalledError(Exception):
        pass

    def broken(*args, **params):
        raise CalledError

    def gradient(*inputs):
        result, pull_back = tape_vjp(case.function, *inputs)
        return [dx for dx in pull_back(jax.tree.map(functools.partial(normal_like, np.random.default_rng(0)), result))
                if is_differentiable(dx)]  # fmt: skip

    entry = DERIVATIVES[case.primitive]._replace(backward=broken)
    with mock.patch.dict(DERIVATIVES, {case.primitive: entry}), pytest.raises(CalledError):
        jax.eval_shape(gradient, *case.inputs)


LAWS = {
    "equals jax.vjp in float64": equals_vjp_float64,
    "equals jax.vjp in float32": equals_vjp_float32,
    "equals central differences": equals_differences,
    "has the shape and dtype of the input": has_the_type_of_the_input,
    "uses the entry": uses_the_entry,
}
OTHER_PROGRAMS = (equals_vjp_float32, has_the_type_of_the_input, equals_differences)
COMPILED = (equals_vjp_float64, *OTHER_PROGRAMS)
"""The laws that compile a program."""


def every_law(thorough=COMPILED, but=()) -> pytest.MarkDecorator:
    """A test for each law except some; those of `thorough` are thorough tests."""
    marks = {law: pytest.mark.thorough for law in thorough}
    laws = [pytest.param(law, id=name, marks=marks.get(law, ())) for name, law in LAWS.items() if law not in but]
    return pytest.mark.parametrize("law", laws)


def primitives(jaxpr) -> set[str]:
    """The names of the primitives in a jaxpr and in those inside it."""
    equations = opened(jaxpr).eqns
    inside = itertools.chain.from_iterable(map(subjaxprs, equations))
    return {equation.primitive.name for equation in equations}.union(*map(primitives, inside))


# --- At the edges ----------------------------------------------------------------------------------------------------


def equal_at_edges(cases: Cases, name: str):
    """At 0, ties, ±inf, NaN: the cotangents are those of `jax.vjp` entry by entry, NaN and infinities included."""
    found, case = cases.cotangents(name, jnp.float64), cases[name]
    expected_to_differ = pytest.raises(AssertionError) if case.unlike_jax else contextlib.nullcontext()
    with expected_to_differ:
        for ours, theirs in zip(found.ours, found.theirs, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-12 * case.rounding, atol=0, equal_nan=True)


# --- Inputs ----------------------------------------------------------------------------------------------------------


def normal(*shape, seed: int = 0) -> np.ndarray:
    """Normal numbers of the same seed."""
    return np.random.default_rng([seed, *shape]).standard_normal(shape)


def between(low, high, *shape, seed: int = 0) -> np.ndarray:
    """Uniform numbers of the same seed."""
    return np.random.default_rng([seed, *shape]).uniform(low, high, shape)


def complex_normal(*shape, seed: int = 0) -> np.ndarray:
    """Complex normal numbers of the same seed."""
    return normal(*shape, seed=seed) + 1j * normal(*shape, seed=seed + 1)
