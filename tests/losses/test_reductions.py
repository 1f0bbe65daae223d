"""Reductions: sum, mean, mean of terms and none, of losses of this library and of users."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import bpjax as bp
from bpjax.losses import Loss, batch_mean, cross_entropy, hinge, huber, reduced, squared_error
from bpjax.losses.reductions import example_contributions

# o − t = (1, 2) and (0, −4): the errors of the two examples are ½ (1 + 4) = 2.5 and ½ · 16 = 8
O, T = jnp.array([[1.0, 2.0], [3.0, 0.0]]), jnp.array([[0.0, 0.0], [3.0, 4.0]])
D = np.array([[1.0, 2.0], [0.0, -4.0]])
BY_HAND = {"sum": (10.5, D), "mean": (5.25, D / 2), "mean_of_terms": (10.5 / 4, D / 4), "none": ([2.5, 8.0], D)}


@pytest.mark.parametrize("start", ["sum", *(pytest.param(r, marks=pytest.mark.thorough) for r in list(BY_HAND)[1:])])
@pytest.mark.parametrize("reduction", BY_HAND)
def test_every_reduction_from_every_other_by_hand(start, reduction):
    loss = reduced(reduced(squared_error, start), reduction)
    value, gradient = BY_HAND[reduction]
    np.testing.assert_allclose(loss.value(O, T), value, rtol=1e-15)
    np.testing.assert_allclose(loss.gradient(O, T), gradient, rtol=1e-15)
    assert loss.reduction == reduction


def test_the_means_of_the_library_are_the_means_of_their_sums():
    mean = bp.mean_squared_error
    np.testing.assert_allclose(reduced(mean, "none").value(O, T), [2.5, 8.0])
    np.testing.assert_allclose(reduced(mean, "sum").value(O, T), 10.5)
    np.testing.assert_allclose(reduced(mean, "sum").gradient(O, T), D)
    assert reduced(mean, "mean") is mean


@pytest.mark.thorough
def test_a_mean_of_terms_counts_weighted_labels_and_no_ignored_ones():
    output, labels = jnp.log(jnp.array([[0.25, 0.75], [0.5, 0.5], [0.2, 0.8]])), jnp.array([0, -1, 1])
    loss = reduced(cross_entropy(class_weights=np.array([3.0, 1.0]), ignore_index=-1), "mean_of_terms")
    assert float(loss.value(output, labels)) == pytest.approx((3 * np.log(4) - np.log(0.8)) / 4)
    # (Σ w t) p − w t of each row, divided by 4: 3 (0.25 − 1, 0.75), 0, (0.2, −0.2)
    expected = np.array([[-2.25, 2.25], [0, 0], [0.2, -0.2]]) / 4
    np.testing.assert_allclose(loss.gradient(output, labels), expected, atol=1e-15)
    nothing = jnp.array([-1, -1, -1])
    assert float(loss.value(output, nothing)) == 0 and not loss.gradient(output, nothing).any()


@pytest.mark.thorough
def test_a_mean_of_terms_over_sequences_divides_by_the_labels_that_count(keys):
    output, labels = jax.random.normal(next(keys), (2, 3, 4)), jnp.array([[1, 2, -1], [3, -1, -1]])
    loss = reduced(cross_entropy(ignore_index=-1), "mean_of_terms")
    rows = optax.softmax_cross_entropy_with_integer_labels(output, jnp.maximum(labels, 0))
    assert float(loss.value(output, labels)) == pytest.approx(float(rows[labels >= 0].sum()) / 3)


def test_an_ignored_row_has_no_gradient_whatever_its_logits():
    output = jnp.array([[jnp.inf, jnp.nan], [0.0, 0.0]])
    for loss in (cross_entropy(ignore_index=7), bp.losses.negative_log_likelihood(ignore_index=7)):
        assert jnp.isfinite(loss.value(output, jnp.array([7, 1])))
        assert not loss.gradient(output, jnp.array([7, 1]))[0].any()


@pytest.mark.thorough
@pytest.mark.parametrize("reduction", BY_HAND)
def test_contributions_of_examples_sum_to_the_value(reduction):
    loss = reduced(cross_entropy(ignore_index=-1), reduction)
    labels = jnp.array([0, -1])
    contributions = example_contributions(loss, O, labels)
    np.testing.assert_allclose(contributions.sum(), loss.value(O, labels).sum(), rtol=1e-15)


def test_a_loss_of_a_user_is_reduced_too():
    loss = Loss("cubes", lambda o, t: jnp.sum((o - t) ** 3), lambda o, t: 3 * (o - t) ** 2)
    np.testing.assert_allclose(reduced(loss, "none").value(O, T), [9.0, -64.0])
    np.testing.assert_allclose(reduced(loss, "mean_of_terms").gradient(O, T), 3 * D**2 / 4)


@pytest.mark.thorough
def test_half_precision_stays(float32):
    loss = reduced(huber(), "mean_of_terms")
    output = O.astype(jnp.bfloat16)
    assert loss.value(output, T).dtype == jnp.float32 and loss.gradient(output, T).dtype == jnp.bfloat16


@pytest.mark.thorough
def test_the_error_of_an_epoch_is_the_mean_of_its_batches(keys):
    network = bp.dense(2)
    params, _ = network.init(next(keys), (3,))
    data = jax.random.normal(next(keys), (6, 3)), jax.random.normal(next(keys), (6, 2))
    errors = [
        bp.fit(
            bp.backprop(network, reduced(squared_error, r)), optax.sgd(0.0), params, data,
            key=next(keys), epochs=1, batch_size=2,
        ).history.error[-1]
        for r in ("sum", "mean", "mean_of_terms")
    ]  # fmt: skip
    np.testing.assert_allclose(errors, np.array([1, 1 / 6, 1 / 12]) * float(errors[0]), rtol=1e-12)


def test_bad_arguments():
    network = bp.dense(2)
    for make, message in [
        (
            lambda: bp.backprop(network, reduced(huber(), "none")),
            "`backprop` expected a loss with one value for a batch",
        ),
        (lambda: reduced(huber(), "median"), "`reduced` expected `reduction` to be one of sum, mean, "),  # type: ignore[arg-type]
        (lambda: reduced(huber, "sum"), "`reduced` expected `loss` to be a Loss"),  # type: ignore[arg-type]
        (lambda: batch_mean(reduced(huber(), "mean_of_terms")), "a mean already"),
        (lambda: cross_entropy(1.5), "`label_smoothing` to be a finite number ≥ 0 and ≤ 1"),
        (lambda: cross_entropy(class_weights=np.array([-1.0, 1])), r"array \(K,\) of finite numbers ≥ 0"),
        (
            lambda: cross_entropy(class_weights=np.ones(3)).value(O, jnp.array([0, 1])),
            "one weight for each of 2 outputs",
        ),
        (lambda: cross_entropy(ignore_index=-1).value(O, jnp.array([0, 2])), "labels from 0 to 1"),
        (lambda: cross_entropy(ignore_index=0.5), "`ignore_index` to be an integer"),  # type: ignore[arg-type]
        (lambda: bp.losses.quantile(1.0), "`q` between 0 and 1"),
        (lambda: bp.losses.quantile(np.array([0.1, 0.5, 0.9])).value(O, T), "one weight for each of 2 outputs, got 3"),
        (lambda: hinge().value(O, jnp.array([[0.0, 1.0], [1, 1]])), "targets −1 and 1"),
        (lambda: hinge(power="cubed"), "`power` to be one of linear, squared"),
        (lambda: bp.losses.triplet().value(O, T), r"outputs \(N, 3, F\), 3 vectors for each example, got \(2, 2\)"),
        (lambda: bp.losses.contrastive().value(O[:, None], jnp.ones(2)), r"outputs \(N, 2, F\)"),
        (lambda: bp.losses.contrastive().value(jnp.ones((2, 2, 3)), jnp.array([0.5, 1])), "targets 1 for pairs"),
        (
            lambda: bp.losses.contrastive().value(jnp.ones((2, 2, 3)), jnp.ones((2, 2))),
            "one target for each of 2 pairs",
        ),
    ]:
        with pytest.raises(ValueError, match=message):
            make()
