"""CTC against the sum over all paths, closed forms, and numbers of PyTorch."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bpjax.losses import ctc, reduced

T, K = 5, 4


def labels_of(path, blank):
    """What a path reads: without repetitions, then without blanks."""
    return [k for k, _ in itertools.groupby(path) if k != blank]


def by_paths(logits, labels, blank=0):
    """(−ln P, softmax − posterior) of one example, summed over all K^T paths in NumPy."""
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    times, classes = logits.shape
    total, posterior = 0.0, np.zeros_like(p)
    for path in itertools.product(range(classes), repeat=times):
        if labels_of(path, blank) == list(labels):
            probability = np.prod(p[np.arange(times), path])
            total += probability
            posterior[np.arange(times), path] += probability
    return -np.log(total), p - posterior / total


@functools.partial(jax.jit, static_argnums=0)
def run(loss, logits, target):
    """The error of each example, and the gradient."""
    return reduced(loss, "none").value(logits, target), loss.gradient(logits, target)


by_jax = jax.jit(lambda loss, logits, target: jax.grad(lambda o: loss.value(o, target))(logits), static_argnums=0)


LABELS = np.array([[1, 2, -1], [2, 2, -1], [1, 2, 3], [3, 3, 3], [1, -1, -1], [-1, -1, -1], [1, 1, 2]])


@pytest.mark.thorough
def test_value_and_gradient_are_the_sum_over_all_paths(keys):
    logits = np.asarray(jax.random.normal(next(keys), (len(LABELS), T, K)))
    expected = [by_paths(o, row[row >= 0]) for o, row in zip(logits, LABELS, strict=True)]
    errors, gradient = run(ctc(), logits, LABELS)
    np.testing.assert_allclose(errors, [value for value, _ in expected], rtol=1e-13)
    np.testing.assert_allclose(gradient, [g for _, g in expected], atol=1e-14)
    np.testing.assert_allclose(by_jax(ctc(), logits, LABELS), gradient, atol=1e-14)


@pytest.mark.thorough
def test_another_blank_and_other_numbers_of_times(keys):
    logits = np.asarray(jax.random.normal(next(keys), (3, T, K)))
    target = np.array([[5, 0, 1], [3, 1, 1], [2, 2, -1]])  # frames, labels
    errors, gradient = run(ctc(blank=3, with_frames=True), logits, target)
    for n, (frames, *labels) in enumerate(target):
        value, expected = by_paths(logits[n, :frames], [k for k in labels if k >= 0], blank=3)
        assert float(errors[n]) == pytest.approx(value)
        np.testing.assert_allclose(gradient[n, :frames], expected, atol=1e-14)
        assert not gradient[n, frames:].any()


def test_by_hand():
    """Two times, p = ½ for the blank and ½ for class 1: P("1") = ¾, and three of four paths read so."""
    errors, gradient = run(ctc(), np.zeros((1, 2, 2)), np.array([[1]]))
    assert float(errors[0]) == pytest.approx(-np.log(0.75))
    np.testing.assert_allclose(gradient[0], [[0.5 - 1 / 3, 0.5 - 2 / 3]] * 2)


@pytest.mark.parametrize("zero_infinity", [False, pytest.param(True, marks=pytest.mark.thorough)])
def test_impossible_labels_add_infinity_and_have_no_gradient(zero_infinity, keys):
    logits, target = np.asarray(jax.random.normal(next(keys), (3, 3, K))), np.array([[1, 1, -1], [1, 1, 2], [2, 2, 2]])
    loss = ctc(zero_infinity=zero_infinity)
    errors, gradient = run(loss, logits, target)
    value, expected = by_paths(logits[0], [1, 1])
    np.testing.assert_allclose(errors, [value, *[0 if zero_infinity else np.inf] * 2])
    np.testing.assert_allclose(gradient[0], expected, atol=1e-14)
    np.testing.assert_array_equal(gradient[1:], 0)
    np.testing.assert_allclose(by_jax(loss, logits, target), gradient, atol=1e-14)


@pytest.mark.thorough
def test_long_sequences_neither_underflow_nor_lose_digits(float32, keys):
    logits = 30 * jax.random.normal(next(keys), (2, 400, 6), jnp.float32)
    target = np.asarray(jax.random.randint(next(keys), (2, 60), 1, 6))
    errors, gradient = run(ctc(), logits, target)
    with jax.enable_x64(True):
        true_errors, truth = run(ctc(), logits.astype(jnp.float64), target)
    np.testing.assert_allclose(errors, true_errors, rtol=1e-5)
    np.testing.assert_allclose(gradient, truth, atol=2e-4)
    np.testing.assert_allclose(gradient.sum(axis=2), 0, atol=1e-4)  # softmax and posterior both sum to 1


@pytest.mark.thorough
def test_a_logit_of_minus_infinity_rules_a_class_out(keys):
    logits = jax.random.normal(next(keys), (2, T, K)).at[:, :, 3].set(-jnp.inf)
    errors, gradient = run(ctc(), logits, np.array([[1, 2], [3, 2]]))
    assert jnp.isfinite(errors[0]) and errors[1] == jnp.inf and jnp.isfinite(gradient).all()


@pytest.mark.thorough
def test_a_traced_label_out_of_range_gives_nan(keys):
    logits = jax.random.normal(next(keys), (2, T, K))
    errors, gradient = run(ctc(), logits, np.array([[1], [9]]))
    assert jnp.isnan(errors[1]) and jnp.isnan(gradient[1]).all()
    assert jnp.isfinite(errors[0]) and jnp.isfinite(gradient[0]).all()


def test_bad_targets():
    logits = np.zeros((2, T, K))
    for loss, target, message in [
        (ctc(), np.array([[1], [4]]), "labels from 0 to 3 other than the blank 0, got 4"),
        (ctc(), np.array([[1], [0]]), "other than the blank 0, got 0"),
        (ctc(), np.array([[-1, 2], [1, 1]]), "padding −1 after all labels"),
        (ctc(), np.array([1, 2]), r"integer targets \(N, U\), labels, padded by −1, got \(2,\)"),
        (ctc(), np.array([[1.0], [2.0]]), "integer targets"),
        (ctc(with_frames=True), np.array([[6, 1], [5, 1]]), "1 to 5 times for each example, got 5 … 6"),
        (ctc(blank=4), np.array([[1], [2]]), r"outputs \(N, T, K\) with the blank 4 below K"),
    ]:
        with pytest.raises(ValueError, match=message):
            loss.value(logits, target)
