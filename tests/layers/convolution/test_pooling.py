"""Pooling against NumPy loops and `jax.vjp`; ties, NaN, infinities and positions outside all windows."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import passes
import pytest
from oracles import relative_error

from bpjax.layers.convolution.global_pool import global_average_pool, global_max_pool
from bpjax.layers.convolution.pooling import average_pool, max_pool


def run(layer, x, dy):
    """y and dx, compiled as one program."""
    y, (_, dx) = passes.compiled(passes.run)(layer, (), x, dy)
    return y, dx


def draw(*shape):
    """Normal values, drawn by NumPy, which compiles nothing."""
    return jnp.asarray(np.random.default_rng(20261125).normal(size=shape))


def vjp(layer, x, dy):
    return passes.compiled(passes.vjp)(layer, (), x, dy)[1]


def loops(kind, x, dy, window, stride, pairs):
    """y and dx in Python loops over windows; `kind` is "max" or "average"."""
    x, dy = np.asarray(x), np.asarray(dy)
    y, dx = np.zeros(dy.shape), np.zeros(x.shape)
    for n, *o, c in np.ndindex(*dy.shape):
        begin = [s * o_ - low for s, o_, (low, _) in zip(stride, o, pairs, strict=True)]
        positions = [tuple(b + t_ for b, t_ in zip(begin, t, strict=True)) for t in np.ndindex(*window)]
        inside = [i for i in positions if all(0 <= i_ < size for i_, size in zip(i, x.shape[1:-1], strict=True))]
        values = [x[n, *i, c] for i in inside]
        if kind == "max":
            y[n, *o, c] = max(values)
            dx[n, *inside[values.index(max(values))], c] += dy[n, *o, c]
        else:
            y[n, *o, c] = sum(values) / len(values)
            for i in inside:
                dx[n, *i, c] += dy[n, *o, c] / len(values)
    return y, dx


# window, stride, pairs, in_shape
CASES = {
    "tiles": ((2, 3), (2, 3), ((0, 0), (0, 0)), (4, 6, 2)),
    "tiles of a sequence": ((2,), (2,), ((0, 0),), (6, 2)),
    "tiles of a volume": ((2, 1, 2), (2, 1, 2), ((0, 0),) * 3, (2, 2, 4, 2)),
    "tiles with a remainder": ((2, 2), (2, 2), ((0, 0), (0, 0)), (5, 3, 2)),
    "overlapping": ((3, 2), (1, 1), ((0, 0), (0, 0)), (4, 4, 2)),
    "overlapping, padded": ((3, 3), (2, 2), ((1, 2), (0, 1)), (4, 5, 2)),
    "apart": ((1, 2), (2, 3), ((0, 0), (0, 0)), (5, 7, 2)),
    "one position": ((1, 1), (1, 1), ((0, 0), (0, 0)), (1, 1, 2)),
}


@pytest.mark.parametrize("kind", ["max", "average"])
@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize(("window", "stride", "pairs", "in_shape"), CASES.values(), ids=CASES)
def test_against_numpy_loops_and_vjp(kind, window, stride, pairs, in_shape, ties, keys):
    layer = (max_pool if kind == "max" else average_pool)(window, stride, pairs)
    _, out_shape = layer.init(next(keys), in_shape)
    x = draw(2, *in_shape)
    x = jnp.round(x) if ties else x  # mostly −1, 0 and 1: many ties
    dy = draw(2, *out_shape)
    y, dx = run(layer, x, dy)
    expected = loops(kind, x, dy, window, stride, pairs)
    np.testing.assert_allclose(y, expected[0], rtol=1e-13, atol=1e-14)
    np.testing.assert_allclose(dx, expected[1], rtol=1e-13, atol=1e-14)
    assert relative_error(dx, vjp(layer, x, dy)) < 1e-12


@pytest.mark.parametrize("layer", [global_max_pool, global_average_pool], ids=lambda layer: layer.name)
@pytest.mark.parametrize("in_shape", [(5, 2), (3, 4, 2), (2, 3, 2, 1), (1, 1, 2)])
def test_global_pools_are_pools_of_one_window(layer, in_shape, keys):
    one = (max_pool if layer is global_max_pool else average_pool)(in_shape[:-1])
    x = jnp.round(draw(3, *in_shape))
    dy = draw(3, in_shape[-1])
    y, dx = run(layer, x, dy)
    apart = (3, *(1 for _ in in_shape[:-1]), in_shape[-1])
    y_one, dx_one = run(one, x, dy.reshape(apart))
    assert layer.init(next(keys), in_shape) == ((), (in_shape[-1],))
    np.testing.assert_allclose(y.reshape(apart), y_one, rtol=1e-13, atol=1e-14)
    np.testing.assert_allclose(dx, dx_one, rtol=1e-13, atol=1e-14)
    assert relative_error(dx, vjp(layer, x, dy)) < 1e-12


@pytest.mark.parametrize("layer", [max_pool((2, 2)), max_pool((2, 2), padding=((1, 0), (1, 0))), global_max_pool])
@pytest.mark.parametrize("value", [0.0, -math.inf])
def test_the_first_of_equal_maxima_takes_the_error(layer, value):
    # all four equal: only position (0, 0); padded by one, each of the four windows starts at another position
    x = jnp.full((1, 2, 2, 1), value)
    y, _ = layer.forward((), x)
    dx = run(layer, x, jnp.ones_like(y))[1]
    np.testing.assert_array_equal(dx.ravel(), [1, 0, 0, 0] if y.size == 1 else np.ones(4)[: dx.size])


def test_overlapping_windows_add_their_errors():
    # x = (1, 5, 2), windows (1, 5) and (5, 2): both find 5
    y, dx = run(max_pool(2, 1), jnp.array([1.0, 5, 2]).reshape(1, 3, 1), jnp.array([10.0, 1]).reshape(1, 2, 1))
    np.testing.assert_array_equal(y.ravel(), [5, 5])
    np.testing.assert_array_equal(dx.ravel(), [0, 11, 0])


@pytest.mark.parametrize("value", [1.0, math.inf, math.nan])
def test_autodiff_of_the_forward_pass_agrees_at_ties(value):
    x, layer = jnp.full((1, 4, 4, 1), value), max_pool((3, 3), 1, ((1, 0), (0, 1)))
    y, dx = run(layer, x, jnp.ones((1, 3, 3, 1)))
    np.testing.assert_array_equal(y, jnp.full(y.shape, value))
    np.testing.assert_array_equal(dx, vjp(layer, x, jnp.ones_like(y)))


def test_padding_does_not_count():
    # x = (2, 4), one position of padding at each end, windows of 2 with stride 1: (·, 2), (2, 4), (4, ·)
    x, dy = jnp.array([2.0, 4]).reshape(1, 2, 1), jnp.array([1.0, 2, 4]).reshape(1, 3, 1)
    y, dx = run(average_pool(2, 1, ((1, 1),)), x, dy)
    np.testing.assert_array_equal(y.ravel(), [2, 3, 4])
    np.testing.assert_array_equal(dx.ravel(), [1 + 1, 1 + 4])
    y, _ = run(max_pool(2, 1, ((1, 1),)), -x, dy)
    np.testing.assert_array_equal(y.ravel(), [-2, -2, -4])


@pytest.mark.parametrize("layer", [max_pool((2, 2)), max_pool((2, 2), 1), max_pool((2, 2), 1, ((1, 0), (0, 0)))])
def test_nan_propagates(layer):
    x = jnp.array([3.0, 1, jnp.nan, 2]).reshape(1, 2, 2, 1)
    y, residuals = layer.forward((), x)
    assert jnp.isnan(y[0, -1, -1, 0])
    dx = layer.backward((), residuals, jnp.zeros_like(y).at[0, -1, -1, 0].set(1.0))[1]
    np.testing.assert_array_equal(dx.ravel(), [0, 0, 1, 0])  # as documented: the NaN


def test_residuals_are_small():
    (found, empty), bytes_of_x = max_pool((2, 2)).forward((), jnp.ones((2, 8, 8, 3), jnp.float32))[1], 2 * 8 * 8 * 3 * 4
    assert (found.dtype, empty.size) == (jnp.uint8, 0)
    assert found.nbytes * 16 == bytes_of_x
    assert jax.eval_shape(max_pool(256).forward, (), jnp.ones((1, 256, 1)))[1][0].dtype == jnp.uint8
    assert jax.eval_shape(max_pool(300).forward, (), jnp.ones((1, 300, 1)))[1][0].dtype == jnp.uint16
    assert average_pool((2, 2)).forward((), jnp.ones((2, 8, 8, 3)))[1].size == 0


@pytest.mark.parametrize("layer", [max_pool((3, 3), 1, "SAME"), average_pool((8, 8)), average_pool((3, 3), 1, "SAME")])
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_half_precision_is_rounded_once(layer, dtype, keys):
    x = draw(4, 8, 8, 3).astype(dtype)
    dy = draw(*layer.forward((), x)[0].shape).astype(dtype)
    exact = run(layer, x.astype(jnp.float64), dy.astype(jnp.float64))
    for found, value in zip(run(layer, x, dy), exact, strict=True):
        assert found.dtype == dtype
        error = np.linalg.norm(np.asarray(found, np.float64) - value) / np.linalg.norm(value)
        assert error < 1.2 * jnp.finfo(dtype).eps / 2


def test_no_scatter():
    x = jnp.ones((2, 4, 4, 1), jnp.float32)
    for layer in (max_pool((2, 2)), max_pool((3, 3), 2, "SAME"), global_max_pool):
        y, residuals = layer.forward((), x)
        assert "scatter" not in jax.jit(layer.backward).lower((), residuals, y).as_text()


BAD_ARGUMENTS = {
    "`max_pool` expected `window`": lambda: max_pool("2"),
    "`max_pool` expected `window` to be an integer ≥ 1": lambda: max_pool((2, 0)),
    "`average_pool` expected `stride`": lambda: average_pool((2, 2), 0),
    "`average_pool` expected `padding`": lambda: average_pool((2, 2), padding="FULL"),
    "`max_pool` expected a padding smaller than the window": lambda: max_pool(2, padding=((0, 2),)),
    "the output would be empty": lambda: max_pool((3, 3)).init(jax.random.key(0), (2, 5, 1)),
    "`average_pool` expected an image as large as a window": lambda: average_pool(3).forward((), jnp.ones((1, 2, 1))),
    "an `in_shape` of 3 positive": lambda: max_pool((2, 2)).init(jax.random.key(0), (4, 4)),
    r"`max_pool` expected `x` of shape \(N, H, W, C\)": lambda: max_pool((2, 2)).forward((), jnp.ones((4, 4, 1))),
    r"`global_max_pool` expected `x` of shape \(N, ..., C\)": lambda: global_max_pool.forward((), jnp.ones((4, 4))),
    "`global_average_pool` expected an `in_shape`": lambda: global_average_pool.init(jax.random.key(0), (4,)),
    "at least one example": lambda: max_pool(2).forward((), jnp.ones((0, 4, 1))),
    "of a floating-point type": lambda: max_pool(2).forward((), jnp.ones((1, 4, 1), int)),
}


@pytest.mark.parametrize("message", BAD_ARGUMENTS)
def test_bad_arguments(message):
    with pytest.raises(ValueError, match=message):
        BAD_ARGUMENTS[message]()
