"""`reverse` and `vjp` as functions: arguments, results, and other transforms around them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import relative_error
from passes import quick_jit

from bpjax.tape import reverse, vjp

X = jnp.linspace(0.1, 1, 4)


def product(x, i, y, mode="sum", function=jnp.sin):
    """Static keyword arguments, an integer, and an auxiliary result that is no array."""
    z = function(x) * y["a"] * i
    return (z.sum() if mode == "sum" else z.max()), {"z": z, "mode": mode}


@pytest.mark.parametrize("argnums", [0, (0, 2), [2], -3, np.int64(2)])
def test_argnums_has_aux_and_static_arguments(argnums):
    arguments = X, 3, {"a": X + 1, "b": None}
    options = {"mode": "max", "function": jnp.cos}
    ours = reverse(product, argnums, has_aux=True)(*arguments, **options)
    theirs = jax.value_and_grad(product, argnums, has_aux=True)(*arguments, **options)
    assert ours[0][1].pop("mode") == theirs[0][1].pop("mode") == "max"
    assert relative_error(ours, theirs) < 1e-14


def test_pullback_of_integers_and_keys():
    """Their cotangents are of dtype float0, as by `jax.vjp`."""

    def function(x, i, key):
        return x[i] * jax.random.normal(key), i + 1

    arguments = X, jnp.array(2), jax.random.key(0)
    dy = 1.5, np.zeros((), jax.dtypes.float0)
    (result, pull_back), (expected, their_pull_back) = vjp(function, *arguments), jax.vjp(function, *arguments)
    assert relative_error(result, expected) == 0
    ours, theirs = pull_back(dy), their_pull_back((jnp.asarray(1.5), dy[1]))
    assert relative_error(ours, theirs) < 1e-15


def test_pullback_can_be_called_again():
    """The tape is not used up: J is the matrix of cotangents of all unit vectors."""
    function = lambda x: jnp.cumsum(jnp.sin(x))
    rows = quick_jit(lambda x: jax.vmap(vjp(function, x)[1])(jnp.eye(4))[0])(X)
    assert relative_error(rows, quick_jit(jax.jacobian(function))(X)) < 1e-15


@quick_jit
def transforms(x):
    function = lambda x: jnp.sum(jnp.sin(x) * x[::-1] ** 2)
    gradient = lambda x: reverse(function)(x)[1]
    batch = jnp.stack([x, 2 * x])
    ours = [
        jax.vmap(reverse(function))(batch),
        jax.jacfwd(gradient)(x),
        jax.jacrev(gradient)(x),
        jax.vmap(lambda e: vjp(gradient, x)[1](e)[0])(jnp.eye(4)),
        jax.hessian(lambda x: reverse(function)(x)[0])(x),
        jax.grad(lambda x: gradient(gradient(x)).sum())(x),
    ]
    theirs = jax.grad(function)
    hessian = jax.hessian(function)(x)
    return ours, [
        jax.vmap(jax.value_and_grad(function))(batch), hessian, hessian, hessian, hessian,
        jax.grad(lambda x: theirs(theirs(x)).sum())(x),
    ]  # fmt: skip


@pytest.mark.parametrize("k", range(6))
def test_under_other_transforms(k):
    ours, theirs = transforms(X)
    assert relative_error(ours[k], theirs[k]) < 1e-13


def test_constant_results():
    """A Python scalar, and arguments without influence: zeros."""
    value, gradient = reverse(lambda x, y: 3.0, (0, 1))(X, 2.0)
    assert value == 3
    assert relative_error(gradient, (jnp.zeros(4), jnp.zeros(()))) == 0


def test_complex_arguments():
    function = lambda z: jnp.sum(jnp.abs(jnp.sin(z)) ** 2)
    ours, theirs = reverse(function)(X + 1j), jax.value_and_grad(function)(X + 1j)
    np.testing.assert_allclose(ours[1], theirs[1], rtol=1e-14)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: reverse(jnp.sum, holomorphic=True), ValueError, "`vjp` with a complex cotangent"),
        (lambda: reverse(jnp.sum)(jnp.arange(3)), TypeError, "got int64: leave the argument out of `argnums`"),
        (lambda: reverse(jnp.sum, 2)(X), ValueError, "`argnums` to be places of the 1 positional arguments, got 2"),
        (lambda: reverse(jnp.sin)(X), TypeError, r"float64\[4\]. Sum an array"),
        (lambda: reverse(lambda x: x.sum() * 1j)(X), TypeError, r"real scalar result.*complex128\[\]"),
        (lambda: reverse(lambda x: (x.sum(), x))(X), TypeError, r"tuple: float64\[\], float64\[4\]"),
        (lambda: reverse(jnp.sum, has_aux=True)(X), TypeError, r"returns \(result, anything else\)"),
        (lambda: vjp(jnp.sin, X)[1](X[:2]), ValueError, r"a cotangent float64\[4\] like the result, got float64\[2\]"),
        (lambda: vjp(jnp.sin, X)[1]((X,)), TypeError, "a cotangent of the structure of the result"),
    ],
)
def test_mistakes_are_named(call, error, message):
    with pytest.raises(error, match=message):
        call()
