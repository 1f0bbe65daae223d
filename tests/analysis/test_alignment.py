"""Directions compared with the gradient: angles worked out by hand, and records during trainings."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import bpjax as bp
from bpjax.layers.dense import Affine

NETWORK = bp.mlp((2, 2, 1), bp.tanh)
BATCH = bp.xor().present()


def start(seed=0):
    return NETWORK.init(jax.random.key(seed), (2,))[0]


def like(first, second):
    """A pytree of the params' structure: six entries of the hidden layer and three of the output layer."""
    first, second = map(jnp.asarray, (first, second))
    return Affine(first[:4].reshape(2, 2), first[4:]), (), Affine(second[:2, None], second[2:])


def test_angle_ratio_and_signs_by_hand():
    gradient = like([1.0, 0, 0, 0, 0, 0], [3.0, -4, 0])
    found = bp.alignment(NETWORK, start(), like([2.0, 2, 0, 0, 0, 0], [-3.0, 4, 7]), gradient)
    # (1, 0) and (2, 2): 45°, √8. (3, −4, 0) and (−3, 4, 7): −25 / (5 √74), √74 / 5; no sign of the two is the same.
    np.testing.assert_allclose(found.angle, [45, np.degrees(np.arccos(-25 / (5 * np.sqrt(74))))], 1e-12)
    np.testing.assert_allclose(found.ratio, [np.sqrt(8), np.sqrt(74) / 5], 1e-12)
    np.testing.assert_array_equal(found.signs, [1.0, 0.0])


def test_the_ends_of_the_scale_are_exact():
    gradient = like([1.0, -2, 3, 0, 5, 6], [1.0, 1, 1])
    tiny = like([1.0, -2, 3, 1e-9, 5, 6], [-2.0, -2, -2])
    angle = bp.alignment(NETWORK, start(), tiny, gradient).angle
    np.testing.assert_allclose(angle, [np.degrees(1e-9 / np.sqrt(75)), 180], 1e-6)  # an arc cosine would say 0
    none = bp.alignment(NETWORK, start(), gradient, like(np.zeros(6), np.zeros(3)))
    assert all(np.isnan(numbers).all() for numbers in none)
    assert np.isnan(bp.alignment(NETWORK, start(), like(np.zeros(6), np.ones(3)), gradient).angle[0])


@pytest.mark.thorough
def test_half_precision_is_summed_wide():
    network = bp.mlp((300, 300, 1), bp.tanh)
    params = bp.util.cast(network.init(jax.random.key(0), (300,))[0], jnp.bfloat16)
    ones = jax.tree.map(jnp.ones_like, params)
    found = bp.alignment(network, params, jax.tree.map(lambda w: -2 * w, ones), ones)
    assert found.angle.dtype == jnp.float32
    np.testing.assert_allclose(found.angle, 180)
    np.testing.assert_allclose(found.ratio, 2, 1e-6)


def test_compare_reports_it_in_backward_order():
    params = start()
    rule, truth = bp.feedback_alignment(NETWORK, bp.squared_error), bp.autodiff(NETWORK, bp.squared_error)
    report = bp.compare(rule, truth, params, BATCH, key=jax.random.key(1), timed=False, show=False)
    by_rule = rule.grads(params, rule.init(jax.random.key(1), params), BATCH)[1]
    by_truth = truth.grads(params, (), BATCH)[1]
    assert [row.name for row in report.alignment] == ["dense", "dense, tanh"]
    assert report.alignment[0].angle < 1e-6 and report.alignment[0].signs == 1
    hidden = [np.concatenate([np.ravel(leaf) for leaf in tree[0]]) for tree in (by_rule, by_truth)]
    cosine = hidden[0] @ hidden[1] / np.prod([np.linalg.norm(a) for a in hidden])
    assert report.alignment[1].angle == pytest.approx(np.degrees(np.arccos(cosine)))
    assert report.alignment[1].ratio == pytest.approx(np.linalg.norm(hidden[0]) / np.linalg.norm(hidden[1]))
    assert report.alignment[1].signs == np.mean(np.sign(hidden[0]) == np.sign(hidden[1]))
    assert "same signs" in str(report) and report.to_dict()["alignment"][0]["name"] == "dense"
    right = bp.compare(truth, truth, params, BATCH, timed=False, show=False)
    assert "same signs" not in str(right) and right.alignment[1].angle == 0
    assert bp.compare(lambda w, x: 2 * w * x, jax.grad(lambda w, x: w * w * x), 1.0, 1.0, show=False).alignment == ()


@pytest.mark.thorough
def test_a_recording_changes_nothing_and_records_the_chosen_steps():
    params, key, optimizer = start(), jax.random.key(3), optax.sgd(0.5)
    plain = bp.feedback_alignment(NETWORK, bp.squared_error)
    rule = bp.analysis.recording(plain, at=(0, 3, 99))
    fit = bp.fit(rule, optimizer, params, BATCH, key=key, epochs=5)
    assert jax.tree.all(
        jax.tree.map(jnp.array_equal, fit.params, bp.fit(plain, optimizer, params, BATCH, key=key, epochs=5).params)
    )

    feedback = fit.state.rule.rule  # fixed: what it was at the start
    after = bp.fit(plain, optimizer, params, BATCH, key=key, epochs=3).params
    for row, weights in ((0, params), (1, after)):
        truth = bp.autodiff(NETWORK, bp.squared_error).grads(weights, (), BATCH)[1]
        want = bp.alignment(NETWORK, weights, plain.grads(weights, feedback, BATCH)[1], truth)
        for recorded, expected in zip(fit.state.rule.record, want, strict=True):
            np.testing.assert_allclose(recorded[row], expected, 1e-9, 1e-12)  # an angle of 0 up to rounding
    assert all(np.isnan(numbers[2]).all() for numbers in fit.state.rule.record)  # not reached


@pytest.mark.thorough
def test_a_sweep_stores_recordings():
    def trial(key, learning_rate):
        params, _ = NETWORK.init(key, (2,))
        rule = bp.analysis.recording(bp.rules.direct_feedback(NETWORK, bp.squared_error), at=range(3))
        keep = lambda run: run.state.rule.record._asdict()
        return bp.trial(rule, optax.sgd(learning_rate), params, BATCH, key=key, epochs=4, outcome=keep)

    result = bp.sweep(trial, {"learning_rate": [0.1, 0.2], "seed": range(3)}, key=jax.random.key(0))
    assert result.angle.shape == (2, 3, 3, 2)
    assert result.angle.values[..., 0].min() > 1 and result.angle.values[..., 1].max() < 1e-4
    np.testing.assert_allclose(result.angle[0, :, 0], result.angle[1, :, 0], 1e-4)  # before the first change


def test_bad_input():
    rule = bp.backprop(NETWORK, bp.squared_error)
    with pytest.raises(ValueError, match="expected `at`"):
        bp.analysis.recording(rule, at=[])
    with pytest.raises(ValueError, match="`recording` expected `at`.* got -1"):
        bp.analysis.recording(rule, at=[-1])
    with pytest.raises(ValueError, match="a rule that names what it was made from"):
        bp.analysis.recording(rule._replace(network=None), at=[1])
