"""Padding, up-sampling, pixel shuffle and adaptive pooling against NumPy's own functions, loops and values by hand."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import passes
import pytest

import bpjax as bp
from bpjax import layers

THOROUGH = pytest.mark.thorough
KEY = jax.random.key(0)


def draw(*shape):
    return jnp.asarray(np.random.default_rng(4).normal(size=shape))


def forward(layer, x):
    """y of an image without batch and channels."""
    y = passes.quick_jit(lambda x: layer.forward((), x)[0])(jnp.asarray(x)[None, ..., None])
    return np.asarray(y)[0, ..., 0]


def backward(layer, x, dy):
    """dx of an image without batch and channels."""
    x, dy = (jnp.asarray(a)[None, ..., None] for a in (x, dy))
    dx = passes.quick_jit(lambda x, dy: layer.backward((), layer.forward((), x)[1], dy)[1])(x, dy)
    return np.asarray(dx)[0, ..., 0]


NUMPYS = {"zeros": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}
LETTERS = {  # of a b c d, two before and two after, and where their errors 1 2 | 3 4 5 6 | 7 8 add up
    "zeros": ("..abcd..", [3, 4, 5, 6]),
    "reflect": ("cbabcdcb", [3, 4 + 2 + 8, 5 + 1 + 7, 6]),
    "replicate": ("aaabcddd", [3 + 1 + 2, 4, 5, 6 + 7 + 8]),
    "circular": ("cdabcdab", [3 + 7, 4 + 8, 5 + 1, 6 + 2]),
}


@pytest.mark.parametrize("mode", LETTERS)
def test_padding_by_hand(mode):
    layer, (text, dx) = layers.pad(2, mode), LETTERS[mode]
    x, dy = np.array([1.0, 2, 3, 4]), np.arange(1.0, 9)
    np.testing.assert_array_equal(forward(layer, x), [".abcd".index(letter) for letter in text])
    np.testing.assert_array_equal(backward(layer, x, dy), dx)


@THOROUGH
@pytest.mark.parametrize("mode", NUMPYS)
@pytest.mark.parametrize("pairs", [((1, 2), (0, 1), (2, 0)), ((0, 0), (2, 2), (1, 1))])
def test_padding_is_that_of_numpy(mode, pairs):
    x = np.asarray(draw(3, 4, 3))
    options = {"constant_values": 0.5} if mode == "zeros" else {}
    layer = layers.pad(pairs, mode, 0.5 if mode == "zeros" else 0.0)
    np.testing.assert_array_equal(forward(layer, x), np.pad(x, pairs, NUMPYS[mode], **options))
    out_shape = tuple(n + low + high for n, (low, high) in zip(x.shape, pairs, strict=True))
    assert layer.init(KEY, (*x.shape, 1)) == ((), (*out_shape, 1))


def test_negative_padding_cuts():
    x, layer = np.arange(5.0), layers.pad(((-2, 1),))
    np.testing.assert_array_equal(forward(layer, x), [2, 3, 4, 0])
    np.testing.assert_array_equal(backward(layer, x, [1.0, 2, 3, 4]), [0, 0, 1, 2, 3])


def taps_by_definition(n, o, method, align):
    """The matrix (O, n) of an interpolation, from the definition in the docstring."""
    a = np.zeros((o, n))
    for row in range(o):
        if method == "linear":
            at = row * (n - 1) / (o - 1) if align else max((row + 0.5) * n / o - 0.5, 0)
            left = min(int(at), n - 1)
            a[row, left] += 1 - (at - left)
            a[row, min(left + 1, n - 1)] += at - left
        else:
            a[row, min(int((row + 0.5 * (method == "nearest-exact")) * n / o), n - 1)] = 1
    return a


METHODS = [("nearest", False), ("nearest-exact", False), ("linear", False), ("linear", True)]


@pytest.mark.parametrize(("method", "align"), METHODS)
@pytest.mark.parametrize("size", [(5, 7), *(pytest.param(s, marks=THOROUGH) for s in [(6, 8), (2, 3), (4, 4)])])
def test_upsampling_is_its_matrix_along_each_axis(method, align, size):
    x, dy = np.asarray(draw(3, 4)), np.asarray(draw(*size))
    layer = layers.upsample(size=size, method=method, align_corners=align)
    a, b = (taps_by_definition(n, o, method, align) for n, o in zip(x.shape, size, strict=True))
    np.testing.assert_allclose(forward(layer, x), a @ x @ b.T, rtol=1e-13, atol=1e-14)
    np.testing.assert_allclose(backward(layer, x, dy), a.T @ dy @ b, rtol=1e-13, atol=1e-14)


def test_upsampling_by_hand():
    x = np.array([1.0, 3.0])
    # linear, factor 2: positions −¼ → 0, ¼, ¾, 5/4 → 1;  corners aligned, 4 outputs: 0, ⅓, ⅔, 1
    np.testing.assert_allclose(forward(layers.upsample(2, method="linear"), x), [1, 1.5, 2.5, 3])
    aligned = layers.upsample(size=4, method="linear", align_corners=True)
    np.testing.assert_allclose(forward(aligned, x), [1, 5 / 3, 7 / 3, 3])
    np.testing.assert_allclose(backward(aligned, x, [1.0, 3, 6, 10]), [1 + 2 + 2, 1 + 4 + 10])
    np.testing.assert_array_equal(
        forward(layers.upsample((2, 3)), [[1.0, 2], [3, 4]]), np.kron([[1, 2], [3, 4]], np.ones((2, 3)))
    )
    one = layers.upsample(size=1, method="linear", align_corners=True)
    np.testing.assert_array_equal(forward(one, x), [1])


def test_a_nan_stays_where_it_is_read():
    x = np.array([1.0, np.nan, 3.0, 4.0])
    np.testing.assert_array_equal(np.isnan(forward(layers.upsample(2, method="linear"), x)), [0, 1, 1, 1, 1, 0, 0, 0])
    np.testing.assert_array_equal(np.isnan(forward(layers.adaptive_average_pool(3), x)), [1, 1, 0])
    np.testing.assert_array_equal(np.isnan(forward(layers.adaptive_max_pool(3), x)), [1, 1, 0])


def test_pixel_shuffle_by_hand_and_its_inverse():
    # one position with channels (0 … 7): channel 0 is the block 0 1 / 2 3, channel 1 the block 4 5 / 6 7
    x = jnp.arange(8.0).reshape(1, 1, 1, 8)
    y = layers.pixel_shuffle(2).forward((), x)[0]
    np.testing.assert_array_equal(y[0, :, :, 0], [[0, 1], [2, 3]])
    np.testing.assert_array_equal(y[0, :, :, 1], [[4, 5], [6, 7]])
    for shape in ((2, 3, 9), (2, 1, 3, 9), (1, 2, 1, 2, 54)):
        x = draw(*shape)
        y, _ = layers.pixel_shuffle(3).forward((), x)
        assert layers.pixel_shuffle(3).init(KEY, shape[1:])[1] == y.shape[1:]
        np.testing.assert_array_equal(layers.pixel_unshuffle(3).forward((), y)[0], x)
        np.testing.assert_array_equal(layers.pixel_shuffle(3).backward((), (), y)[1], x)


def boxes(n, o):
    """The first and the last position of each window, by the definition."""
    return [(math.floor(i * n / o), math.ceil((i + 1) * n / o)) for i in range(o)]


@pytest.mark.parametrize("ties", [pytest.param(False, marks=THOROUGH), True])
@pytest.mark.parametrize(
    ("image", "size"), [((7,), (3,)), ((5, 4), (2, 3)), ((2, 3), (3, 2)), ((4, 3, 2), (2, None, 1))]
)
def test_adaptive_pooling_against_loops(image, size, ties):
    x = np.asarray(draw(*image))
    x = np.round(x) if ties else x
    out = tuple(n if o is None else o for n, o in zip(image, size, strict=True))
    dy = np.asarray(draw(*out))
    largest, average, d_largest, d_average = np.zeros(out), np.zeros(out), np.zeros(image), np.zeros(image)
    for o in np.ndindex(*out):
        box = [boxes(n, m)[i] for n, m, i in zip(image, out, o, strict=True)]
        positions = list(itertools.product(*(range(*edges) for edges in box)))
        values = [x[i] for i in positions]
        largest[o], average[o] = max(values), sum(values) / len(values)
        d_largest[positions[values.index(max(values))]] += dy[o]  # the first of equal ones
        for i in positions:
            d_average[i] += dy[o] / len(values)
    for layer, y, dx in (
        (layers.adaptive_max_pool(size), largest, d_largest),
        (layers.adaptive_average_pool(size), average, d_average),
    ):
        np.testing.assert_allclose(forward(layer, x), y, rtol=1e-13, atol=1e-15)
        np.testing.assert_allclose(backward(layer, x, dy), dx, rtol=1e-13, atol=1e-15)
        assert layer.init(KEY, (*image, 1))[1] == (*out, 1)


@THOROUGH
def test_adaptive_pooling_into_equal_windows_is_ordinary_pooling():
    x = draw(2, 6, 4, 3)
    for adaptive, ordinary in (
        (layers.adaptive_max_pool((3, 2)), layers.max_pool((2, 2))),
        (layers.adaptive_average_pool((3, 2)), layers.average_pool((2, 2))),
    ):
        np.testing.assert_allclose(adaptive.forward((), x)[0], ordinary.forward((), x)[0], rtol=1e-14)


def test_lp_pool_by_hand():
    # p = 2 of (3, −4): y = 5, dy = 10: dx = 10 (3/5, −4/5);  p = 1: y = 7, dx = ±10;  p = 3: y = 91^⅓
    x, dy = np.array([3.0, -4.0]), np.array([10.0])
    assert forward(layers.lp_pool(2, 2), x).tolist() == [5]
    np.testing.assert_allclose(backward(layers.lp_pool(2, 2), x, dy), [6, -8], rtol=1e-15)
    np.testing.assert_allclose(backward(layers.lp_pool(1, 2), x, dy), [10, -10], rtol=1e-15)
    np.testing.assert_allclose(forward(layers.lp_pool(3, 2), x), [91 ** (1 / 3)], rtol=1e-15)
    np.testing.assert_allclose(backward(layers.lp_pool(3, 2), x, dy), [90 / 91 ** (2 / 3), -160 / 91 ** (2 / 3)])


@THOROUGH
def test_lp_pool_of_zeros_and_of_huge_values(float32):
    layer = layers.lp_pool(4, 2)
    run = passes.compiled(passes.run_and_vjp)
    x = jnp.array([0.0, 0, 3e30, 4e30, 1e-30, 0]).reshape(1, 6, 1)
    y, (_, dx), (_, by_jax) = run(layer, (), x, jnp.ones((1, 3, 1)))
    assert float(y[0, 0, 0]) == 0 and not dx[0, :2].any() and jnp.isfinite(by_jax).all()
    np.testing.assert_allclose(y.ravel()[1:], [337**0.25 * 1e30, 1e-30], rtol=1e-6)
    np.testing.assert_allclose(dx, by_jax, rtol=1e-5)


@THOROUGH
def test_no_scatter_in_the_backward_passes():
    x = jnp.ones((2, 6, 5, 4), jnp.float32)
    for layer in (
        layers.adaptive_max_pool((4, 3)), layers.adaptive_average_pool((4, 3)), layers.upsample(1.5, method="linear"),
        layers.upsample(2), layers.pad(((1, 2), (2, 1)), "reflect"), layers.pixel_shuffle(2),
        layers.lp_pool(2, (3, 2), 1), layers.max_pool((2, 2), 1, dilation=2),
    ):  # fmt: skip
        y, residuals = jax.eval_shape(layer.forward, (), x)
        assert "scatter" not in jax.jit(layer.backward).lower((), residuals, y).as_text(), layer


@THOROUGH
def test_padding_of_a_convolution_is_that_of_the_layer(keys):
    x = draw(2, 5, 4, 3)
    for mode in ("reflect", "replicate", "circular"):
        whole = bp.conv(2, (3, 2), padding=((1, 2), (0, 1)), padding_mode=mode)
        params = whole.init(next(keys), (5, 4, 3))[0]
        inner = bp.conv(2, (3, 2), padding="VALID")
        y, _ = layers.pad(((1, 2), (0, 1)), mode).forward((), x)
        np.testing.assert_allclose(whole.forward(params, x)[0], inner.forward(params, y)[0], rtol=1e-12, atol=1e-13)


@THOROUGH
@pytest.mark.parametrize("groups", [1, 2, 4])
def test_a_causal_convolution_sees_no_later_position(groups, keys):
    layer = bp.conv(4, 3, padding="CAUSAL", dilation=2, groups=groups)
    params, out_shape = layer.init(next(keys), (7, 4))
    assert out_shape == (7, 4)
    jacobian = jax.jacobian(lambda x: layer.forward(params, x)[0].sum((0, 2)))(draw(1, 7, 4))[:, 0].any(axis=-1)
    # position o reads o, o − 2 and o − 4
    np.testing.assert_array_equal(jacobian, [[o - i in (0, 2, 4) for i in range(7)] for o in range(7)])


def test_a_causal_convolution_with_stride_by_hand():
    # x = (1, 2, 3, 4, 5), kernel (10, 1), stride 2: o = 0: 1;  o = 1: 10·2 + 3;  o = 2: 10·4 + 5
    layer, x = bp.conv(1, 2, 2, "CAUSAL", use_bias=False), jnp.arange(1.0, 6).reshape(1, 5, 1)
    y, _ = layer.forward(layers.Affine(jnp.array([10.0, 1]).reshape(2, 1, 1)), x)
    assert y.ravel().tolist() == [1, 23, 45]


@THOROUGH
def test_depthwise_and_separable_convolutions_are_convolutions(keys):
    x, depthwise = draw(2, 5, 3), layers.depthwise_conv(3, multiplier=2, padding="CAUSAL")
    params, shape = depthwise.init(next(keys), (5, 3))
    assert shape == (5, 6) and params.w.shape == (3, 1, 6)
    plain = bp.conv(6, 3, padding="CAUSAL", groups=3)
    np.testing.assert_array_equal(depthwise.forward(params, x)[0], plain.forward(params, x)[0])
    separable = layers.separable_conv(4, 3)
    (first, second), shape = separable.init(next(keys), (5, 3))
    # one full kernel with the product of both: W_tcf = u_tc V_cf
    full = layers.Affine(first.w[:, 0, :, None] * second.w[0][None], second.b)
    expected = bp.conv(4, 3).forward(full, x)[0]
    np.testing.assert_allclose(separable.forward((first, second), x)[0], expected, rtol=1e-12)
    assert repr(depthwise) == "depthwise_conv((3,), padding='CAUSAL', multiplier=2)"


X1, X2 = jnp.ones((1, 3, 1)), jnp.ones((1, 3, 3, 2))
BAD = {
    "`pad` expected `mode` to be one of zeros, reflect": lambda: layers.pad(1, "mirror"),
    "`pad` expected `value` to be 0 in mode": lambda: layers.pad(1, "reflect", 1.0),
    r"`pad` expected `padding` to be a pair \(low, high\)": lambda: layers.pad(((1, 2, 3),)),
    r"≥ 0 unless the mode is \"zeros\"": lambda: layers.pad(-1, "circular"),
    "a padding of at most 2 in mode \"reflect\" for 3 positions": lambda: layers.pad(3, "reflect").forward((), X1),
    "to leave at least one position of 3": lambda: layers.pad(-2).init(KEY, (3, 1)),
    "`upsample` expected either `factor` or `size`": lambda: layers.upsample(),
    "`upsample` expected `method` to be one of": lambda: layers.upsample(2, method="cubic"),
    "`align_corners` with method=\"linear\" only": lambda: layers.upsample(2, align_corners=True),
    "`factor` to be a number > 0": lambda: layers.upsample(0),
    "that leaves a position": lambda: layers.upsample(0.1).forward((), X1),
    "`upsample` expected `size`": lambda: layers.upsample(size=(1, 2, 3, 4)),
    "channels that are a multiple of 4": lambda: layers.pixel_shuffle(2).forward((), X2),
    "spatial axes that are multiples of 2": lambda: layers.pixel_unshuffle(2).forward((), X2),
    "`pixel_shuffle` expected `factor`": lambda: layers.pixel_shuffle(0),
    "`adaptive_max_pool` expected `size` to be an integer": lambda: layers.adaptive_max_pool(()),
    "`adaptive_average_pool` expected `size`": lambda: layers.adaptive_average_pool(0),
    "`lp_pool` expected `power`": lambda: layers.lp_pool(0.5, 2),
    "expected sequences, with one spatial axis": lambda: bp.conv(2, (2, 2), padding="CAUSAL"),
    "`conv` expected `padding_mode`": lambda: bp.conv(2, 2, padding_mode="wrap"),
    "`conv` expected a padding of at most": lambda: bp.conv(2, 9, padding_mode="reflect").init(KEY, (3, 1)),
    '`conv_transpose` expected `padding` to be "SAME", "VALID"': lambda: layers.conv_transpose(2, 2, padding="CAUSAL"),
    "`depthwise_conv` expected `multiplier`": lambda: layers.depthwise_conv(2, multiplier=0),
}  # fmt: skip


@pytest.mark.parametrize("message", BAD)
def test_bad_arguments(message):
    with pytest.raises(ValueError, match=message):
        BAD[message]()
