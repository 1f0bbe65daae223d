"""The rules of the LLVM compiler against JAX: at the edges of every dtype, and on random programs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax
from llvm_evaluation import evaluated

from bpjax.sweeps.lanes.llvm.dtypes import Unsupported

NAN, INF = np.nan, np.inf


def check(function, *arrays, rtol=0.0, signs=True):
    """The same numbers as `vmap`, with the sign of zero if `signs`; runs on the first axis."""
    expected = jax.jit(jax.vmap(function))(*arrays)
    for ours, other in zip(evaluated(function, *arrays), jax.tree.leaves(expected), strict=True):
        theirs = np.asarray(other)
        assert ours.dtype == theirs.dtype and ours.shape == theirs.shape
        if theirs.dtype.kind == "f" and rtol:
            np.testing.assert_allclose(ours, theirs, rtol=rtol, atol=rtol)
        else:
            np.testing.assert_array_equal(ours, theirs)
        if theirs.dtype.kind == "f" and not rtol and signs:
            np.testing.assert_array_equal(np.signbit(ours)[~np.isnan(ours)], np.signbit(theirs)[~np.isnan(theirs)])


def pairs(values):
    """All pairs of values, as two arrays (n²,)."""
    return tuple(grid.ravel() for grid in np.meshgrid(values, values, indexing="ij"))


FLOATS = [0.0, -0.0, 1.0, -1.0, 0.5, 2.5, -2.5, 3.0, 1e-3, -7.25, 1e30, -1e30, 3e38, INF, -INF, NAN]
OF_FLOATS = {
    "add": lambda a, b: a + b, "sub": lambda a, b: a - b, "mul": lambda a, b: a * b, "div": lambda a, b: a / b,
    "max": jnp.maximum, "min": jnp.minimum, "lt": lambda a, b: a < b, "le": lambda a, b: a <= b,
    "gt": lambda a, b: a > b, "ge": lambda a, b: a >= b, "eq": lambda a, b: a == b, "ne": lambda a, b: a != b,
    "neg": lambda a, b: -a, "abs": lambda a, b: jnp.abs(a), "sign": lambda a, b: jnp.sign(a),
    "floor": lambda a, b: jnp.floor(a), "ceil": lambda a, b: jnp.ceil(a), "round": lambda a, b: jnp.round(a),
    "sqrt": lambda a, b: jnp.sqrt(a),
    "square": lambda a, b: jnp.square(a), "cube": lambda a, b: a**3, "inverse": lambda a, b: a**-2,
    "nextafter": jnp.nextafter, "is_finite": lambda a, b: jnp.isfinite(a), "where": lambda a, b: jnp.where(a < b, a, b),
    "clamp": lambda a, b: lax.clamp(jnp.asarray(-2, a.dtype), a, jnp.asarray(3, a.dtype)),
    "int32": lambda a, b: a.astype(jnp.int32), "bool": lambda a, b: a.astype(bool),
}  # fmt: skip


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_floats_at_their_edges(dtype):
    check(lambda a, b: [f(a, b) for f in OF_FLOATS.values()], *pairs(np.array(FLOATS, dtype)))


def test_subnormal_numbers_count_as_zero():
    """As in XLA on CPUs; on processors without this mode they are numbers."""
    small = np.array([1e-40, -1e-40, 1.2e-38], np.float32)
    (product, is_positive, log) = evaluated(lambda x: (x * 0.5, x > 0, jnp.log(x)), small)
    assert (product == 0).all() and is_positive.tolist() == [False, False, True]
    assert np.isneginf(log[:2]).all() and np.isfinite(log[2])


OF_INTEGERS = {
    "add": lambda a, b: a + b, "sub": lambda a, b: a - b, "mul": lambda a, b: a * b, "div": lax.div, "rem": lax.rem,
    "max": jnp.maximum, "lt": lambda a, b: a < b, "ge": lambda a, b: a >= b, "eq": lambda a, b: a == b,
    "and": lambda a, b: a & b, "or": lambda a, b: a | b, "xor": lambda a, b: a ^ b, "not": lambda a, b: ~a,
    "sign": lambda a, b: lax.sign(a), "abs": lambda a, b: jnp.abs(a), "square": lambda a, b: a**2,
    "left": lax.shift_left, "right": lax.shift_right_logical, "arithmetic": lax.shift_right_arithmetic,
    "float": lambda a, b: a.astype(jnp.float32), "double": lambda a, b: a.astype(jnp.float64),
    "int64": lambda a, b: a.astype(jnp.int64), "uint32": lambda a, b: a.astype(jnp.uint32),
    "int32": lambda a, b: a.astype(jnp.int32), "bool": lambda a, b: a.astype(bool),
}  # fmt: skip


@pytest.mark.parametrize("dtype", ["int32", "uint32", "int64", "int8"])
def test_integers_overflow_and_divide_by_zero_as_in_jax(dtype):
    limits = np.iinfo(dtype)
    values = [0, 1, 2, 3, 7, 31, 32, 63, 64, 100, limits.max, limits.max - 1, limits.min]
    values += [-1, -2, -7] if limits.min else []
    check(lambda a, b: [f(a, b) for f in OF_INTEGERS.values()], *pairs(np.array(values, dtype)))


def test_booleans():
    a, b = pairs(np.array([False, True]))
    functions = (lambda a, b: a & b, lambda a, b: a | b, lambda a, b: a ^ b, lambda a, b: ~a, lambda a, b: a == b,
                 lambda a, b: a.astype(jnp.float32), lambda a, b: a.astype(jnp.int32), jnp.maximum)  # fmt: skip
    check(lambda a, b: [f(a, b) for f in functions], a, b)


def moved(x):
    """What moves entries, on an array (3, 4) that is computed and on a product of it."""
    y = x * 2
    return [
        x.T, x.reshape(12), y.reshape(2, 6), y[1:, ::2], y[::-1], x[:, None, :] + y[None], jnp.concatenate([x, y], 1),
        jnp.stack([x, y], 1), jnp.pad(y, ((1, 2), (0, 3)), constant_values=5), jnp.split(x, 2, axis=1),
        jnp.broadcast_to(y[:1], (5, 4)), lax.broadcasted_iota(jnp.int32, (3, 4), 1), lax.iota(x.dtype, 20) * y[0, 0],
        jnp.squeeze(y[:1]), lax.select_n(jnp.asarray([0, 1, 2, 1], jnp.int32), y[0], y[1], y[2]),
    ]  # fmt: skip


def summed(x):
    """What reduces an array (3, 4); exact for small integers, whatever the order."""
    y = x * 2 + 1
    return [
        x.sum(), y.sum(0), y.sum(1), jnp.sign(y).prod(1), y.max(0), y.min(), (x > 0).any(1), (x > 0).all(0),
        (x * y).sum(0),
        jnp.argmax(y, 1), jnp.argmin(x, 0), x @ y.T, x.T @ y, jnp.einsum("ij,kj->ik", x, y),
        jnp.einsum("ij,ij->i", x, y), jnp.einsum("ij,kl->ikjl", x, y), jnp.sum(x * y[:1]), x.astype(jnp.int32).sum(0),
    ]  # fmt: skip


@pytest.mark.parametrize("function", [moved, summed])
@pytest.mark.parametrize("shape", [(3, 4), (9, 20)])
def test_moves_and_sums_of_small_and_large_arrays(function, shape):
    """Small arrays are written out, large ones are loops."""
    if shape == (9, 20) and function is moved:
        function = moved_large
    values = np.random.default_rng(0).integers(-3, 4, (6, *shape)).astype(np.float32)
    check(function, values, signs=function is not summed)


def moved_large(x):
    y = x * 2
    return [
        x.T, x.reshape(180), y.reshape(12, 15), y[1:, ::2], y[::-1], x[:3, None, :] + y[None, :3],
        jnp.concatenate([x, y], 1), jnp.stack([x, y], 1), jnp.pad(y, ((1, 2), (0, 3))),
        jnp.broadcast_to(y[:1], (5, 20)),
        lax.broadcasted_iota(jnp.int32, (9, 20), 1), lax.iota(x.dtype, 40) * y[0, 0],
        y.T.reshape(30, 6),
    ]  # fmt: skip


def looped(x):
    """Loops and branches, on an array (3, 4)."""

    def step(carry, row):
        total, count = carry
        total = jnp.tanh(total * 0.5 + row) + x[0]
        return (total, count + 1), (total.sum(), row * 2)

    start = (x[0] * 0, jnp.zeros((), jnp.int32))
    swap = lambda pair, _: ((pair[1] * 0.5, pair[0] + 1), None)  # noqa: E731
    branches = [lambda a: a, lambda a: a * 2, lambda a: a - 1]
    return [
        jax.lax.scan(step, start, x), jax.lax.scan(step, start, x * 2, reverse=True),
        jax.lax.scan(swap, (x, x.T.reshape(x.shape)), None, length=5),
        jax.lax.fori_loop(0, 3, lambda i, a: a * 0.5 + i, x),
        lax.while_loop(lambda c: (abs(c[0]).sum() < 50) & (c[1] < 9), lambda c: (c[0] * 1.5 + x, c[1] + 1), (x, 0)),
        lax.while_loop(lambda c: c > 5, lambda c: c - x[0, 0] ** 2 - 1, x[0, 1]),
        lax.cond(x[0, 0] > 0, lambda a: a + 1, lambda a: a * 3, x),
        lax.switch(jnp.clip(x[0, 0].astype(jnp.int32), -1, 4), branches, x),
    ]  # fmt: skip


@pytest.mark.parametrize("shape", [(3, 4), (5, 40)])
def test_loops_and_branches(shape):
    check(looped, np.random.default_rng(1).integers(-3, 4, (6, *shape)).astype(np.float64), rtol=1e-12)


def test_powers():
    values = np.array([0.0, -0.0, 1, -1, 2, 3, -3, 0.5, -0.5, 2.5, 1e30, -1e30, INF, -INF, NAN, 0.9, 0.999], np.float32)
    x, y = pairs(values)
    check(lambda a, b: [a**b, a ** b.astype(jnp.int32)], x, y, rtol=3e-7)


def drawn(words, number):
    """Keys and draws, and a scan over keys."""
    key = jax.random.fold_in(jax.random.wrap_key_data(words), number)
    a, b = jax.random.split(key)
    chosen = jnp.where(number > 0, a, b)
    draws = lax.scan(lambda k, _: (jax.random.split(k)[1], jax.random.bits(k)), chosen, None, length=3)
    return [
        jax.random.key_data(key), jax.random.bits(a, (5,)), jax.random.uniform(b, (3, 2)), jax.random.permutation(a, 7),
        jax.random.permutation(b, 40), jax.random.bernoulli(b, 0.3, (4,)), jax.random.key_data(draws[0]), draws[1],
    ]  # fmt: skip


def test_random_numbers_are_those_of_jax():
    words = np.asarray(jax.random.key_data(jax.random.split(jax.random.key(7), 6)))
    check(drawn, words, np.arange(-2, 4, dtype=np.int32))


def looked_up(x, i):
    """Entries at places that differ between runs, also outside the array; x (9, 20), i (5,)."""
    table = jnp.arange(54.0, dtype=x.dtype).reshape(9, 6)
    return [
        x[i], table[i % 9], x[i, i % 7], jnp.take(x, i, axis=1, mode="clip"), jnp.take(x, i, axis=0),
        lax.dynamic_slice(x, (i[0], i[1]), (2, 3)), lax.dynamic_update_slice(x, x[:2, :3] * 2, (i[2], i[3])),
        lax.dynamic_index_in_dim(table, i[0], keepdims=False), jnp.sort(i), jnp.argsort(i),
        jnp.sort(-i.astype(jnp.int64)),
    ]  # fmt: skip


def test_places_that_differ_between_runs():
    rng = np.random.default_rng(2)
    check(looked_up, rng.normal(size=(6, 9, 20)).astype(np.float32), rng.integers(-4, 12, (6, 5)).astype(np.int32))


def test_equal_keys_stay_in_their_order():
    """Three keys among 45 entries, sorted along either axis."""
    keys = np.random.default_rng(3).integers(0, 3, (6, 3, 45)).astype(np.int32)
    check(lambda k: [lax.sort([k, lax.broadcasted_iota(jnp.int32, (3, 45), axis)], dimension=axis, num_keys=1)
                     for axis in (0, 1)], keys)  # fmt: skip


def test_the_first_extreme_and_nan_win():
    x = np.array([[1, 3, 3, 0], [1, NAN, 3, NAN], [-INF, -INF, -INF, -INF], [2, 1, 1, 2]], np.float32)
    check(lambda x: [jnp.argmax(x), jnp.argmin(x), x.max(), x.min()], x)


def test_sums_are_in_the_order_of_the_index():
    """1e8 + 1 - 1e8 is 0 in float32, 1e8 - 1e8 + 1 is 1; a sum over a product is fused: (1 + ε)² - 1 keeps ε²."""
    x = np.array([[1e8, 1.0, -1e8], [1e8, -1e8, 1.0]], np.float32)
    assert evaluated(lambda x: x.sum(), x)[0].tolist() == [0.0, 1.0]
    tiny = np.float32(2.0**-23)
    a = np.array([[-1.0, 1 + tiny]], np.float32)
    b = np.array([[1.0, 1 + tiny]], np.float32)
    exact = 2 * 2.0**-23 + 2.0**-46
    for function in (lambda a, b: (a * b).sum(), lambda a, b: a @ b):
        assert evaluated(function, a, b)[0].item() == np.float32(exact)


def test_what_has_no_rule_is_named():
    for function, name in (
        (lax.lgamma, "lgamma"),
        (jnp.cumsum, "cumsum"),
        (lambda x: x.astype(jnp.bfloat16), "bfloat16"),
    ):
        with pytest.raises(Unsupported, match=name):
            evaluated(function, np.ones((2, 3), np.float32))


SIZES = st.sampled_from([1, 2, 3, 5, 17])


@st.composite
def programs(draw):
    """A program on x (a, b) and w (b, c): a random chain of elementwise operations, sums, products and moves."""
    steps = draw(st.lists(st.integers(0, 11), min_size=2, max_size=7))
    return draw(SIZES), draw(SIZES), draw(SIZES), steps, draw(st.integers(0, 1000))


def program(steps):
    def run(x, w):
        y = x
        for step in steps:
            match step:
                case 0:
                    y = y * 0.5 + 1
                case 1:
                    y = jnp.where(y > 0.3, y, -y)
                case 2:
                    y = jnp.maximum(y, x[:, :1])
                case 3:
                    y = y - y.mean(0, keepdims=True)
                case 4:
                    y = y / (1 + jnp.abs(y).sum(1, keepdims=True))
                case 5:
                    y = jnp.concatenate([y, y[:, ::-1]], 1)[:, : y.shape[1]]
                case 6:
                    y = (y.T @ y)[:1] + y
                case 7:
                    y = jnp.tanh(y) if y.shape[0] > 2 else jax.nn.sigmoid(y)
                case 8:
                    y = jax.jit(lambda a: a * a)(y)
                case 9:
                    y = y[::-1]
                case 10:
                    y = jnp.broadcast_to(y.sum(), y.shape) + y
                case 11:
                    y = jnp.clip(y, -1, 1)
        return y, y @ w, (y[:, :, None] * w[None]).sum(1), jnp.argmax(y, 1) >= 0

    return run  # fmt: skip


@settings(max_examples=6, deadline=None, derandomize=True)
@given(programs())
def test_random_programs_agree_with_jax(case):
    a, b, c, steps, seed = case
    rng = np.random.default_rng(seed)
    x, w = rng.normal(size=(5, a, b)), rng.normal(size=(5, b, c))
    check(program(steps), x, w, rtol=1e-12)


@pytest.mark.thorough
@settings(max_examples=60, deadline=None)
@given(programs())
def test_many_random_programs_agree_with_jax(case):
    test_random_programs_agree_with_jax.hypothesis.inner_test(case)
