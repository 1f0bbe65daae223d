"""Activations against formulas of Python's math, at their kinks, far out and in half precision; gated units, prelu."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from passes import quick_jit, run

import bpjax as bp
from bpjax import layers
from bpjax.gradcheck.cases.activations import ELEMENTWISE

E, S, TANH = math.exp, lambda a: 1 / (1 + math.exp(-a)), math.tanh
CLIP = lambda a, low, high: min(max(a, low), high)
P = lambda a: math.tanh(math.log1p(math.exp(a)))
SCALE, ALPHA = 1.0507009873554805, 1.6732632423543772
BY_HAND = {  # φ and φ′
    "log_sigmoid": (lambda a: -math.log(1 + E(-a)), lambda a: 1 - S(a)),
    "softsign": (lambda a: a / (1 + abs(a)), lambda a: 1 / (1 + abs(a)) ** 2),
    "tanhshrink": (lambda a: a - TANH(a), lambda a: TANH(a) ** 2),
    "relu6": (lambda a: CLIP(a, 0, 6), lambda a: float(0 < a < 6)),
    "hardtanh(-0.5, 0.7)": (lambda a: CLIP(a, -0.5, 0.7), lambda a: float(-0.5 < a < 0.7)),
    "hardsigmoid": (lambda a: CLIP(a / 6 + 0.5, 0, 1), lambda a: float(-3 < a < 3) / 6),
    "hardswish": (
        lambda a: a * CLIP(a / 6 + 0.5, 0, 1),
        lambda a: 0.0 if a < -3 else 1.0 if a > 3 else a / 3 + 0.5,
    ),
    "softshrink(0.4)": (lambda a: math.copysign(max(abs(a) - 0.4, 0), a), lambda a: float(abs(a) > 0.4)),
    "hardshrink(0.4)": (lambda a: a if abs(a) > 0.4 else 0.0, lambda a: float(abs(a) > 0.4)),
    "threshold(0.3, 2.0)": (lambda a: a if a > 0.3 else 2.0, lambda a: float(a > 0.3)),
    "celu(0.7)": (lambda a: a if a > 0 else 0.7 * (E(a / 0.7) - 1), lambda a: 1.0 if a > 0 else E(a / 0.7)),
    "selu": (
        lambda a: SCALE * (a if a > 0 else ALPHA * (E(a) - 1)),
        lambda a: SCALE * (1.0 if a > 0 else ALPHA * E(a)),
    ),
    "mish": (lambda a: a * P(a), lambda a: P(a) + a * (1 - P(a) ** 2) * S(a)),
}
POINTS = (-7.0, -2.5, -0.6, -0.2, 0.2, 0.6, 2.5, 7.0)
FAR_OUT = (-math.inf, -1e4, -88.0, -20.0, 0.0, 20.0, 88.0, 1e4, math.inf, math.nan)
DTYPES = ("float64", "float32", "bfloat16", "float16")


@functools.cache
def at(points, dtype):
    """y and φ′ of every activation at some points, in one program."""
    a = jnp.asarray(points, dtype)[None]
    both = lambda a: {name: run(layer, (), a, jnp.ones_like(a)) for name, layer in ELEMENTWISE.items()}
    return jax.tree.map(lambda y: y[0], quick_jit(both)(a))


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_values_and_slopes_by_hand(name):
    y, (_, da) = at(POINTS, "float64")[name]
    phi, slope = BY_HAND[name]
    np.testing.assert_allclose(y, [phi(a) for a in POINTS], rtol=1e-12)
    np.testing.assert_allclose(da, [slope(a) for a in POINTS], rtol=1e-11)


KINKS = {  # a and the documented φ′, the one of PyTorch 2.13
    "relu6": {0.0: 0.0, 6.0: 0.0},
    "hardtanh(-0.5, 0.7)": {-0.5: 0.0, 0.7: 0.0},
    "hardsigmoid": {-3.0: 0.0, 3.0: 0.0},
    "hardswish": {-3.0: 0.0, 3.0: 1.0},
    "softshrink(0.4)": {-0.4: 0.0, 0.4: 0.0},
    "hardshrink(0.4)": {-0.4: 0.0, 0.4: 0.0},
    "threshold(0.3, 2.0)": {0.3: 0.0},
    "celu(0.7)": {0.0: 1.0},
    "selu": {0.0: 1.7580993408473766},  # s c
}
AT_KINKS = tuple(sorted({a for slopes in KINKS.values() for a in slopes}))


@pytest.mark.parametrize("name", KINKS)
def test_the_slope_at_a_kink_is_the_documented_one(name):
    _, (_, da) = at(AT_KINKS, "float64")[name]
    found = dict(zip(AT_KINKS, da.tolist(), strict=True))
    assert {a: found[a] for a in KINKS[name]} == pytest.approx(KINKS[name], abs=0, rel=1e-15)


LIMITS = {  # y and φ′ at −∞ and at ∞
    "log_sigmoid": (-math.inf, 1, 0, 0), "softsign": (-1, 0, 1, 0), "tanhshrink": (-math.inf, 1, math.inf, 1),
    "relu6": (0, 0, 6, 0), "hardtanh(-0.5, 0.7)": (-0.5, 0, 0.7, 0), "hardsigmoid": (0, 0, 1, 0),
    "hardswish": (0, 0, math.inf, 1), "softshrink(0.4)": (-math.inf, 1, math.inf, 1),
    "hardshrink(0.4)": (-math.inf, 1, math.inf, 1), "threshold(0.3, 2.0)": (2, 0, math.inf, 1),
    "celu(0.7)": (-0.7, 0, math.inf, 1), "selu": (-SCALE * ALPHA, 0, math.inf, SCALE), "mish": (0, 0, math.inf, 1),
}  # fmt: skip


@pytest.mark.parametrize("dtype", [DTYPES[0], *(pytest.param(d, marks=pytest.mark.thorough) for d in DTYPES[1:])])
def test_far_out_in_every_dtype(dtype):
    for name, (y, (_, da)) in at(FAR_OUT, dtype).items():
        assert y.dtype == da.dtype == dtype, name
        assert jnp.isfinite(y[1:-2]).all() and jnp.isfinite(da[1:-2]).all(), name
        assert jnp.isnan(y[-1]) and jnp.isnan(da[-1]), name
        low, low_slope, high, high_slope = LIMITS[name]
        digits = 4 * float(jnp.finfo(dtype).eps)
        np.testing.assert_allclose(np.asarray(y[jnp.array([0, 8])], float), [low, high], rtol=digits, err_msg=name)
        np.testing.assert_allclose(
            np.asarray(da[jnp.array([0, 8])], float), [low_slope, high_slope], rtol=digits, err_msg=name
        )


@pytest.mark.thorough
@pytest.mark.parametrize("dtype", DTYPES[2:])
@pytest.mark.parametrize("name", ELEMENTWISE)
def test_half_precision_is_rounded_once(name, dtype):
    """In half precision y and φ′ are those of float64 at the same points, up to their own rounding."""
    points = tuple(np.asarray(jnp.linspace(-6, 6, 49).astype(dtype), np.float64).tolist())
    (y, (_, da)), (exact, (_, slope)) = at(points, dtype)[name], at(points, "float64")[name]
    half = float(jnp.finfo(dtype).eps) / 2
    np.testing.assert_allclose(np.asarray(y, float), exact, rtol=1.05 * half, atol=1e-6)
    where = ~np.isin(points, AT_KINKS)
    np.testing.assert_allclose(np.asarray(da, float)[where], slope[where], rtol=1.05 * half, atol=1e-6)


def test_log_softmax_by_hand():
    # a = (0, ln 3): eʸ = (1/4, 3/4); dy = (1, 2): da = dy − eʸ Σ dy = (1 − 3/4, 2 − 9/4)
    a = jnp.array([[0.0, math.log(3.0)]])
    y, (_, da) = run(layers.log_softmax, (), a, jnp.array([[1.0, 2.0]]))
    np.testing.assert_allclose(y, [[-math.log(4.0), math.log(0.75)]], rtol=1e-14)
    np.testing.assert_allclose(da, [[0.25, -0.25]], rtol=1e-13)


def test_gated_units_by_hand():
    # a = 2, b = 0, dy = 3.  glu: φ = 1/2, φ′ = 1/4: y = 1, da = 3/2, db = 3 · 2 / 4
    # swiglu: φ(0) = 0, φ′(0) = 1/2: y = 0, da = 0, db = 3;  geglu: the same;  reglu at b = 0: φ′ = 0
    x, dy = jnp.array([[2.0, 0.0]]), jnp.array([[3.0]])
    expected = {"glu": (1.0, [1.5, 1.5]), "swiglu": (0.0, [0, 3]), "geglu": (0.0, [0, 3]), "reglu": (0.0, [0, 0])}
    for name, (y_expected, dx_expected) in expected.items():
        y, (_, dx) = run(getattr(layers, name), (), x, dy)
        assert float(y[0, 0]) == y_expected
        np.testing.assert_allclose(dx[0], dx_expected, rtol=1e-14)
    y, (_, dx) = run(layers.gated(layers.identity), (), jnp.array([[2.0, 5.0]]), dy)
    assert (float(y[0, 0]), dx.tolist()) == (10.0, [[15.0, 6.0]])


def test_prelu_by_hand():
    # x = (−2, 0, 3), s = 1/4, dy = (1, 10, 100): y = (−1/2, 0, 3), ds = −2 + 0, dx = (1/4, 10/4, 100)
    x, dy = jnp.array([[-2.0, 0.0, 3.0]]), jnp.array([[1.0, 10.0, 100.0]])
    params, _ = layers.prelu().init(jax.random.key(0), (3,))
    y, (dparams, dx) = run(layers.prelu(), params, x, dy)
    assert (y.tolist(), dparams.slope.tolist(), dx.tolist()) == ([[-0.5, 0, 3]], [-2.0], [[0.25, 2.5, 100]])
    each = layers.Slopes(jnp.array([0.5, 2.0, 3.0]))
    y, (dparams, dx) = run(layers.prelu(per_channel=True), each, x, dy)
    assert (y.tolist(), dparams.slope.tolist(), dx.tolist()) == ([[-1, 0, 3]], [-2, 0, 0], [[0.5, 20, 100]])


def test_prelu_of_an_empty_batch():
    x = jnp.zeros((0, 3))
    for layer in (layers.prelu(), layers.prelu(per_channel=True)):
        params, _ = layer.init(jax.random.key(0), (3,))
        _, (dparams, dx) = run(layer, params, x, x)
        assert dx.shape == (0, 3) and not dparams.slope.any()


def test_repr_is_the_call():
    assert repr(layers.gated(bp.tanh)) == "gated(tanh)" and repr(layers.swiglu) == "swiglu"
    assert (
        repr(layers.hardtanh(high=2.0)) == "hardtanh(-1.0, 2.0)" and repr(layers.threshold(0, 1)) == "threshold(0, 1)"
    )
    assert repr(layers.prelu(per_channel=True)) == "prelu(per_channel=True)"


BAD = {
    "`hardtanh` expected `high` to be a finite number > 1": lambda: layers.hardtanh(1.0, 0.0),
    "`softshrink` expected `threshold`": lambda: layers.softshrink(-1.0),
    "`celu` expected `scale`": lambda: layers.celu(0.0),
    "`threshold` expected `value`": lambda: layers.threshold(0.0, math.nan),
    "an even number of features": lambda: layers.glu.init(jax.random.key(0), (3,)),
    r"an even number of features in the last axis, values and gates, got shape \(3,\)": lambda: layers.glu.forward(
        (), jnp.ones((1, 3))
    ),
    "`gated` expected an activation": lambda: layers.gated(bp.dense(3)),
    r"`prelu` expected params Slopes\(slope=\(1,\)\)": lambda: layers.prelu().forward((), jnp.ones((1, 3))),
    "in the dtype of its weights": lambda: layers.prelu().forward(layers.Slopes(jnp.ones(1)), jnp.ones(3, "float32")),
}


@pytest.mark.parametrize("message", BAD)
def test_bad_arguments(message):
    with pytest.raises(ValueError, match=message):
        BAD[message]()
