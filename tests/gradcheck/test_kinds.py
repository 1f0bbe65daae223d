"""Kinds of code that people check, right and wrong: precisions, kinks, solvers, complex numbers, estimators."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.custom_derivatives import linear_call

import bpjax as bp

X = np.array([0.3, -1.2, 2.0, 0.7], np.float32)
Z = (X + 1j * X[::-1]).astype(np.complex64)
ROWS = np.random.default_rng(0).standard_normal((4, 6)).astype(np.float32)
CAUSAL = np.tri(4, 6) > 0


def rule(forward, backward, *arguments):
    """A custom_vjp; `backward` is (residuals = arguments, cotangent) -> gradient by the first argument."""
    function = jax.custom_vjp(lambda *a: forward(*a))
    zeros = tuple(None for _ in arguments[1:])
    function.defvjp(lambda *a: (forward(*a), a), lambda a, dy: (backward(*a, dy), *zeros))
    return function, arguments


def solver(tolerance):
    def solve(a):
        """x = cos(a x) by iteration."""

        def body(state):
            return jnp.cos(a * state[0]), state[0]

        start = jnp.ones_like(a), jnp.zeros_like(a)
        return lax.while_loop(lambda s: jnp.max(jnp.abs(s[0] - s[1])) > tolerance, body, start)[0]

    return solve


def implicit(solve, factor):
    def backward(a, dy):
        x = solve(a)
        slope = -jnp.sin(a * x)
        return dy * slope * x / (1 - factor * slope * a)

    return backward


def bisection(a):
    def body(_, interval):
        low, high = interval
        middle = (low + high) / 2
        above = middle**3 + middle < a
        return jnp.where(above, middle, low), jnp.where(above, high, middle)

    low, high = lax.fori_loop(0, 40, body, (jnp.zeros_like(a), jnp.full_like(a, 4.0)))
    return (low + high) / 2


def softmax_backward(x, dy):
    p = jax.nn.softmax(x)
    return (p * (dy - (p * dy).sum(-1, keepdims=True))).astype(x.dtype)


def masked(s):
    return jnp.where(CAUSAL, s * s, -jnp.inf)


def halved(x, dy):
    """Half of the gradient of the largest entries, which share it."""
    return dy * (x == x.max()) / (x == x.max()).sum() / 2


def host_tanh(x):
    shape = jax.ShapeDtypeStruct(x.shape, jnp.float32)
    return jax.pure_callback(lambda a: np.tanh(a).astype(np.float32), shape, x, vmap_method="sequential")


def of_linear_call(factor):
    return lambda x: linear_call(lambda _, t: 3 * t, lambda _, c: factor * c, (), x)


def random_scale(x, key):
    return x * jax.random.normal(key, x.shape)


ROOTS = np.array([0.3, 0.5, 0.8], np.float32)
KEY = np.array([0, 3], np.uint32)

KINDS = {
    "complex exp": (rule(jnp.exp, lambda z, dy: dy * jnp.exp(z), Z), "right"),
    "complex exp, conjugated": (rule(jnp.exp, lambda z, dy: dy * jnp.conj(jnp.exp(z)), Z), "wrong"),
    "transpose of a linear_call": ((of_linear_call(3), (X,)), "right"),
    "wrong transpose of a linear_call": ((of_linear_call(2), (X,)), "wrong"),
    "solver, tolerance 1e-6": (rule(solver(1e-6), implicit(solver(1e-6), 1.0), ROOTS), "right"),
    "solver with a wrong factor": (rule(solver(1e-6), implicit(solver(1e-6), 0.9), ROOTS), "wrong"),
    "bisection": (rule(bisection, lambda a, dy: dy / (3 * bisection(a) ** 2 + 1), ROOTS), "right"),
    "overflow in half precision": (
        rule(jnp.exp, lambda x, dy: dy * jnp.exp(x), np.array([12.0, 2.0], np.float16)),
        "cannot tell",
    ),
    "underflow": (rule(jnp.exp, lambda x, dy: dy * jnp.exp(x), np.array([-95.0, -99.0], np.float32)), "right"),
    "NaN as result": (rule(jnp.log, lambda x, dy: dy / x, np.array([-1.0, 2.0], np.float32)), "cannot tell"),
    "infinite results": (rule(masked, lambda s, dy: jnp.where(CAUSAL, 2 * s * dy, 0), ROWS), "right"),
    "infinite results, wrong": (rule(masked, lambda s, dy: jnp.where(CAUSAL, s * dy, 0), ROWS), "wrong"),
    "bfloat16 softmax": (rule(jax.nn.softmax, softmax_backward, jnp.asarray(ROWS, jnp.bfloat16)), "right"),
    "gradient in half precision": (
        rule(jnp.sin, lambda x, dy: (dy * jnp.cos(x)).astype(jnp.float16), X),
        "wrong",
    ),
    "tiny numbers": (rule(jnp.log, lambda x, dy: dy / x, np.abs(X) * np.float32(1e-20)), "right"),
    "key of the old kind": (
        rule(random_scale, lambda x, key, dy: dy * jax.random.normal(key, x.shape), X, KEY),
        "right",
    ),
    "host function": (rule(host_tanh, lambda x, dy: dy * (1 - jnp.tanh(x) ** 2), X), "right"),
    "one entry of a host function": (
        rule(host_tanh, lambda x, dy: (dy * (1 - jnp.tanh(x) ** 2)).at[2].multiply(-1), X),
        "wrong",
    ),
    "log(x) at 0": (rule(jnp.log, lambda x, dy: dy / x, np.array([0.0, 2.0], np.float32)), "cannot tell"),
    "two largest entries": (rule(jnp.max, halved, np.array([1.0, 3.0, 3.0], np.float32)), "wrong"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_verdict_on_a_kind(kind):
    (function, arguments), verdict = KINDS[kind]
    report = bp.check_gradient(function, *arguments)
    assert report.verdict == verdict, str(report)


@pytest.mark.parametrize(
    ("forward", "backward", "words"),
    [
        (jnp.round, lambda x, dy: dy, "straight-through estimator"),
        (lambda x: jnp.where(x > 0, 1.0, 0.0), lambda x, dy: dy / (1 + 9 * x * x), "surrogate gradient"),
        (lambda x: x, lambda x, dy: -dy, "gradient reversal"),
        (lambda x: x, lambda x, dy: 0.5 * dy, "multiplies the cotangent by 0.5"),
        (lambda x: x, lambda x, dy: jnp.clip(dy, -0.1, 0.1), "gradient clipping"),
        (lambda x: x, lambda x, dy: 0 * dy, "stops the gradient"),
    ],
)
def test_a_rule_that_is_another_on_purpose_is_recognized(forward, backward, words):
    function, arguments = rule(forward, backward, X)
    report = bp.check_gradient(function, *arguments)
    assert report.verdict == "wrong"
    assert words in report.sentence


def test_a_conjugated_gradient_is_named():
    report = bp.check_gradient(lambda z: jnp.sum(jnp.abs(z) ** 2), Z, gradient=lambda z: 2 * z)
    assert report.verdict == "wrong"
    assert "is conjugated" in report.sentence


def test_a_report_shows_no_infinity_and_no_python_numbers():
    function, arguments = rule(jnp.round, lambda x, dy: dy, X)
    text = str(bp.check_gradient(function, *arguments))
    assert "not zero" in text
    assert not any(word in text for word in (" inf", "nan", "float64("))
