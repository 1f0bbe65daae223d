"""Matrix products: all forms give the same values, and the compiler uses the intended form."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from passes import quick_jit

from bpjax.layers.product import NARROW, weight_gradient

SIZES = [
    (7, 5, 3),  # multiply and sum
    (64, 40, NARROW),  # narrow: dy first
    (64, 40, 1),
    (64, 40, NARROW + 1),  # x first
    (64, 9, 10),  # narrow, and x is narrower
    (NARROW - 2, 200, 5),  # narrow, and few rows
    (90, 80, 40),  # half as wide
    (16, 64, 64),  # copied
    (18, 257, 256),  # too large to be copied
]


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize(("dtype", "tolerance"), [(jnp.float64, 1e-13), (jnp.bfloat16, 2**-8)])
def test_the_weight_gradient_is_the_sum_over_all_rows(sizes, dtype, tolerance):
    n, d, h = sizes
    draw = np.random.default_rng(0)
    x, dy = (jnp.asarray(draw.normal(size=(2, n // 2, k)), dtype) for k in (d, h))
    wide = [np.asarray(a, float).reshape(-1, a.shape[-1]) for a in (x, dy)]
    expected = sum(np.outer(row, error) for row, error in zip(*wide, strict=True))
    for found in both_ways(x, dy):
        assert found.dtype == dtype
        np.testing.assert_allclose(np.asarray(found, float), expected, rtol=tolerance, atol=tolerance)


@quick_jit
def both_ways(x, dy):
    """The weight gradient directly, and under `jax.vmap`."""
    return weight_gradient(x, dy), jax.vmap(weight_gradient)(x[None], dy[None])[0]


def test_the_narrow_form_has_derivatives():
    """dW is linear in dy: its derivative along v is dW at v, and the gradient of ½‖dW‖² is x dW."""
    draw = np.random.default_rng(1)
    x, dy, v = (jnp.asarray(draw.normal(size=(50, k))) for k in (30, 4, 4))
    _, along = jax.jvp(lambda dy: weight_gradient(x, dy), (dy,), (v,))
    np.testing.assert_allclose(along, x.T @ v, rtol=1e-12)
    slope = jax.grad(lambda dy: 0.5 * jnp.sum(weight_gradient(x, dy) ** 2))(dy)
    np.testing.assert_allclose(slope, x @ (x.T @ dy), rtol=1e-12)


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="about the program that XLA makes for a CPU")
@pytest.mark.parametrize(("sizes", "shape"), [((128, 500, 10), "[10,500]"), ((300, 256, 128), "[128,256]")])
def test_the_compiler_keeps_dy_first(sizes, shape):
    n, d, h = sizes
    x, dy = jnp.ones((n, d)), jnp.ones((n, h))
    text = jax.jit(weight_gradient).lower(x, dy).compile().as_text()
    (product,) = re.findall(r"= f\d+(\[[\d,]+\])\S* (?:dot|custom-call)\(", text)
    assert product == shape


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="about the program that XLA makes for a CPU")
def test_the_compiler_keeps_the_copy_of_small_products():
    x, dy = jnp.ones((100, 64)), jnp.ones((100, 72))
    text = jax.jit(weight_gradient).lower(x, dy).compile().as_text()
    assert re.search(r"= f\d+\[64,100\]\S* (?:fusion|transpose|copy)\(", text)
