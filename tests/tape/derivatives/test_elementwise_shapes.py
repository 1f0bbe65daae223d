"""Elementwise operations on scalars, empty arrays and broadcast axes, in every floating-point dtype."""

import jax.numpy as jnp
import numpy as np
import pytest
from derivative_laws import Case, compute, cotangents
from elementwise_cases import BINARY, HOLOMORPHIC, UNARY, Z
from full_size import FULL
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import relative_error

SHAPES = [[(), ()], [(0,), (0,)], [(2, 0, 3), ()], [(3,), ()], [(), (4,)], [(2, 3), (1, 3)], [(2, 1), (1, 3)]]
DTYPES = [jnp.float64, jnp.float32, jnp.bfloat16, jnp.float16]
CASES = [Case(name, *case) for name, case in (UNARY | BINARY).items()]
CASES += [Case(name, UNARY[name][0], Z, name=f"{name} complex") for name in HOLOMORPHIC]


def resized(case, shapes):
    """A case with its inputs in other shapes."""
    inputs = [np.resize(x, shape) for x, shape in zip(case.inputs, shapes, strict=False)]
    return Case(case.primitive, case.function, *inputs, name=case.name)


def check(cases, shapes, dtype):
    half = jnp.finfo(dtype).bits == 16
    cases = [resized(case, shapes) for case in cases if not (half and case.primitive == "complex")]  # none in JAX
    results, errors = compute(cotangents, cases, dtype)
    for error in errors.values():
        raise error
    tolerance = 1e-12 if dtype == jnp.float64 else 16 * float(jnp.finfo(dtype).eps)
    for case in cases:
        found = results[case.name]
        for dx, x in zip(found.ours, found.inputs, strict=True):
            assert (dx.shape, dx.dtype) == (x.shape, x.dtype), case.name
        assert relative_error(found.ours, found.theirs) < tolerance, case.name


several = st.lists(st.sampled_from(CASES), min_size=3, max_size=3, unique_by=lambda case: case.name)


@given(several, st.sampled_from(SHAPES), st.sampled_from(DTYPES))
@settings(max_examples=8, deadline=None, derandomize=True)
def test_shapes_and_dtypes(cases, shapes, dtype):
    check(cases, shapes, dtype)


@pytest.mark.thorough
@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.__name__)
def test_every_entry_in_every_dtype(dtype):
    check(CASES, [(2, 3), ()], dtype)


@pytest.mark.thorough
@pytest.mark.parametrize("shapes", SHAPES if FULL else SHAPES[::2], ids=str)
def test_every_entry_in_every_shape(shapes):
    check(CASES, shapes, jnp.float32)
