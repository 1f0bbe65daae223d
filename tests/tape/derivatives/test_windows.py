"""Reductions over windows: every entry against `jax.vjp` and differences, ties and dilation by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from derivative_laws import Case, Cases, central_difference, every_law, normal
from jax import lax
from passes import quick_jit

from bpjax.tape import vjp as tape_vjp

START = {lax.add: 0.0, lax.max: -np.inf, lax.min: np.inf, lax.mul: 1.0}
image, line = normal(2, 5, 6, 1), normal(60)


def over(reducer, *arguments, **options):
    return lambda x: lax.reduce_window(x, START[reducer], reducer, *arguments, **options)


GEOMETRIES = {
    "tiles": (image[:, :4], (1, 2, 3, 1), (1, 2, 3, 1), "VALID"),
    "rest": (image, (1, 2, 2, 1), (1, 2, 2, 1), "VALID"),
    "overlap": (image, (1, 3, 3, 1), (1, 2, 2, 1), "SAME"),
    "padding": (image, (1, 3, 2, 1), (1, 1, 3, 1), ((0, 0), (2, 1), (1, 0), (0, 0))),
    "base dilation": (image, (1, 3, 3, 1), (1, 1, 2, 1), "VALID", (1, 2, 3, 1)),
    "large": (line, (40,), (3,), ((3, 5),)),
    "nothing": (normal(0, 3), (1, 2), (1, 1), "VALID"),
    "no window": (normal(2, 3), (1, 4), (1, 1), "VALID"),
}
DILATED = (image, (1, 2, 2, 1), (1, 2, 1, 1), "VALID", None, (1, 2, 3, 1))  # JAX has no VJP of a dilated maximum


def gradient_of(reducer, name):
    """JAX's derivative of a reduction applies select_and_scatter_add; of x and the cotangent."""
    x, *arguments = GEOMETRIES[name]
    return lambda dy: jax.vjp(over(reducer, *arguments), jnp.asarray(x, dy.dtype))[1](dy)[0]


def tangent_of(reducer, name):
    """JAX's tangent of a reduction applies select_and_gather_add."""
    x, *arguments = GEOMETRIES[name]
    return lambda dx: jax.jvp(over(reducer, *arguments), (jnp.asarray(x, dx.dtype),), (dx,))[1]


def like(name):
    x, *arguments = GEOMETRIES[name]
    return normal(*jax.eval_shape(over(lax.add, *arguments), x).shape, seed=2)


# in one process, which compiles the cases once
pytestmark = pytest.mark.thorough

CASES = Cases(
    [
        *(
            Case(f"reduce_window_{kind}", over(reducer, *arguments), x, name=f"{kind}, {name}")
            for kind, reducer in (("sum", lax.add), ("max", lax.max), ("min", lax.min))
            for name, (x, *arguments) in GEOMETRIES.items()
            if kind != "min" or name in ("tiles", "overlap")
        ),
        Case("reduce_window_sum", over(lax.add, *DILATED[1:]), DILATED[0], name="sum, dilation"),
        *(Case("select_and_scatter_add", gradient_of(lax.max, name), like(name), name=f"gradient, {name}")
          for name in ("tiles", "overlap", "padding")),
        *(Case("select_and_gather_add", tangent_of(lax.min, name), GEOMETRIES[name][0], name=f"tangent, {name}")
          for name in ("tiles", "overlap", "large")),
    ]
)  # fmt: skip


@every_law()
@pytest.mark.parametrize("name", CASES.names)
def test_law(law, name):
    law(CASES, name)


def pull_back(function, x, dy):
    return quick_jit(lambda x, dy: tape_vjp(function, x)[1](dy)[0])(x, dy)


@pytest.mark.parametrize("reducer", [lax.max, lax.mul], ids=["max, dilation", "product"])
def test_what_jax_cannot_differentiate_equals_differences(reducer):
    x, *arguments = DILATED if reducer is lax.max else GEOMETRIES["overlap"]
    function, x, v = over(reducer, *arguments), jnp.asarray(x), jnp.asarray(normal(*x.shape, seed=1))
    jv = central_difference(function, [x], {0: v})
    dy = jnp.asarray(normal(*jv.shape, seed=3))
    np.testing.assert_allclose(jnp.vdot(pull_back(function, x, dy), v), jnp.vdot(dy, jv), rtol=1e-8)


def test_the_first_of_equal_maxima_receives_the_cotangent():
    # Windows 1 1 0 | 1 0 2 | 0 2 2 with dy 1 10 100: the first 1, then twice the first 2. As JAX.
    x, dy = jnp.array([1.0, 1, 0, 2, 2]), jnp.array([1.0, 10, 100])
    x = x.at[3].set(2)
    function = over(lax.max, (3,), (1,), "VALID")
    dx = pull_back(function, x, dy)
    np.testing.assert_array_equal(dx, [1, 0, 0, 110, 0])
    np.testing.assert_array_equal(dx, jax.vjp(function, x)[1](dy)[0])
    np.testing.assert_array_equal(pull_back(over(lax.max, (2,), (2,), "VALID"), x, dy[:2]), [1, 0, 0, 10, 0])


def test_a_window_of_minus_infinity_gives_the_padding_what_it_would_have():
    x, dy = jnp.array([-jnp.inf, -jnp.inf, 0.0]), jnp.array([1.0, 10, 100])
    function = over(lax.max, (2,), (1,), ((1, 0),))
    np.testing.assert_array_equal(pull_back(function, x, dy), [10, 0, 100])
    np.testing.assert_array_equal(jax.vjp(function, x)[1](dy)[0], [10, 0, 100])
