"""`lanes(f)` against `jax.vmap(f)`: a table of functions, random functions, and what else `lanes` promises."""

import functools
import logging

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import relative_error
from passes import QUICKLY

import bpjax as bp

RUNS = 6


def normal(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape))  # NumPy compiles nothing


def agree(f, *args, tolerance=1e-12, **axes):
    """lanes = vmap, in values, shapes and dtypes, compiled."""
    expected = jax.jit(jax.vmap(f, **axes), compiler_options=QUICKLY)(*args)
    got = jax.jit(bp.sweeps.lanes(f, **axes), compiler_options=QUICKLY)(*args)
    check_equal(got, expected, tolerance)


def check_equal(got, expected, tolerance):
    assert jax.tree.structure(got) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        assert a.dtype == b.dtype and a.shape == b.shape
        if jnp.issubdtype(a.dtype, jnp.floating):
            assert (np.isnan(a) == np.isnan(b)).all()
    assert relative_error(as_numbers(got), as_numbers(expected)) < tolerance


def as_numbers(tree):
    """Keys as integers, NaN (such as a validation error without validation data) as 0."""

    def numbers(a):
        if jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
            return jax.random.key_data(a)
        return np.where(np.isnan(a), 0, a) if jnp.issubdtype(a.dtype, jnp.floating) else a

    return jax.tree.map(numbers, tree)


@jax.custom_vjp
def clipped(x):
    return x * x


clipped.defvjp(lambda x: (x * x, x), lambda x, dy: (jnp.clip(2 * x * dy, -1, 1),))

C = normal(9, 4, seed=5)
LONG = normal(7, 100, seed=6)

FUNCTIONS = {
    "elementwise": lambda x: jnp.tanh(x) * 2 + jnp.where(x > 0, x, -x) - x**3 / (1 + x**2),
    "scalars": lambda x: x * x.sum() + x.max() - x.min() * jnp.float32(2).astype(x.dtype),
    "sums": lambda x: (x.sum(0), x.sum(1), x.sum(), x.mean(0), (x > 0).any(1), (x > 0).all(0), x.prod(0)),
    "product": lambda x: (x @ x.T, x.T @ x),
    "product with a constant": lambda x: (C @ x.T, x @ C.T, jnp.einsum("ij,kj->ki", C, x)),
    "long product": lambda x: (lambda w: (w @ w.T, LONG @ w.T, w @ LONG.T, w.sum(1)))(jnp.tile(x, (1, 25))),
    "batched product": lambda x: jnp.einsum("bij,bjk->bik", x[:, :, None] * x[:, None], x[:, :, None]),
    "shapes": lambda x: (x.T, x.ravel(), x[None], jnp.stack([x, 2 * x], 1), jnp.concatenate([x, x[:1]]), x[::-1]),
    "slices": lambda x: (x[1:4:2], x[:, 1], jnp.pad(x, ((1, 0), (0, 2))), jnp.split(x, 2, axis=1), jnp.roll(x, 1)),
    "indices": lambda x: (x[jnp.array([2, 0])], x.at[1].set(0.0), x[jnp.argmax(x[:, 0])], C[jnp.argmin(x[0])]),
    "sorting": lambda x: (jnp.sort(x, 0), jnp.argsort(x, 1), jnp.argmax(x, 0), jnp.cumsum(x, 1), jnp.median(x)),
    "softmax": lambda x: (jax.nn.softmax(x), jax.nn.log_softmax(x, 0), jax.nn.gelu(x), jax.nn.logsumexp(x)),
    "linear algebra": lambda x: jnp.linalg.solve(x.T @ x + jnp.eye(4), jnp.ones((4, 1))),
    "scan": lambda x: jax.lax.scan(lambda c, row: (c + row.sum(), c * row), 0.0, x),
    "scan of constants": lambda x: jax.lax.scan(lambda c, row: (c * 0.5 + row @ x[0], row[0]), 0.0, C),
    "reversed scan": lambda x: jax.lax.scan(lambda c, row: (0.5 * c + row, c), x[0] * 0, x, reverse=True),
    "fori": lambda x: jax.lax.fori_loop(0, 3, lambda k, c: c * 0.5 + x * k, jnp.zeros_like(x)),
    "while": lambda x: jax.lax.while_loop(
        lambda c: c[0].sum() < 20, lambda c: (c[0] + jnp.abs(x), c[1] + 1), (jnp.zeros_like(x), 0)
    ),
    "cond": lambda x: jax.lax.cond(x[0, 0] > 0, jnp.sin, lambda x: x * 2, x),
    "switch": lambda x: jax.lax.switch(jnp.argmax(x[0]), [jnp.sin, jnp.cos, jnp.tanh, jnp.exp], x),
    "shared cond": lambda x: jax.lax.cond(C[0, 0] > 0, lambda x: x.sum(0), lambda x: C[0], x),
    "checkpoint": lambda x: jax.grad(lambda x: jax.checkpoint(lambda x: jnp.sin(jnp.sin(x)))(x).sum())(x),
    "custom derivative": lambda x: (clipped(x), jax.grad(lambda x: clipped(x).sum())(x)),
    "grad": lambda x: jax.grad(lambda w: jnp.sum(jnp.tanh(C @ w.T) ** 2))(x),
    "grad of a scan": lambda x: jax.grad(
        lambda w: jax.lax.scan(lambda h, row: (jnp.tanh(w.T @ w @ h + row), None), jnp.zeros(4), C)[0].sum()
    )(x),
    "jvp": lambda x: jax.jvp(lambda w: jax.nn.sigmoid(w @ w.T), (x,), (x,)),
    "vmap inside": lambda x: jax.vmap(lambda row: jnp.outer(row, row).sum(0) @ x.T)(x),
    "constant result": lambda x: (C, 3),
    "integers": lambda x: ((x * 10).astype(jnp.int32) % 7, jnp.isfinite(x), jnp.sign(x).astype(bool)),
}  # fmt: skip


@pytest.mark.parametrize("f", FUNCTIONS.values(), ids=FUNCTIONS)
def test_equals_vmap(f):
    agree(f, normal(RUNS, 5, 4))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_keeps_the_dtype(dtype):
    x = normal(RUNS, 5, 4).astype(dtype)
    agree(lambda x: (x @ x.T, jnp.tanh(x).sum(0)), x, tolerance=1e-6 if dtype == "float32" else 2e-2)


def test_axes():
    x, y = normal(5, RUNS, 4), normal(5, 4, seed=1)
    agree(lambda x, y: x * y, x, y, in_axes=(1, None))
    agree(lambda x, y: x * y, x, y, in_axes=(1, None), out_axes=-1)
    agree(lambda p, y: p["a"] @ y.T @ p["b"], {"a": x, "b": y}, y, in_axes=({"a": 1, "b": None}, None))
    agree(lambda x: x.sum(), x, in_axes=-2)


def test_keys():
    keys = jax.random.split(jax.random.key(1), RUNS)
    agree(lambda k: (jax.random.normal(k, (3,)), jax.random.permutation(k, 5), jax.random.fold_in(k, 2)), keys)


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("optimizer", "size"),
    [
        pytest.param(bp.momentum(0.1, 0.9), None, marks=pytest.mark.thorough),
        pytest.param(bp.optimizers.silva_almeida(0.1), None, marks=pytest.mark.thorough),
        (optax.adam(0.1), 5),
    ],
)
def test_a_training(optimizer, size, keys):
    network, batch = bp.mlp((3, 4, 2), bp.tanh), (normal(7, 3, seed=1), normal(7, 2, seed=2))
    params = jax.vmap(lambda k: network.init(k, (3,))[0])(jax.random.split(next(keys), RUNS))
    rule = bp.backprop(network, bp.squared_error)
    training = bp.training.make_training(rule, optimizer, (bp.outputs_within(0.1),), batch_size=size, chunk=6)

    def train(params, key):
        run, history = training.advance(training.init(key, params, 5), batch)
        return run.state.params, run.reason, history.error

    agree(train, params, jax.random.split(jax.random.key(3), RUNS), tolerance=1e-9)


def test_a_run_that_is_not_finite_does_not_affect_the_others():
    x = normal(RUNS, 5, 4)
    f = jax.jit(bp.sweeps.lanes(lambda x: jax.grad(lambda w: jnp.tanh(jax.nn.sigmoid(C @ w.T) @ w).sum())(x)))
    for place in (0, 3):
        for poison in (jnp.nan, jnp.inf):
            got = np.asarray(f(x.at[place].set(poison)))
            others = np.arange(RUNS) != place
            np.testing.assert_array_equal(got[others], np.asarray(f(x))[others])


def test_what_is_shared_is_computed_once():
    """Constants stay constants: no array of the program repeats them for every run."""
    wide = normal(50, 40)
    text = str(jax.make_jaxpr(bp.sweeps.lanes(lambda x: (jnp.exp(wide) @ jnp.exp(wide).T).sum() * x))(normal(RUNS)))
    assert f"[50,40,{RUNS}]" not in text and f"[50,50,{RUNS}]" not in text and "exp" in text


def test_long_axes_are_loops_not_unrolled():
    """The program of a product over 2,000 examples is hardly longer than that over 200."""

    def length(n):
        x = normal(RUNS, n, 3)
        return len(str(jax.make_jaxpr(bp.sweeps.lanes(lambda x: x.T @ jnp.tanh(x)))(x)).splitlines())

    assert length(2048) < 1.2 * length(256)


def test_a_second_forward_pass_is_not_computed_again():
    network = bp.mlp((3, 4, 2), bp.sigmoid, bp.sigmoid)
    params = jax.vmap(lambda k: network.init(k, (3,))[0])(jax.random.split(jax.random.key(0), RUNS))
    x = normal(8, 3)

    def sigmoids(passes):
        def f(p):
            return [network.forward(p, x)[0] * k for k in range(passes)]

        return str(jax.make_jaxpr(bp.sweeps.lanes(f))(params)).count("logistic")

    assert sigmoids(1) == sigmoids(3) == 2


def test_loops_that_differ_only_in_a_constant_are_kept_apart():
    a, b = jnp.arange(3.0), jnp.arange(3.0) + 10
    agree(lambda x: [jax.lax.fori_loop(0, 2, lambda k, c, t=t: c * 0.5 + t, x) for t in (a, b)], normal(RUNS, 3))


def test_primitives_without_a_rule_are_logged(caplog):
    with caplog.at_level(logging.INFO, logger="bpjax.sweeps.lanes"):
        agree(lambda x: jnp.linalg.cholesky(x.T @ x + 5 * jnp.eye(4)), normal(RUNS, 5, 4))
    assert "cholesky" in caplog.text and "by vmap" in caplog.text


def test_bad_input():
    with pytest.raises(ValueError, match=r"one number of runs along their run axes, got \[3, 4\]"):
        bp.sweeps.lanes(lambda x, y: x + y)(jnp.ones(3), jnp.ones(4))
    with pytest.raises(ValueError, match=r"got \[\]"):
        bp.sweeps.lanes(lambda x: x, in_axes=None)(jnp.ones(3))


UNARY = [jnp.tanh, jnp.sin, jax.nn.sigmoid, lambda x: x * 0.5, lambda x: jnp.where(x > 0, x, 0.1 * x), jnp.abs]
STEPS = {
    "unary": lambda x, k: UNARY[k % len(UNARY)](x),
    "product": lambda x, k: x @ x.T @ x / x.size,
    "constant product": lambda x, k: x @ normal(x.shape[1], 1 + k % 3, seed=k) / x.shape[1],
    "transpose": lambda x, k: x.T,
    "normalise": lambda x, k: x - x.mean(axis=k % 2, keepdims=True),
    "sum": lambda x, k: x.sum(axis=k % 2, keepdims=True) + x,
    "scan": lambda x, k: jax.lax.scan(lambda c, row: (0.5 * c + row, c), x[0], x)[1],
    "cond": lambda x, k: jax.lax.cond(
        x.sum() > 0.37, jnp.sin, jnp.cos, x
    ),  # the sign of a sum that is 0 is decided by rounding
    "grow": lambda x, k: jnp.concatenate([x, x[:1] * 0.3]),
}


@pytest.mark.thorough
@settings(max_examples=10, deadline=None, derandomize=True)
@given(
    st.integers(1, 4),
    st.integers(1, 3),
    st.lists(st.tuples(st.sampled_from(sorted(STEPS)), st.integers(0, 5)), max_size=5),
)
def test_random_functions_and_their_gradients(rows, columns, chosen):
    def f(x):
        return functools.reduce(lambda x, step: STEPS[step[0]](x, step[1]), chosen, x)

    def value_and_gradient(x):
        return f(x), jax.grad(lambda x: jnp.sum(f(x) ** 2))(x)

    x = normal(RUNS, rows, columns)
    expected = jax.jit(jax.vmap(value_and_gradient), compiler_options=QUICKLY)(x)
    got = jax.jit(bp.sweeps.lanes(value_and_gradient), compiler_options=QUICKLY)(x)
    check_equal(got[0], expected[0], 1e-9)
    check_equal(got[1], expected[1], 1e-7)
