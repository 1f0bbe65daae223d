"""A program traced in a lower precision, evaluated in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import bpjax as bp
from bpjax.gradcheck.noise import Noisy, factors
from bpjax.gradcheck.widen import Widened

X = np.linspace(0.2, 1.1, 4, dtype=np.float32)


def widened(function, *arrays):
    with jax.enable_x64(False):
        traced = jax.make_jaxpr(function)(*map(jnp.asarray, arrays))
    program = Widened(traced)
    return program, [np.asarray(r) for r in program(*(jnp.asarray(a, jnp.float64) for a in arrays))]


def test_loops_branches_and_calls_are_evaluated_in_float64():
    """h ← tanh(h + x) over x, and a while loop that doubles until 10: NumPy in float64 gives the values."""

    def function(x):
        last, _ = lax.scan(lambda h, v: (jnp.tanh(h + v), h), jnp.zeros((), x.dtype), x)
        doubled = lax.while_loop(lambda a: a < 10, lambda a: 2 * a, x[0])
        return last, doubled, lax.cond(x[0] > 0, jnp.sin, jnp.cos, x), jax.jit(jnp.exp)(x), jax.checkpoint(jnp.log)(x)

    _, results = widened(function, X)
    wide, h = X.astype(np.float64), 0.0
    for v in wide:
        h = np.tanh(h + v)
    doubled = wide[0]
    while doubled < 10:
        doubled *= 2
    for found, expected in zip(results, (h, doubled, np.sin(wide), np.exp(wide), np.log(wide)), strict=True):
        assert found.dtype == np.float64
        np.testing.assert_allclose(found, expected, rtol=1e-15)


def test_casts_inside_do_not_round():
    _, (result,) = widened(lambda x: jnp.sin(x.astype(jnp.bfloat16)).astype(jnp.float32), X)
    np.testing.assert_allclose(result, np.sin(X.astype(np.float64)), rtol=1e-15)


def test_random_numbers_stay_those_of_the_traced_dtype():
    key = jax.random.key(3)

    def dropout(x):
        return x * jax.random.bernoulli(key, 0.5, x.shape)

    with jax.enable_x64(False):
        expected = np.asarray(dropout(jnp.asarray(X)))
    _, (result,) = widened(dropout, X)
    np.testing.assert_array_equal(result, expected)


def test_constants_of_the_dtype_stay():
    _, (result,) = widened(lambda x: x + jnp.finfo(x.dtype).eps, X)
    np.testing.assert_allclose(result, X.astype(np.float64) + 2.0**-23, rtol=1e-15)


@jax.custom_vjp
def doubled_on_the_way_back(x):
    return jnp.sin(x)


doubled_on_the_way_back.defvjp(lambda x: (jnp.sin(x), x), lambda x, dy: (2 * dy * jnp.cos(x),))


@pytest.mark.parametrize("outside", [lambda f: f, jax.jit, jax.checkpoint, lambda f: lambda x: lax.map(f, x)])
def test_custom_rules_are_taken_off_at_any_depth(outside):
    program, _ = widened(outside(doubled_on_the_way_back), X)
    assert program.found.custom_rules == ["doubled_on_the_way_back"]
    wide = jnp.asarray(X, jnp.float64)
    gradient = jax.grad(lambda x: program(x)[0].sum())(wide)
    np.testing.assert_allclose(gradient, np.cos(wide), rtol=1e-15)


def test_rules_of_jax_stay():
    """The derivative of relu at 0 is 0 by JAX's rule; that of maximum(x, 0) is 1/2."""
    x = np.array([-1.0, 0.0, 2.0], np.float32)
    program, _ = widened(jax.nn.relu, x)
    assert (program.found.jax_rules, program.found.custom_rules) == (["relu"], [])
    wide = jnp.asarray(x, jnp.float64)
    np.testing.assert_array_equal(jax.grad(lambda x: program(x)[0].sum())(wide), [0, 0, 1])
    opened = Widened(program.closed, open_jax=True)
    np.testing.assert_array_equal(jax.grad(lambda x: opened(x)[0].sum())(wide), [0, 0.5, 1])


def test_what_has_no_float64_form_is_named():
    def host(x):
        return jax.pure_callback(np.tanh, jax.ShapeDtypeStruct(x.shape, jnp.float32), x)

    program, (result,) = widened(host, X)
    assert program.found.narrow == ["pure_callback"]
    assert result.dtype == np.float64
    np.testing.assert_allclose(result, np.tanh(X), rtol=1e-6)


def test_random_rounding_shows_cancellation():
    """p − p Σ p is zero for a softmax p; one rounding u of the sum moves it by u p."""
    u = 2.0**-24

    def function(z):
        p = jax.nn.softmax(z)
        return p - p * jnp.sum(p)

    with jax.enable_x64(False):
        traced = jax.make_jaxpr(function)(jnp.asarray(X))
    pools = factors(u, 32, 64)
    wide = jnp.asarray(X, jnp.float64)
    moved = np.asarray(jax.jit(jax.vmap(lambda pool: Noisy(traced, pool)(wide)[0]))(pools))
    p = np.exp(wide) / np.exp(wide).sum()
    spread = np.abs(moved).max(axis=0)
    assert (spread > 0.3 * u * p).all()
    assert (spread < 10 * u * p).all()
    assert np.abs(np.asarray(Noisy(traced, jnp.ones(4096 + 64))(wide)[0])).max() < 1e-16


def test_a_while_loop_under_vmap_has_a_condition_for_each_example():
    """1 → 1.5 → 2.75 → 8.06, 2 → 4.5 → 20.75, and 7 stays: derivatives 2·1 · 2·1.5 · 2·2.75, 2·2 · 2·4.5, and 1."""
    x = jnp.asarray([1.0, 2.0, 7.0])

    def grown(x):
        return jax.vmap(lambda a: jax.lax.while_loop(lambda a: a < 5, lambda a: a * a + 0.5, a))(x)

    widened = Widened(jax.make_jaxpr(grown)(x))
    np.testing.assert_allclose(widened(x)[0], [8.0625, 20.75, 7.0])
    np.testing.assert_allclose(bp.reverse(lambda x: jnp.sum(grown(x)))(x)[1], [33.0, 36.0, 1.0])
