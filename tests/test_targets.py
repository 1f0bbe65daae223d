"""Targets in every form, and logits that rule classes out, against optax and values worked out by hand."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import bpjax as bp
from bpjax.util.targets import rows_of

SOFTMAX, BINARY = bp.softmax_cross_entropy, bp.binary_cross_entropy
INF, NAN = jnp.inf, jnp.nan
O = jnp.array([[0.5, -1.0, 2.0], [0.0, 1.0, -0.3]])
LABELS = [2, 1]
ONE_HOT = np.eye(3)[LABELS]

CLASSES = {
    **{dtype: np.array(LABELS, dtype) for dtype in ("int8", "uint8", "int32", "uint32", "int64", "uint64")},
    "a list": LABELS,
    "one-hot": ONE_HOT,
    "one-hot integers": ONE_HOT.astype(int),
    "one-hot booleans": ONE_HOT.astype(bool),
}


@pytest.mark.parametrize("name", CLASSES)
def test_classes_in_every_form(name):
    for function in (SOFTMAX.value, SOFTMAX.gradient):
        np.testing.assert_allclose(function(O, CLASSES[name]), function(O, jnp.array(LABELS)), rtol=1e-15)
    expected = optax.softmax_cross_entropy_with_integer_labels(O, jnp.array(LABELS)).sum()
    assert float(SOFTMAX.value(O, CLASSES[name])) == pytest.approx(float(expected), rel=1e-14)


def test_booleans_are_the_labels_of_two_classes():
    o = O[:, :2]
    assert SOFTMAX.value(o, np.array([True, False])) == SOFTMAX.value(o, np.array([1, 0]))


Z, BITS = jnp.array([[0.7], [-1.2], [3.0]]), np.array([[1], [0], [0]])
BINARY_TARGETS = {
    "floats": BITS.astype(float), "integers": BITS, "booleans": BITS.astype(bool), "int8": BITS.astype("int8"),
    "labels (N,)": BITS[:, 0], "floats (N,)": BITS[:, 0].astype(float), "a list": BITS.tolist(),
    "float32": BITS.astype("float32"), "rounded beyond 1": BITS * (1 + 2e-16),
}  # fmt: skip


@pytest.mark.parametrize("name", BINARY_TARGETS)
def test_binary_targets_in_every_form(name):
    # −ln σ(0.7) − ln σ(1.2) − ln σ(−3), σ(o) − t
    s = lambda a: 1 / (1 + math.exp(-a))
    value = -math.log(s(0.7)) - math.log(s(1.2)) - math.log(s(-3.0))
    target = BINARY_TARGETS[name]
    for call in (lambda f: f(Z, target), lambda f: jax.jit(f)(Z, jnp.asarray(target))):
        assert float(call(BINARY.value)) == pytest.approx(value, rel=1e-13)
        np.testing.assert_allclose(call(BINARY.gradient).ravel(), [s(0.7) - 1, s(-1.2), s(3.0)], rtol=1e-13)
    expected = optax.sigmoid_binary_cross_entropy(Z, jnp.asarray(BITS, float)).sum()
    assert float(BINARY.value(Z, target)) == pytest.approx(float(expected), rel=1e-14)


def test_binary_labels_train():
    x = jnp.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    network = bp.mlp((2, 1))
    params, _ = network.init(jax.random.key(0), (2,))
    rule, data = bp.backprop(network, BINARY), (x, np.array([0, 1, 1, 1]))
    assert bp.fit(rule, optax.sgd(1.0), params, data, key=jax.random.key(1), epochs=300).history.error[-1] < 0.2
    np.testing.assert_array_equal(rows_of(np.array([0, 1]), jnp.zeros((2, 1))), [[0], [1]])


REFUSED = {
    "a label too large": (SOFTMAX, O, np.array([0, 3]), r"from 0 to 2 for 3 outputs, got 3 at index 1.*as many"),
    "an ignored label": (SOFTMAX, O, np.array([-1, 0]), r"got -1 at index 0 .*leave examples out"),
    "a label that would wrap": (SOFTMAX, O, np.array([2**32, 0]), r"got 4294967296 at index 0"),
    "floats as labels": (SOFTMAX, O, np.array([0.0, 1.0]), r"output's shape \(2, 3\), got \(2,\).*integers"),
    "rows of another width": (SOFTMAX, O, np.eye(4)[:2], r"output's shape \(2, 3\), got \(2, 4\)"),
    "integer rows of another width": (SOFTMAX, O, np.eye(4, dtype=int)[:2], r"integer labels of shape \(N,\)"),
    "integer rows that are not one-hot": (SOFTMAX, O, np.array([[0, 2, 1]] * 2), r"rows of 0 and 1"),
    "−1 and 1": (BINARY, Z, np.array([[1], [-1], [1]]), r"got -1 at index \(1, 0\) \(1 of 3.*\(target \+ 1\) / 2"),
    "above 1": (BINARY, Z, np.array([[0.5], [0.0], [1.01]]), r"got 1.01 at index \(2, 0\)"),
    "an infinite target": (BINARY, Z, np.array([[0.5], [0.0], [np.inf]]), r"got inf"),
    "labels of classes": (BINARY, O, np.array([0, 2]), r"use `softmax_cross_entropy`"),
    "squared error of (N,)": (bp.squared_error, Z, np.array([0.0, 1.0, 1.0]), r"shape \(3, 1\), got \(3,\)"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused_where_the_values_are_known(name):
    loss, output, target, sentence = REFUSED[name]
    for function in (loss.value, loss.gradient, bp.losses.batch_mean(loss).value):
        with pytest.raises(ValueError, match=sentence):
            function(output, target)


@pytest.mark.parametrize("name", ["an ignored label", "a label that would wrap", "−1 and 1", "above 1"])
def test_refused_before_a_training(name):
    loss, output, target, sentence = REFUSED[name]
    network = bp.dense(output.shape[1])
    with pytest.raises(ValueError, match=sentence.split(r"\(1 of")[0]):
        bp.fit(bp.backprop(network, loss), optax.sgd(0.1), network.init(jax.random.key(0), output.shape[1:])[0],
               (output, target), key=jax.random.key(1), epochs=1)  # fmt: skip


@pytest.mark.parametrize("name", ["a label too large", "an ignored label", "−1 and 1", "above 1",
                                  "a label that would wrap", "integer rows that are not one-hot"])  # fmt: skip
def test_traced_values_out_of_range_give_nan(name):
    loss, output, target, _ = REFUSED[name]
    value, gradient = jax.jit(lambda o, t: (loss.value(o, t), loss.gradient(o, t)))(output, jnp.asarray(target))
    assert jnp.isnan(value) and jnp.isnan(gradient).any()


# --- Logits at the edges ---------------------------------------------------------------------------------------------

# rows of logits, weights, the error, the gradient: by hand; e is exp(1)
E1 = math.e
P = np.array([1 / (1 + E1), E1 / (1 + E1)])  # softmax of (0, 1)
EDGES = {
    "a class ruled out": ([-INF, 0, 1], [0, 1, 0], -math.log(P[0]), [0, P[0] - 1, P[1]]),
    "all but the target": ([-INF, 5, -INF], [0, 1, 0], 0, [0, 0, 0]),
    "the target": ([-INF, 0, 1], [1, 0, 0], INF, [-1, P[0], P[1]]),
    "soft": ([-INF, 0, 1], [0, 0.5, 0.5], -0.5 * math.log(P[0] * P[1]), [0, P[0] - 0.5, P[1] - 0.5]),
    "no weight": ([-INF, 0, 1], [0, 0, 0], 0, [0, 0, 0]),
    "huge": ([-1e30, 0, 1e30], [0, 0, 1], 0, [0, 0, 0]),
    "huge and wrong": ([0, 0, 1e30], [1, 0, 0], 1e30, [-1, 0, 1]),
    "nothing left": ([-INF, -INF, -INF], [0, 1, 0], NAN, [NAN] * 3),
    "infinite": ([INF, 0, 1], [1, 0, 0], NAN, [NAN] * 3),
    "NaN": ([NAN, 0, 1], [0, 1, 0], NAN, [NAN] * 3),
}


BINARY_EDGES = {  # logit, target, error, gradient
    "0 ruled out": (INF, 1, 0, 0), "1 ruled out": (-INF, 0, 0, 0), "wrong, ∞": (INF, 0, INF, 1),
    "wrong, −∞": (-INF, 1, INF, -1), "soft, ∞": (INF, 0.5, INF, 0.5), "huge": (1e30, 1, 0, 0),
    "huge and wrong": (-1e30, 1, 1e30, -1), "small error": (40, 1, math.log1p(math.exp(-40)), -math.exp(-40)),
    "NaN": (NAN, 1, NAN, NAN),
}  # fmt: skip


def at(loss, edges, dtype):
    """{case: (value, gradient, gradient by JAX)} of all cases, in one program."""
    o, t = (jnp.array([np.atleast_1d(case[i])[None] for case in edges.values()], dtype) for i in (0, 1))
    every = lambda o, t: (loss.value(o, t), loss.gradient(o, t), jax.grad(loss.value)(o, t))
    return dict(zip(edges, zip(*jax.jit(jax.vmap(every))(o, t), strict=True), strict=True))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("loss", "edges"), [(SOFTMAX, EDGES), (BINARY, BINARY_EDGES)], ids=["softmax", "binary"])
def test_logits_at_the_edges(loss, edges, dtype):
    for name, (value, gradient, by_jax) in at(loss, edges, dtype).items():
        _, _, expected, slope = edges[name]
        np.testing.assert_allclose(value, expected, rtol=1e-6, atol=1e-30, err_msg=name)
        np.testing.assert_allclose(gradient[0], np.atleast_1d(slope), rtol=1e-6, atol=1e-7, err_msg=name)
        if np.isfinite(expected):
            np.testing.assert_allclose(by_jax, gradient, rtol=1e-6, atol=1e-7, err_msg=name)


def test_logits_at_the_edges_as_optax():
    rows = {name: case for name, case in EDGES.items() if sum(case[1]) == max(case[1]) == 1 and name != "NaN"}
    o, labels = jnp.array([case[0] for case in rows.values()]), np.array([np.argmax(c[1]) for c in rows.values()])
    ours = [SOFTMAX.value(o[i : i + 1], labels[i : i + 1]) for i in range(len(rows))]
    np.testing.assert_allclose(ours, optax.softmax_cross_entropy_with_integer_labels(o, labels), rtol=1e-14)


def test_targets_that_are_probabilities_pass_the_check():
    """Rows of floating-point weights are no labels: `fit` and `compare` take them."""
    network = bp.mlp((2, 3, 3))
    params, _ = network.init(jax.random.key(0), (2,))
    batch = jnp.ones((4, 2)), jnp.full((4, 3), 1 / 3)
    rule = bp.backprop(network, bp.softmax_cross_entropy)
    fitted = bp.fit(rule, bp.momentum(0.1), params, batch, key=jax.random.key(1), epochs=2)
    assert fitted.epochs == 2
