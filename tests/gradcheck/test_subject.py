"""Any code as a flat function of its floating-point arrays, with the gradient that belongs to each."""

import dataclasses
import functools
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bpjax.gradcheck.check import check_gradient
from bpjax.gradcheck.subject import subject_of

X = np.asarray([0.1, 0.2, 0.3], np.float32)
Y = np.asarray([1.5, -0.5, 2.0], np.float32)
INDEX = np.asarray([2, 0, 1], np.int32)


@pytest.fixture(autouse=True)
def as_a_user_runs_it():
    with jax.enable_x64(False):
        yield


@jax.custom_vjp
def sine(x):
    return jnp.sin(x)


sine.defvjp(lambda x: (jnp.sin(x), x), lambda x, g: (g * jnp.cos(x),))


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 2))
def power(scale, x, k):
    return scale * x**k


power.defvjp(lambda s, x, k: (s * x**k, x), lambda s, k, x, g: (g * s * k * x ** (k - 1),))


@jax.custom_vjp
def scaled(x, scale):
    return x * scale


scaled.defvjp(lambda x, s: (x * s, s), lambda s, g: (g * s, None))


class Scaler:
    factor = 2.0

    def method(self, x, *, more=1):
        return self.factor * more * sine(x)

    def __call__(self, x):
        return sine(x)


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class Registered:
    w: jax.Array
    n: int = dataclasses.field(metadata={"static": True}, default=2)


class Pair(NamedTuple):
    w: object
    b: object


def everything(x, mode, bias, activation, key, old_key, index, mask, n):
    assert mode == "a" and bias is None
    noise = jax.random.uniform(key, (3,)) + jax.random.uniform(old_key, (3,))
    return jnp.where(mask, activation(x)[index] * n, 0) + noise


def check(subject, names, skipped=()):
    """The leaves are these, and the pullback is that of the function."""
    assert [leaf.name for leaf in subject.leaves] == names
    assert {name for name, _ in subject.skipped} == set(skipped)
    cotangents = [jnp.full(v.shape, 1.5, v.dtype) for v in subject.jaxpr.out_avals]
    found = subject.pull_back(subject.arrays, cotangents)
    expected = jax.vjp(lambda *a: subject.function(*a), *subject.arrays)[1](cotangents)
    for mine, truth in zip(found, expected, strict=True):
        np.testing.assert_allclose(mine, truth, rtol=1e-5)


RULES = {
    "custom_vjp": (sine, (X,), {}, ["x"], []),
    "jitted": (jax.jit(sine), (X,), {}, ["x"], []),
    "nondiff numbers": (power, (2.5, X, 3), {}, ["x"], ["scale", "k"]),
    "nondiff array": (power, (np.float32(2.5), X, 3.0), {}, ["x"], ["scale", "k"]),
    "partial shifts positions": (functools.partial(power, 2.5), (X, 3.0), {}, ["x"], ["k"]),
    "partial by keyword": (functools.partial(power, 2.5, k=3.0), (X,), {}, ["x"], []),
    "nondiff by keyword": (power, (2.5,), {"x": X, "k": 3.0}, ["x"], ["scale", "k"]),
    "static by keyword": (jax.jit(lambda x, *, n: x * n, static_argnames="n"), (X,), {"n": 2.5}, ["x"], ["n"]),
    "branch on a number": (lambda x, s: x * s if s > 0 else x, (X, 0.5), {}, ["x"], ["s"]),
    "number differentiated": (lambda x, s: x * s, (X, 0.5), {}, ["x", "s"], []),
    "number without gradient": (scaled, (X, 0.5), {}, ["x"], ["scale"]),
    "method": (Scaler().method, (X,), {"more": 3}, ["x"], ["more"]),
    "object": (Scaler(), (X,), {}, ["x"], []),
    "registered": (lambda d, p: d.w * d.n + p.w, (Registered(X), Pair(X, 3)), {}, ["d.w", "p.w"], ["p.b"]),
    "unregistered": (lambda x, c: x * c.factor, (X, Scaler()), {}, ["x"], ["c"]),
    "list": (lambda parts: parts[0] * parts[1], ([X, Y],), {}, ["parts[0]", "parts[1]"], []),
    "integers among results": (lambda x: (sine(x), {"n": jnp.arange(3), "more": 2 * x}), (X,), {}, ["x"], []),
    "complex": (lambda z: z * jnp.abs(z) ** 2, (X + 1j * Y,), {}, ["z"], []),
    "complex result": (jnp.fft.rfft, (X,), {}, ["a"], []),
    "empty": (lambda x, e: x * e.sum(), (X, np.zeros((0, 3), np.float32)), {}, ["x"], ["e"]),
    "no axis": (lambda x: x**2, (np.float32(2.0),), {}, ["x"], []),
    "a Python number alone": (jnp.sin, (0.5,), {}, ["x"], []),
    "bfloat16 and a number": (lambda x, s: x * s, (jnp.asarray(X, jnp.bfloat16), 0.5), {}, ["x", "s"], []),
    "not arrays": (
        everything,
        (
            X,
            "a",
            None,
            jnp.tanh,
            jax.random.key(0),
            jax.random.PRNGKey(1),
            np.asarray([2, 0, 1], np.int32),
            X > 0.15,
            3,
        ),
        {},
        ["x"],
        ["mode", "bias", "activation", "key", "old_key", "index", "mask", "n"],
    ),
    "variable arguments": (lambda *parts: parts[0] * parts[1], (X, Y), {}, ["parts[0]", "parts[1]"], []),
}


@pytest.mark.parametrize(("function", "arguments", "keywords", "names", "skipped"), RULES.values(), ids=RULES)
def test_the_rule_of_any_function(function, arguments, keywords, names, skipped):
    check(subject_of(function, arguments, keywords), names, skipped)


def product(w, x):
    return jnp.sum(w * x)


def of_params(p, x):
    return jnp.sum(p["w"] * x + p["b"])


PARAMS = {"w": X, "b": Y, "step": 3}

GRADIENTS = {
    "by the first": (product, (X, Y), lambda w, x: x, None, ["w"]),
    "by all": (product, (X, Y), lambda w, x: (x, w), None, ["w", "x"]),
    "by the second": (product, (X, Y), lambda w, x: (None, w), None, ["x"]),
    "by name": (product, (X, Y), lambda w, x: {"x": w, "w": x}, None, ["w", "x"]),
    "argnums": (product, (X, Y), lambda w, x: w, 1, ["x"]),
    "argnums from the end": (product, (X, Y), lambda w, x: w, -1, ["x"]),
    "argnums by name": (product, (X, Y), lambda w, x: w, "x", ["x"]),
    "argnums in another order": (product, (X, Y), lambda w, x: (w, x), (1, 0), ["w", "x"]),
    "value and gradient": (product, (X, Y), jax.value_and_grad(product), None, ["w"]),
    "value and gradients": (product, (X, Y), jax.value_and_grad(product, argnums=(0, 1)), None, ["w", "x"]),
    "auxiliary": (
        lambda w: (jnp.sum(w**2), w),
        (X,),
        jax.grad(lambda w: (jnp.sum(w**2), w), has_aux=True),
        None,
        ["w"],
    ),
    "value and auxiliary": (
        lambda w: (jnp.sum(w**2), w),
        (X,),
        jax.value_and_grad(lambda w: (jnp.sum(w**2), w), has_aux=True),
        None,
        ["w"],
    ),
    "dict of parameters": (of_params, (PARAMS, X), lambda p, x: {"w": x, "b": jnp.ones(3)}, None, ["p['b']", "p['w']"]),
    "NamedTuple for a tuple": (
        lambda p: jnp.sum(p[0] * p[1]),
        ((X, Y),),
        lambda p: Pair(p[1], p[0]),
        None,
        ["p[0]", "p[1]"],
    ),
    "an integer first": (lambda n, x: n * jnp.sum(x), (3, X), lambda n, x: jnp.full(3, 3.0), None, ["x"]),
    "an integer among all": (lambda n, x: n * jnp.sum(x), (3, X), lambda n, x: (None, jnp.full(3, 3.0)), None, ["x"]),
    "Python numbers": (lambda w: jnp.sum(w**2), (X,), lambda w: [2 * float(v) for v in w], None, ["w"]),
    "a Python number": (lambda a: a * a, (2.0,), lambda a: 2 * a, None, ["a"]),
    "a backward pass": (lambda w: w**2, (X,), lambda w, g: 2 * w * g, None, ["w"]),
    "a backward pass of several results": (
        lambda w: (w**2, jnp.arange(3), w),
        (X,),
        lambda w, g: 2 * w * g[0] + g[2],
        None,
        ["w"],
    ),
}


@pytest.mark.parametrize(("function", "arguments", "gradient", "argnums", "names"), GRADIENTS.values(), ids=GRADIENTS)
def test_gradients_in_any_form(function, arguments, gradient, argnums, names):
    subject = subject_of(function, arguments, {}, gradient, argnums)
    check(subject, names, {name for name, _ in subject.skipped})


def test_numpy_arguments_reach_the_gradient_as_they_were_given():
    seen = []

    def gradient(w, x):
        seen.append((type(w), w.dtype))
        w *= 0  # the code under test may overwrite its arguments
        return x @ (1 - np.tanh(x) ** 2)

    subject = subject_of(lambda w, x: jnp.sum(w @ x @ jnp.tanh(x)), (np.ones((2, 2)), np.eye(2)), {}, gradient)
    subject.pull_back(subject.arrays, [jnp.asarray(1.0)])
    called_with_values = [kind for kind in seen if kind[0] is np.ndarray]
    assert called_with_values == [(np.ndarray, np.float64)] * 2
    assert subject.leaves[0].value.dtype == jnp.float32 and float(subject.leaves[0].value.sum()) == 4


@pytest.mark.thorough
def test_modules_of_equinox_and_nnx():
    nnx = pytest.importorskip("flax.nnx")
    mlp = eqx.nn.MLP(2, 1, 2, 1, key=jax.random.key(0))
    loss = lambda m, x: jnp.sum(jax.vmap(m)(x) ** 2)
    subject = subject_of(loss, (mlp, np.ones((3, 2), np.float32)), {}, eqx.filter_grad(loss))
    check(subject, [f"m.layers[{k}].{part}" for k in (0, 1) for part in ("weight", "bias")], dict(subject.skipped))
    assert dict(subject.skipped)["m.activation"] == "function"
    norm = nnx.BatchNorm(2, rngs=nnx.Rngs(0))
    loss = lambda m, x: jnp.sum(m(x) ** 2)
    subject = subject_of(loss, (norm, X.reshape(3, 1) * np.ones(2, np.float32)), {}, nnx.grad(loss))
    assert [leaf.name for leaf in subject.leaves] == ["m.bias.value", "m.scale.value"]
    assert {"m.mean.value", "m.var.value", "x"} <= set(dict(subject.skipped))


def test_a_rule_of_equinox_has_the_names_of_its_function():
    @eqx.filter_custom_vjp
    def function(x, *, clip=1.0):
        return jnp.sin(x)

    function.def_fwd(lambda perturbed, x, *, clip=1.0: (jnp.sin(x), None))
    function.def_bwd(lambda residuals, g, perturbed, x, *, clip=1.0: g * jnp.cos(x))
    check(subject_of(function, (X,), {}), ["x"])
    check(subject_of(function, (X,), {"clip": 2.0}), ["x"], ["clip"])


def test_code_that_jax_cannot_trace_is_called_on_the_host():
    def backward(w, x, g):
        return x.T @ ((1 - np.tanh(x @ w) ** 2) * g)

    subject = subject_of(lambda w, x: np.tanh(x @ w), (np.ones((2, 1)), np.eye(2)), {}, backward)
    assert not subject.traceable and [leaf.name for leaf in subject.leaves] == ["w"]
    np.testing.assert_allclose(jax.jit(subject.function)(*subject.arrays)[0], np.tanh(np.ones((2, 1))), rtol=1e-6)
    found = subject.pull_back(subject.arrays, [jnp.ones((2, 1))])
    np.testing.assert_allclose(found[0], 1 - np.tanh(np.ones((2, 1))) ** 2, rtol=1e-6)
    branching = subject_of(lambda x: sine(x) if x.sum() > 0 else x, (X,), {})
    assert not branching.traceable
    np.testing.assert_allclose(branching.pull_back(branching.arrays, [jnp.ones(3)])[0], np.cos(X), rtol=1e-6)


REFUSED = {
    "no numbers": (lambda n: n, (3,), None, "no argument to differentiate by.*n \\(int 3\\)"),
    "no arguments": (lambda: 1.0, (), None, "got no arguments"),
    "integer results": (jnp.argmax, (X,), None, "returns nothing to differentiate"),
    "not a scalar": (lambda w: w**2, (X,), lambda w: 2 * w, "must return a real scalar"),
    "a leaf is missing": (of_params, (PARAMS, X), lambda p, x: {"w": x}, "must return the gradient by the first"),
    "an error of the code": (lambda x: np.ones(3)[5] * x, (X,), None, "out of bounds"),
}


@pytest.mark.parametrize(("function", "arguments", "gradient", "sentence"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_checked_is_said(function, arguments, gradient, sentence):
    with pytest.raises((ValueError, IndexError), match=sentence):
        subject_of(function, arguments, {}, gradient)


def test_donated_arguments_stay_usable():
    """A jitted gradient that donates its argument deletes the array that it is called with: it gets a copy."""
    x = jnp.array([0.1, 0.2, 3.0])
    before = np.array(x)
    assert check_gradient(lambda x: jnp.sum(jnp.sin(x)), x, gradient=jax.jit(jnp.cos, donate_argnums=0)).ok
    np.testing.assert_array_equal(x, before)
