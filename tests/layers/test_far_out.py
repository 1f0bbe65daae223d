"""Layers at the edges of their dtype: relative precision in the tails, infinities, NaN, huge and tiny inputs.

The truth is computed by NumPy in extended precision, or in float64, from formulas that do not cancel.
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from passes import run

import bpjax as bp
from bpjax import layers
from bpjax.gradcheck.registry import ACTIVATIONS

pytestmark = pytest.mark.thorough

L, EXP = np.longdouble, np.exp
S = lambda a: 1 / (1 + EXP(-a))
CDF = lambda a: np.array([L(math.erfc(-x / math.sqrt(2))) / 2 for x in a.astype(float)])
C = np.sqrt(L(2) / np.arccos(L(-1)))
U, DU = lambda a: C * (a + L("0.044715") * a**3), lambda a: C * (1 + 3 * L("0.044715") * a * a)
TRUTH = {  # φ and φ′
    "relu": (lambda a: np.maximum(a, 0), lambda a: np.where(a > 0, 1, 0)),
    "leaky_relu()": (lambda a: np.where(a > 0, a, L("0.01") * a), lambda a: np.where(a > 0, 1, L("0.01"))),
    "elu()": (lambda a: np.where(a > 0, a, np.expm1(np.minimum(a, 0))), lambda a: EXP(np.minimum(a, 0))),
    "softplus": (lambda a: np.maximum(a, 0) + np.log1p(EXP(-abs(a))), S),
    "gelu": (lambda a: a * CDF(a), lambda a: CDF(a) + a * EXP(-a * a / 2) * C / 2),
    "gelu_tanh": (lambda a: a * S(2 * U(a)), lambda a: S(2 * U(a)) + 2 * a * S(2 * U(a)) * S(-2 * U(a)) * DU(a)),
    "silu": (lambda a: a * S(a), lambda a: S(a) * (1 + a * S(-a))),
    "sigmoid": (S, None),  # φ′ = y (1 − y) is 0 where y rounds to 1
    "tanh": (np.tanh, None),
}
GRID = np.concatenate([np.linspace(-100, 100, 801), [-1e-8, 1e-8, -1e-30, 1e-30]])


@functools.cache
def at_grid(dtype):
    """y and φ′ of every activation on the grid, in one program."""
    a = jnp.asarray(GRID, dtype)[None]
    both = lambda a: {n: run(ACTIVATIONS[n], (), a, jnp.ones_like(a)) for n in TRUTH}
    return jax.tree.map(np.asarray, jax.jit(both)(a))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", TRUTH)
def test_relative_precision_from_minus_to_plus_100(name, dtype):
    a, (y, (_, da)) = GRID.astype(dtype).astype(L), at_grid(dtype)[name]
    tiny, eps = 1e6 * float(np.finfo(dtype).tiny), float(np.finfo(dtype).eps)
    for found, truth in zip((y[0], da[0]), TRUTH[name], strict=True):
        if truth is None:
            continue
        with np.errstate(over="ignore", under="ignore"):
            expected = truth(a)
        allowed = (20 + 8 * a * a) * eps  # the rounding of a² in e^(−a²/2), relative; a³ is below 30 a² where it counts
        normal = abs(expected) > tiny
        bound = allowed * abs(expected) + (abs(a + 1) < 0.5) * 4 * eps  # φ′ crosses 0 near a = −1
        assert (abs(found - expected)[normal] <= bound[normal]).all()
        assert (abs(found[~normal]) <= 2 * tiny).all()


def test_the_slope_of_elu_at_minus_40_by_hand():
    # e⁻⁴⁰ = 4.248354255291589e-18
    for dtype in (jnp.float32, jnp.float64):
        _, (_, da) = run(layers.elu(2.0), (), jnp.full((1, 1), -40.0, dtype), jnp.ones((1, 1), dtype))
        assert float(da[0, 0]) == pytest.approx(2 * 4.248354255291589e-18, rel=1e-6)


LIMITS = {  # y and φ′ at −∞ and at ∞
    "identity": (-np.inf, 1, np.inf, 1), "sigmoid": (0, 0, 1, 0), "tanh": (-1, 0, 1, 0), "relu": (0, 0, np.inf, 1),
    "leaky_relu()": (-np.inf, 0.01, np.inf, 1), "elu()": (-1, 0, np.inf, 1), "softplus": (0, 0, np.inf, 1),
    "gelu": (0, 0, np.inf, 1), "gelu_tanh": (0, 0, np.inf, 1), "silu": (0, 0, np.inf, 1),
    "scaled_sigmoid(-0.5, 0.5)": (-0.5, 0, 0.5, 0),
}  # fmt: skip


@pytest.mark.parametrize("name", LIMITS)
def test_limits_and_nan(name):
    a = jnp.array([[-np.inf, -3e38, np.inf, 3e38, np.nan]], jnp.float32)
    y, (_, da) = run(ACTIVATIONS[name], (), a, jnp.ones_like(a))
    low, low_slope, high, high_slope = LIMITS[name]
    np.testing.assert_allclose(y[0, [0, 2]], [low, high], rtol=1e-6)
    np.testing.assert_allclose(da[0, :4], [low_slope] * 2 + [high_slope] * 2, rtol=1e-6)
    assert jnp.isfinite(y[0, [1, 3]]).all() and jnp.isnan(y[0, 4])
    assert name == "identity" or jnp.isnan(da[0, 4])


@pytest.mark.parametrize("layer", [layers.max_pool(3), layers.max_pool(3, 1), layers.global_max_pool], ids=str)
def test_a_maximum_passes_nan_on_and_its_error_back(layer):
    x = jnp.array([5.0, jnp.nan, 7.0]).reshape(1, 3, 1)
    y, (_, dx) = run(layer, (), x, jnp.full_like(layer.forward((), x)[0], 2.0))
    assert jnp.isnan(y).all()
    np.testing.assert_array_equal(dx.ravel(), [0, 2, 0])


NORMS = {
    "layer_norm": layers.layer_norm(),
    "rms_norm": layers.rms_norm(),
    "group_norm": layers.group_norm(2),
    "batch_norm": layers.batch_norm(),
    "unit_length": layers.unit_length,
}
SCALES = (1e-30, 1.0, 1e15, 1e19, 1e30, 1e35)


@functools.cache
def normed(dtype):
    """(y, (dparams, dx)) of every norm at every scale, in one program."""
    with jax.enable_x64(dtype == "float64"):
        random = np.random.default_rng(5)
        base, dy = random.standard_normal((4, 6)), random.standard_normal((4, 6)).astype(dtype)
        gains = jax.tree.map(lambda g: np.asarray(g, dtype), layers.layer_norm().init(jax.random.key(0), (6,))[0])
        of = lambda name: gains._replace(bias=None) if name == "rms_norm" else () if name == "unit_length" else gains
        xs = {scale: (base * scale).astype("float32").astype(dtype) for scale in SCALES}
        every = lambda xs: {(n, s): run(NORMS[n], of(n), x, dy) for n in NORMS for s, x in xs.items()}
        results = jax.jit(every)(xs)
    return jax.tree.map(np.asarray, results)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("name", NORMS)
def test_norms_at_any_scale(name, scale):
    """In float32 as in float64, where nothing overflows, and there as for x / scale, up to ε."""
    found, truth, at_one = (normed(d)[name, s] for d, s in (("float32", scale), ("float64", scale), ("float64", 1.0)))
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(truth), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-5 * abs(b).max() + (1e-38 if scale > 1e30 else 0))
    if scale > 1:
        np.testing.assert_allclose(truth[0], at_one[0], atol=1e-3)
        np.testing.assert_allclose(truth[1][1] * scale, at_one[1][1], atol=1e-2 * abs(at_one[1][1]).max())


def test_weights_of_any_length_are_normed(float32):
    v = np.array([[3.0, 1.0], [4.0, 1.0]], np.float32)  # ‖(3, 4)‖ = 5
    for scale in (1e-30, 1.0, 1e30):
        params = layers.WeightNormed(v * np.float32(scale), np.array([10.0, 0.0], np.float32), np.zeros(2, np.float32))
        y, _ = layers.weight_norm(2).forward(params, jnp.eye(2, dtype=jnp.float32))
        np.testing.assert_allclose(y[:, 0], [6.0, 8.0], rtol=1e-6)


def test_given_statistics_that_overflowed_are_unknown(float32):
    params, _ = bp.layers.batch_norm().init(jax.random.key(0), (2,))
    x = jnp.array([[1e30, 1.0], [-1e30, 2.0]], jnp.float32)
    statistics = layers.batch_statistics(layers.batch_norm(), params, x)
    y, _ = layers.with_statistics(layers.batch_norm(), statistics).forward(params, x)
    assert jnp.isnan(y[:, 0]).all() and jnp.isfinite(y[:, 1]).all()  # not 0, as division by ∞ would give
