"""Surrogate derivatives: values by hand, and finite in every dtype however steep."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bpjax.layers import soft_spike, spike
from bpjax.layers.spiking.surrogates import SURROGATES


@pytest.mark.parametrize(
    ("surrogate", "expected"),
    [
        ("fast sigmoid", 1 / 2.25),  # k |u| = ½: 1 / 1.5²
        ("superspike", 1 / 2.25),
        ("sigmoid", 2 * math.exp(-0.5) / (1 + math.exp(-0.5)) ** 2),
        ("arctan", 1 / (1 + (math.pi / 4) ** 2)),
        ("triangular", 0.5),
        ("straight-through", 1.0),
    ],
)
def test_values_by_hand(surrogate, expected):
    u = jnp.array([-0.25, 0.25])
    for make in (spike, soft_spike):
        _, du = make(2.0, surrogate, 3.0).backward((), u, jnp.ones(2))
        np.testing.assert_allclose(du, [3 * expected] * 2, rtol=1e-14)


def test_a_saturated_sigmoid_is_not_nan():
    """snntorch#427: e^125 overflows float32; 25 σ′(−125) = 1.29e-53."""
    _, du = spike(25.0, "sigmoid").backward((), jnp.array([-5.0]), jnp.ones(1))
    assert float(du[0]) == pytest.approx(25 * math.exp(-125), rel=1e-12)
    assert float(du[0]) == pytest.approx(1.29e-53, rel=5e-3)


def test_no_surrogate_overflows_in_any_dtype():
    steepness, u = (0.0, 25.0, 1e6), (-1e4, -5.0, -1e-3, 0.0, 1e-3, 5.0, 1e4, math.inf, -math.inf)

    def gradients(us):
        layers = [spike(k, name) for name in SURROGATES for k in steepness]
        return {
            dtype: jnp.stack([layer.backward((), x, jnp.ones_like(x))[1] for layer in layers])
            for dtype, x in us.items()
        }

    dtypes = ("float16", "bfloat16", "float32", "float64")
    found = jax.jit(gradients)({dtype: jnp.array(u, dtype) for dtype in dtypes})
    for dtype, du in found.items():
        finite = np.asarray(du[:, :-2], np.float64)
        assert du.dtype == dtype and np.isfinite(finite).all() and (finite >= 0).all(), dtype
        steep = np.asarray(du, np.float64).reshape(len(SURROGATES), len(steepness), len(u))[:, 1:]
        assert not np.isnan(steep).any(), dtype  # at ±∞ too


@pytest.mark.thorough
def test_the_soft_spike_has_the_surrogate_as_its_derivative():
    u = np.array([-3.0, -0.6, -0.2, 0.1, 0.3, 2.0])
    for name in SURROGATES:
        layer = soft_spike(1.7, name, 0.4)
        ends = [np.asarray(layer.forward((), u + step)[0]) for step in (1e-6, -1e-6)]
        difference = (ends[0] - ends[1]) / 2e-6
        np.testing.assert_allclose(layer.backward((), jnp.asarray(u), jnp.ones(6))[1], difference, atol=1e-9)
        assert float(layer.forward((), jnp.zeros(1))[0][0]) == 0.5
