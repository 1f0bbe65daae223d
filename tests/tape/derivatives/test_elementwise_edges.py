"""Elementwise operations at 0, ties, ±inf and NaN: cotangents are those of `jax.vjp`, NaN and infinities included."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from derivative_laws import Case, Cases, equal_at_edges
from elementwise_cases import NEWEST, UNARY
from jax import lax

from bpjax.tape import vjp as tape_vjp

POINTS = np.array([0.0, -0.0, 1, -1, 2.5, np.inf, -np.inf, np.nan])
PAIRS = np.array(list(itertools.product(POINTS, POINTS))).T
TRIPLES = np.array(list(itertools.product([-1.0, 1, np.nan], [-1.0, 0, 1, np.nan], [-1.0, 1, np.nan]))).T
BASES, EXPONENTS = np.array(list(itertools.product(POINTS, [-1, 0, 1, 2]))).T
COMPLEX = np.array([complex(a, b) for a, b in itertools.product([0.0, 1, -2], [0.0, -1, 2])])
MASK = np.array([[1.0], [0.0]])  # the second row has the cotangent 0, as the branch that `jnp.where` leaves out
UNLIKE_JAX = {"bessel_i1e": "JAX returns 1/2 for NaN"}
if not NEWEST:
    UNLIKE_JAX |= {
        "acosh": "JAX 0.10 returns a finite derivative for x < −1, where acosh x is NaN",
        "sign complex": "JAX 0.10 takes the derivative of x / |x| as 0",
    }


def edge(primitive, function, *inputs, name=""):
    """A case for inputs (n,)."""
    name = name or primitive
    inputs = [np.broadcast_to(x, (2, *x.shape)) for x in inputs]
    masked = lambda *args: function(*args) * jnp.asarray(np.broadcast_to(MASK, inputs[0].shape))
    return Case(primitive, masked, *inputs, name=name, unlike_jax=UNLIKE_JAX.get(name, ""))


BINARY = [lax.add, lax.sub, lax.mul, lax.div, lax.rem, lax.pow, lax.atan2, lax.max, lax.min]
CASES = Cases(
    [
        *(edge(name, function, POINTS) for name, (function, _) in UNARY.items()),
        *(edge(f.__name__, f, *PAIRS) for f in BINARY),
        *(edge("integer_pow", lambda x, k=k: lax.integer_pow(x, k), POINTS, name=f"x^{k}") for k in (-2, 0, 1, 2, 3)),
        edge("pow", lax.pow, BASES, EXPONENTS.astype(int), name="pow of integers"),
        edge("clamp", lax.clamp, *TRIPLES),
        edge("select_n", lambda x, y: lax.select(x > y, x, y), *PAIRS),
        edge("igamma", lax.igamma, *PAIRS),
        edge("abs", lax.abs, COMPLEX, name="abs complex"),
        edge("sign", lax.sign, COMPLEX, name="sign complex"),
        edge("pow", lax.pow, *np.array(list(itertools.product(COMPLEX, COMPLEX[:5]))).T, name="pow complex"),
    ]
)


def test_no_overflow_and_no_cancellation_at_extreme_arguments():
    """Slopes by hand: x² overflows at 10²⁰⁰, and e⁻⁵⁰ − 1 is rounded to −1."""
    slopes = {(lax.asinh, 1e200): 1e-200, (lax.acosh, 1e200): 1e-200, (lax.expm1, -50.0): math.exp(-50)}

    @jax.jit
    def found(points):
        return [tape_vjp(f, x)[1](jnp.ones_like(x))[0] for (f, _), x in zip(slopes, points, strict=True)]

    np.testing.assert_allclose(found([jnp.asarray(x) for _, x in slopes]), list(slopes.values()), rtol=1e-13)


def test_the_exceptions_are_cases():
    assert set(UNLIKE_JAX) <= set(CASES.names)


@pytest.mark.thorough
@pytest.mark.parametrize("name", CASES.names)
def test_edges(name):
    equal_at_edges(CASES, name)
