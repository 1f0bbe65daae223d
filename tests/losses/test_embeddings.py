"""Losses of pairs and triplets: by hand, and where distances or cosines have no derivative."""

import jax.numpy as jnp
import numpy as np
import pytest

from bpjax.losses import contrastive, cosine_distance, cosine_embedding, hinge, multiclass_hinge, triplet

A, B, C = np.array([0.0, 0.0]), np.array([3.0, 4.0]), np.array([0.0, 2.0])  # ‖A − B‖ = 5, ‖A − C‖ = 2, ‖B − C‖ = √13


def test_contrastive_by_hand():
    pairs, same = jnp.array([[A, B], [A, C], [A, B]]), jnp.array([1, 0, 0])
    loss = contrastive(margin=3.0)
    assert float(loss.value(pairs, same)) == pytest.approx(0.5 * 25 + 0.5 * (3 - 2) ** 2)
    # together: a − b; apart and nearer than the margin: −(3 − 2) (a − c) / 2 = (0, 1); beyond it: 0
    np.testing.assert_allclose(loss.gradient(pairs, same)[:, 0], [[-3, -4], [0, 1], [0, 0]])
    np.testing.assert_allclose(loss.gradient(pairs, same)[:, 1], [[3, 4], [0, -1], [0, 0]])


def test_triplet_by_hand():
    triplets = jnp.array([[A, B, C], [A, C, B]])
    loss = triplet(margin=1.0)
    assert float(loss.value(triplets, jnp.zeros(2))) == pytest.approx(1 + 5 - 2)  # the second: 1 + 2 − 5 < 0
    # û_ap = (a − p) / 5 = (−0.6, −0.8), û_an = (0, −1)
    expected = [[[-0.6, 0.2], [0.6, 0.8], [0, -1]], np.zeros((3, 2))]
    np.testing.assert_allclose(loss.gradient(triplets, jnp.zeros(2)), expected, atol=1e-15)
    # with `swap` the distance p to n counts where it is the smaller one: √2 < 2 for p = (1, 1)
    near = jnp.array([[A, [1.0, 1.0], C]])
    assert float(triplet(swap=True).value(near, jnp.zeros(1))) == pytest.approx(1 + np.sqrt(2) - np.sqrt(2))


def test_cosine_embedding_by_hand():
    pairs = jnp.array([[[1.0, 0.0], B / 5]] * 2)  # cos = 0.6
    loss = cosine_embedding(margin=0.5)
    assert float(loss.value(pairs, jnp.array([1, -1]))) == pytest.approx((1 - 0.6) + (0.6 - 0.5))
    # ∂cos/∂a = b̂ − 0.6 â = (0, 0.8)
    np.testing.assert_allclose(loss.gradient(pairs, jnp.array([1, -1]))[:, 0], [[0, -0.8], [0, 0.8]], atol=1e-15)


def test_gradients_are_finite_where_distances_and_norms_are_0():
    zeros = jnp.zeros((2, 3, 4))
    for loss, target in [(contrastive(), [1, 0]), (cosine_embedding(), [1, 0])]:
        assert not loss.gradient(zeros[:, :2], jnp.array(target)).any()
    assert not triplet().gradient(zeros, jnp.zeros(2)).any()
    assert float(triplet().value(zeros, jnp.zeros(2))) == 2.0
    assert not cosine_distance.gradient(zeros[:, 0], jnp.ones((2, 4))).any()
    assert float(cosine_distance.value(zeros[:, 0], jnp.ones((2, 4)))) == 2.0


def test_hinge_by_hand():
    output, target = jnp.array([[0.5, -2.0, 3.0]]), jnp.array([[1, 1, -1]])
    assert float(hinge().value(output, target)) == 0.5 + 3 + 4
    np.testing.assert_array_equal(hinge().gradient(output, target), [[-1, -1, 1]])
    np.testing.assert_array_equal(hinge(power="squared").gradient(output, target), [[-1, -6, 8]])
    np.testing.assert_array_equal(hinge().gradient(jnp.array([[1.0]]), jnp.array([1])), [[0.0]])  # at the margin


def test_multiclass_hinge_with_weights_of_classes():
    output, weights = jnp.array([[1.0, 0.5, -3.0], [0.0, 0.0, 0.0]]), np.array([2.0, 1.0, 3.0])
    loss = multiclass_hinge(class_weights=weights)
    assert float(loss.value(output, jnp.array([0, 2]))) == 2 * 0.5 + 3 * 2
    np.testing.assert_array_equal(loss.gradient(output, jnp.array([0, 2])), [[-2, 2, 0], [3, 3, -6]])
