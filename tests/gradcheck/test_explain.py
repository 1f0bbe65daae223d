"""A wrong gradient is explained by the mistake in it, at the line of the forward pass."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bpjax.gradcheck.explain import explain
from bpjax.gradcheck.subject import subject_of

KEYS = jax.random.split(jax.random.key(0), 4)


def explanation(function, gradient, arguments):
    """The explanation of `gradient`, or None."""
    subject = subject_of(function, arguments, {}, gradient)
    one = [np.ones(())]
    computed = subject.pull_back(subject.arrays, one)
    truth = jax.grad(lambda *a: subject.function(*a)[0], range(len(computed)))(*subject.arrays)
    return explain(subject, [one], [computed], [[np.asarray(g) for g in truth]])


def explained(function, gradient, arguments):
    """The explanation, which there must be."""
    found = explanation(function, gradient, arguments)
    assert found is not None
    return found


def normal(k, *shape):
    return jax.random.normal(KEYS[k], shape)


def layer_norm(x, gain):
    mean = jnp.mean(x, axis=-1, keepdims=True)
    centred = x - mean
    variance = jnp.mean(centred**2, axis=-1, keepdims=True)
    inverse = jax.lax.rsqrt(variance + 1e-5)
    return jnp.sum(jnp.sin(centred * inverse * gain[None]))


def of_layer_norm(x, gain, mean=1.0, variance=1.0, transposed=False):
    centred = x - jnp.mean(x, -1, keepdims=True)
    inverse = jax.lax.rsqrt(jnp.mean(centred**2, -1, keepdims=True) + 1e-5)
    hat = centred * inverse
    dy = jnp.cos(hat * gain[None])
    d = dy * gain[None]
    inner = d - mean * jnp.mean(d, -1, keepdims=True) - variance * hat * jnp.mean(d * hat, -1, keepdims=True)
    dx = inverse * inner
    return dx.T if transposed else dx, jnp.sum(dy * hat, 0)


def attention(q, k, v):
    scores = q @ k.T / jnp.sqrt(q.shape[-1])
    weights = jax.nn.softmax(scores, axis=-1)
    return jnp.sum(jnp.tanh(weights @ v))


def of_attention(q, k, v, total=1.0, slope=True, transpose_v=True):
    w = jax.nn.softmax(q @ k.T / jnp.sqrt(q.shape[-1]), -1)
    y = jnp.tanh(w @ v)
    dy = 1 - y**2 if slope else jnp.ones_like(y)
    dw = dy @ (v.T if transpose_v else v)
    ds = w * (dw - total * jnp.sum(dw * w, -1, keepdims=True)) / jnp.sqrt(q.shape[-1])
    return ds @ k, ds.T @ q, w.T @ dy


def perceptron(w1, w2, x):
    hidden = jnp.tanh(x @ w1)
    error = hidden @ w2 - 1.0
    return 0.5 * jnp.sum(error**2)


def of_perceptron(w1, w2, x, scale=1.0, slope=lambda a: 1 - jnp.tanh(a) ** 2, step=0.0):
    a = x @ w1
    error = jnp.tanh(a) @ w2 - 1.0
    dw2 = jnp.tanh(a).T @ error
    da = (error @ (w2 - step * dw2).T) * slope(a)
    return scale * x.T @ da, dw2


def recurrence(w, h, xs):
    def step(h, x):
        recurrent = h @ w
        return jnp.tanh(recurrent + x), None

    last, _ = jax.lax.scan(step, h, xs)
    return jnp.sum(last**3)


def of_recurrence(w, h, xs, transpose=True, slope=True, path=1.0):
    states = [h]
    for x in xs:
        states.append(jnp.tanh(states[-1] @ w + x))
    d, dw = 3 * states[-1] ** 2, jnp.zeros_like(w)
    for before, after in zip(states[-2::-1], states[:0:-1], strict=True):
        da = d * (1 - after**2 if slope else 1)
        dw = dw + before.T @ da
        d = path * da @ (w.T if transpose else w)
    return dw, d


def embedding(table, words):
    rows = table[words]
    return jnp.sum(rows**3)


def of_embedding(table, words):
    return jnp.zeros_like(table).at[words].set(3 * table[words] ** 2)


def keywords(gradient, **mistake):
    return lambda *arguments: gradient(*arguments, **mistake)


NORM = (layer_norm, of_layer_norm, (normal(0, 5, 5), normal(1, 5)))
ATTENTION = (attention, of_attention, (normal(0, 4, 4), normal(1, 4, 4), normal(2, 4, 4)))
PERCEPTRON = (perceptron, of_perceptron, (normal(0, 3, 4), normal(1, 4, 2), normal(2, 6, 3)))
RECURRENCE = (recurrence, of_recurrence, (normal(0, 3, 3), normal(1, 2, 3), 0.1 * normal(2, 4, 2, 3)))

CASES = {
    "mean": (NORM, {"mean": 0.0}, "path missing", "mean = "),
    "variance": (NORM, {"variance": 0.0}, "path missing", "variance = "),
    "variance halved": (NORM, {"variance": 0.5}, "halved", "variance = "),
    "sum for mean": (NORM, {"mean": 5.0}, "sum instead of mean", "mean = "),
    "transposed": (NORM, {"transposed": True}, "gradient transposed", "mean = "),
    "softmax": (ATTENTION, {"total": 0.0}, "path missing", "weights = "),
    "softmax sign": (ATTENTION, {"total": -1.0}, "sign flipped", "weights = "),
    "tanh": (ATTENTION, {"slope": False}, "derivative missing", "return jnp.sum(jnp.tanh"),
    "product": (ATTENTION, {"transpose_v": False}, "not transposed", "return jnp.sum(jnp.tanh"),
    "leaf mean": (PERCEPTRON, {"scale": 1 / 6}, "mean instead of sum", "hidden = "),
    "leaf sign": (PERCEPTRON, {"scale": -1.0}, "sign flipped", "hidden = "),
    "slope at output": (PERCEPTRON, {"slope": lambda a: 1 - a**2}, "derivative of the wrong quantity", "hidden = "),
    "updated": (PERCEPTRON, {"step": 0.1}, "updated before propagated", "error = "),
    "loop product": (RECURRENCE, {"transpose": False}, "not transposed", "recurrent = "),
    "loop slope": (RECURRENCE, {"slope": False}, "derivative missing", "return jnp.tanh(recurrent"),
    "loop sign": (RECURRENCE, {"path": -1.0}, "sign flipped", "recurrent = "),
}


@pytest.mark.parametrize("case", CASES)
def test_the_mistake_and_its_line_are_named(case):
    (function, gradient, arguments), mistake, name, line = CASES[case]
    found = explained(function, keywords(gradient, **mistake), arguments)
    assert (found.mistake, found.place.code[: len(line)]) == (name, line)
    source, start = inspect.getsourcelines(function)
    assert source[found.place.line - start].strip() == found.place.code
    assert found.after < 1e-6 < found.before and str(found).startswith(f"line {found.place.line} of test_explain.py")


@pytest.mark.parametrize("case", [NORM, ATTENTION, PERCEPTRON, RECURRENCE], ids=lambda case: case[0].__name__)
def test_the_gradients_without_a_mistake_are_right(case):
    """Otherwise the cases would show another mistake than the one they name."""
    function, gradient, arguments = case
    found = gradient(*arguments)
    truth = jax.grad(function, range(len(found)))(*arguments)
    for a, t in zip(found, truth, strict=True):
        np.testing.assert_allclose(a, t, rtol=1e-9, atol=1e-9)


def test_rows_that_are_read_twice():
    words = jnp.asarray([0, 2, 2, 1])
    found = explained(
        lambda table: embedding(table, words), lambda table: of_embedding(table, words), (normal(0, 3, 2),)
    )
    assert (found.mistake, found.place.code) == ("overwritten instead of summed", "rows = table[words]")


def test_a_path_that_is_counted_twice():
    """f = (a + b) + a b, ∂f/∂a = 1 + b, ∂f/∂b = 1 + a; the product twice: 1 + 2 b, 1 + 2 a."""

    def function(a, b):
        both = a + b
        product = a * b
        return both + product

    found = explained(function, lambda a, b: (1 + 2 * b, 1 + 2 * a), (jnp.asarray(2.0), jnp.asarray(3.0)))
    assert (found.mistake, found.coefficient, found.place.code) == ("counted twice", 2.0, "return both + product")


def test_two_mistakes_at_once():
    """The path through the mean is missing and that through the variance has the wrong sign."""
    function, gradient, arguments = NORM
    found = explained(function, keywords(gradient, mean=0.0, variance=-1.0), arguments)
    assert "two mistakes" in found.text and len(found.lines) == 2


def test_a_constant_that_is_missing_when_the_backward_pass_computes_a_value_again():
    def norm(x, epsilon):
        size = jnp.sum(x**2) + epsilon
        return jnp.sum(jnp.sin(x / jnp.sqrt(size)))

    found = explained(lambda x: norm(x, 0.1), jax.grad(lambda x: norm(x, 0.0)), (normal(0, 4),))
    assert (found.mistake, found.place.code) == ("constant missing", "size = jnp.sum(x**2) + epsilon")


def test_a_path_that_is_missing_in_some_entries():
    """The hand-written gradient leaves out the cube at the first two entries."""

    def function(x):
        first = x**3
        return jnp.sum(first + jnp.sin(x))

    found = explained(function, lambda x: jnp.cos(x) + 3 * x**2 * (jnp.arange(4) > 1), (1 + jnp.arange(4.0),))
    assert (found.mistake, found.place.code) == ("path missing", "first = x**3") and "in 2 of 4 entries" in found.text


@pytest.mark.thorough
def test_many_operations_get_the_dials_of_the_common_mistakes():
    """More dials than `MOST_DIALS`: a Newton iteration that Python unrolls."""

    def function(x):
        y = jnp.ones_like(x)
        for _ in range(25):
            y = y - (y * y * y + y - x) / (3 * y * y + 1)
        return jnp.sum(y * y) + jnp.sum(jnp.tanh(x))

    def gradient(x):
        y = jnp.stack([jnp.roots(jnp.asarray([1.0, 0.0, 1.0, -value]), strip_zeros=False) for value in x])
        y = jnp.real(jnp.take_along_axis(y, jnp.argmin(jnp.abs(y.imag), 1)[:, None], 1))[:, 0]
        return 2 * y / (3 * y * y + 1)

    found = explained(function, gradient, (jnp.asarray([0.5, 2.0]),))
    assert (found.mistake, found.place.code) == ("path missing", "return jnp.sum(y * y) + jnp.sum(jnp.tanh(x))")


def test_a_mistake_of_no_known_kind_is_not_explained():
    function, gradient, arguments = PERCEPTRON
    noise = normal(3, *arguments[0].shape)
    assert explanation(function, lambda *a: (gradient(*a)[0] + noise, gradient(*a)[1]), arguments) is None
