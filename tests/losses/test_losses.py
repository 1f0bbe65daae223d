"""Losses: values worked out by hand, gradients against JAX and central differences."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from full_size import FULL
from oracles import central_difference, relative_error

import bpjax as bp
from bpjax.gradcheck.registry import LOSSES

ALWAYS = (
    "squared_error",
    "softmax_cross_entropy, labels",
    "binary_cross_entropy",
    "cross_entropy(0.1, ignore_index=-1)",
)
TABLE = pytest.mark.parametrize(
    "case",
    [pytest.param(c, id=name, marks=() if name in ALWAYS else pytest.mark.thorough) for name, c in LOSSES.items()],
)


def prepare(case, keys, shape=(6, 4)):
    return case.output(next(keys), shape), case.target(next(keys), shape)


@TABLE
def test_the_gradient_is_the_derivative_of_the_value(case, keys):
    output, target = prepare(case, keys)
    found = case.loss.gradient(output, target)
    total = jax.jit(lambda o: case.loss.value(o, target).sum())
    assert relative_error(found, jax.grad(total)(output)) < 1e-12
    assert relative_error(found, central_difference(total, output)) < 1e-8


@TABLE
def test_float32_agrees_with_float64(case, keys):
    output, target = map(np.asarray, bp.util.cast(prepare(case, keys), jnp.float32))
    truth = case.loss.gradient(*bp.util.cast((output, target), jnp.float64))
    with jax.enable_x64(False):
        found = case.loss.gradient(output, target)
    assert found.dtype == jnp.float32
    assert relative_error(found, truth) < 1e-5


@TABLE
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16] if FULL else [jnp.float16])
def test_half_precision_is_compared_in_float32(case, dtype, keys):
    output, target = bp.util.cast(prepare(case, keys), dtype)
    assert case.loss.value(output, target).dtype == jnp.float32
    assert case.loss.gradient(output, target).dtype == dtype


@TABLE
def test_the_reduction_is_as_declared(case, keys):
    output, target = prepare(case, keys)
    twice = jnp.concatenate([output, output]), jnp.concatenate([target, target])
    once, twice = case.loss.value(output, target), case.loss.value(*twice)
    if case.loss.reduction == "none":
        np.testing.assert_array_equal(twice, [*once, *once])
    else:
        assert float(twice) == pytest.approx((2.0 if case.loss.reduction == "sum" else 1.0) * float(once))


# o = (0.2, 0.9), t = (0, 1), one example; values from the formulas by hand
O, T = jnp.array([[0.2, 0.9]]), jnp.array([[0.0, 1.0]])
S = lambda a: 1 / (1 + math.exp(-a))
P = math.exp(0.9) / (math.exp(0.2) + math.exp(0.9))
HYPER = lambda d: (1 + d) * math.log(1 + d) + (1 - d) * math.log(1 - d)
BY_HAND = {
    "squared": (bp.squared_error, 0.5 * (0.04 + 0.01), [0.2, -0.1]),
    "mean squared": (bp.mean_squared_error, (0.04 + 0.01) / 2, [0.2, -0.1]),
    "softmax": (bp.softmax_cross_entropy, -math.log(P), [1 - P, P - 1]),
    "binary": (bp.binary_cross_entropy, -math.log(1 - S(0.2)) - math.log(S(0.9)), [S(0.2), S(0.9) - 1]),
    "huber": (bp.losses.huber(0.15), 0.15 * (0.2 - 0.075) + 0.5 * 0.01, [0.15, -0.1]),
    "absolute": (bp.losses.absolute_error, 0.2 + 0.1, [1, -1]),
    "quantile": (bp.losses.quantile(0.9), 0.1 * 0.2 + 0.9 * 0.1, [0.1, -0.9]),
    "quantiles": (bp.losses.quantile(np.array([0.5, 0.75])), 0.5 * 0.2 + 0.75 * 0.1, [0.5, -0.75]),
    # smoothed by 0.2: t′ = (0.1, 0.9); weighted by (1, 3): (0.1, 2.7), together 2.8
    "cross entropy": (
        bp.losses.cross_entropy(0.2, np.array([1.0, 3.0])),
        -0.1 * math.log(1 - P) - 2.7 * math.log(P),
        [2.8 * (1 - P) - 0.1, 2.8 * P - 2.7],
    ),
    "negative log likelihood": (bp.losses.negative_log_likelihood(np.array([1.0, 3.0])), -3 * 0.9, [0, -3]),
    "KL": (bp.losses.kl_divergence(), -0.9, [0, -1]),  # 0 ln 0 + 1 ln 1 − 0.9
    "KL of ln t": (bp.losses.kl_divergence(True), (0 - 0.2) + math.e * (1 - 0.9), [-1, -math.e]),
    "weighted binary": (
        bp.losses.weighted_binary_cross_entropy(np.array([5.0, 2.0]), 3.0),
        -3 * math.log(1 - S(0.2)) - 3 * 2 * math.log(S(0.9)),
        [3 * S(0.2), 6 * (S(0.9) - 1)],
    ),
    "multiclass hinge": (bp.losses.multiclass_hinge(), 1 - 0.9 + 0.2, [1, -1]),
    "squared hinge": (bp.losses.multiclass_hinge(2.0, "squared"), (2 - 0.9 + 0.2) ** 2, [2 * 1.3, -2 * 1.3]),
    # cos = 0.9 / ‖o‖, ∂cos/∂o = (t̂ − cos ô) / ‖o‖ = ((0, 1) − 0.9 (0.2, 0.9) / 0.85) / √0.85
    "cosine": (
        bp.losses.cosine_distance,
        1 - 0.9 / math.sqrt(0.85),
        [0.9 * 0.2 / 0.85 / math.sqrt(0.85), -(1 - 0.81 / 0.85) / math.sqrt(0.85)],
    ),
    "hyper": (bp.losses.hyper_error, HYPER(-0.2) + HYPER(0.1), [math.log(1.2 / 0.8), -math.log(1.1 / 0.9)]),
}
# fmt: skip


@pytest.mark.parametrize(("loss", "value", "gradient"), BY_HAND.values(), ids=BY_HAND)
def test_by_hand(loss, value, gradient):
    assert float(loss.value(O, T)) == pytest.approx(value, rel=1e-13)
    np.testing.assert_allclose(loss.gradient(O, T), [gradient], rtol=1e-12)


def test_labels_mean_one_hot_rows(keys):
    output, labels = jax.random.normal(next(keys), (5, 3)), jnp.array([0, 2, 1, 1, 0])
    one_hot = jnp.eye(3)[labels]
    for function in (bp.softmax_cross_entropy.value, bp.softmax_cross_entropy.gradient):
        np.testing.assert_array_equal(function(output, labels), function(output, one_hot))


@pytest.mark.parametrize("loss", [bp.softmax_cross_entropy, bp.binary_cross_entropy], ids=lambda l: l.name)
@pytest.mark.parametrize("dtype", [jnp.float64, jnp.float32, jnp.bfloat16, jnp.float16])
def test_losses_on_logits_are_finite_far_out(loss, dtype):
    output, target = jnp.array([[-1e4, 1e4], [1e4, -1e4]], dtype), jnp.array([[0, 1], [0, 1]], dtype)
    assert jnp.isfinite(loss.value(output, target))
    np.testing.assert_array_equal(loss.gradient(output, target), [[0, 0], [1, -1]])


def test_reprs_are_the_calls_that_make_the_losses():
    assert repr(bp.losses.batch_mean(bp.losses.huber(0.5))) == "batch_mean(huber(0.5))"
    assert repr(bp.losses.error_tolerance(bp.squared_error)) == "error_tolerance(squared_error, 0.1)"
    assert [repr(loss) for loss in (bp.squared_error, bp.softmax_cross_entropy)] == [
        "squared_error",
        "softmax_cross_entropy",
    ]


def test_hyper_error_beyond_its_limit():
    output = jnp.array([[0.0, 1.0, 3.0]])
    target = jnp.array([[1.0, 0.0, 0.0]])
    np.testing.assert_array_equal(bp.losses.hyper_error.gradient(output, target), [[-17.0, 17.0, 17.0]])
    np.testing.assert_array_equal(jax.grad(bp.losses.hyper_error.value)(output, target), [[-17.0, 17.0, 17.0]])


def test_huber_clips_the_error_signal():
    np.testing.assert_array_equal(
        bp.losses.huber(1.0).gradient(jnp.array([[-3.0, 0.5, 3.0]]), jnp.zeros((1, 3))), [[-1, 0.5, 1]]
    )


def test_a_traced_label_out_of_range_gives_nan(keys):
    output = jax.random.normal(next(keys), (2, 3))
    assert jnp.isnan(jax.jit(bp.softmax_cross_entropy.value)(output, jnp.array([0, 3])))
