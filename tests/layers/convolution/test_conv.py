"""Convolutions against NumPy loops, `jax.vjp`, `jax.lax` and values worked out by hand."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from full_size import at_full_size
from jax import lax
from oracles import relative_error
from passes import compiled, compiled_rules, run, vjp

import bpjax as bp
from bpjax.layers.convolution import all_cores, correlation
from bpjax.layers.convolution.conv import conv, conv_transpose
from bpjax.layers.convolution.windows import place, windows
from bpjax.networks.lenet import lenet

NAMES = {1: ("NWC", "WIO", "NWC"), 2: ("NHWC", "HWIO", "NHWC"), 3: ("NZHWC", "ZHWIO", "NZHWC")}


def prepare(layer, in_shape, keys, examples=2):
    """Normal params, x and dy, drawn by NumPy, which compiles nothing."""
    shapes = {}

    def init(key):
        params, shapes["out"] = layer.init(key, in_shape)
        return params

    params = jax.eval_shape(init, next(keys))
    random = np.random.default_rng(20261125)
    draw = lambda shape: jnp.asarray(random.normal(size=shape))
    params = jax.tree.map(lambda p: 0.3 * draw(p.shape), params)
    return params, draw((examples, *in_shape)), draw((examples, *shapes["out"]))


def loops(x, w, b, dy, stride, pairs, dilation, groups):
    """y, dW, db, dx by the sums of the textbook in Python loops; positions outside the image are skipped.

    y[n, o, f] = b[f] + Σ_t Σ_c x[n, s·o + d·t − low, c] w[t, c, f], c over the channels of f's group.
    """
    x, w, b, dy = (np.asarray(a) for a in (x, w, b, dy))
    *kernel, per_group, features = w.shape
    y, dw, db, dx = np.zeros(dy.shape), np.zeros(w.shape), np.zeros(features), np.zeros(x.shape)
    for n in range(len(x)):
        for o in np.ndindex(*dy.shape[1:-1]):
            for f in range(features):
                y[n, *o, f] += b[f]
                db[f] += dy[n, *o, f]
                for t in np.ndindex(*kernel):
                    i = tuple(
                        s * o_ + d * t_ - low
                        for s, o_, d, t_, (low, _) in zip(stride, o, dilation, t, pairs, strict=True)
                    )
                    if not all(0 <= i_ < size for i_, size in zip(i, x.shape[1:-1], strict=True)):
                        continue
                    for c in range(per_group):
                        channel = f // (features // groups) * per_group + c
                        y[n, *o, f] += x[n, *i, channel] * w[*t, c, f]
                        dw[*t, c, f] += x[n, *i, channel] * dy[n, *o, f]
                        dx[n, *i, channel] += w[*t, c, f] * dy[n, *o, f]
    return y, dw, db, dx


# features, kernel, stride, pairs, dilation, groups, in_shape
AGAINST_LOOPS = {
    "sequence": (3, (3,), (2,), ((1, 0),), (1,), 1, (6, 2)),
    "image, asymmetric": (2, (3, 2), (1, 2), ((2, 0), (0, 1)), (1, 1), 1, (4, 5, 2)),
    "dilated, strided, grouped": (4, (2, 2), (2, 1), ((1, 2), (0, 1)), (2, 3), 2, (5, 6, 4)),
    "depthwise, 2 for each channel": (6, (2, 3), (2, 1), ((0, 1), (1, 1)), (1, 2), 3, (4, 5, 3)),
    "volume": (2, (2, 1, 2), (1, 2, 1), ((0, 1), (0, 0), (1, 0)), (1, 1, 2), 1, (2, 3, 4, 2)),
    "one position": (3, (1, 1), (2, 3), ((1, 0), (0, 0)), (1, 1), 1, (4, 5, 2)),
    "more than 50 products": (2, (3, 3), (2, 1), ((1, 1), (0, 2)), (1, 2), 1, (4, 5, 6)),
}


@pytest.mark.parametrize("case", AGAINST_LOOPS.values(), ids=AGAINST_LOOPS)
def test_against_numpy_loops(case, keys):
    features, kernel, stride, pairs, dilation, groups, in_shape = case
    layer = conv(features, kernel, stride, pairs, dilation, groups)
    params, x, dy = prepare(layer, in_shape, keys)
    y, (dparams, dx) = compiled(run)(layer, params, x, dy)
    expected = loops(x, params.w, params.b, dy, stride, pairs, dilation, groups)
    for found, value in zip((y, dparams.w, dparams.b, dx), expected, strict=True):
        np.testing.assert_allclose(found, value, rtol=1e-12, atol=1e-13)


EDGE_CASES = {
    "stride larger than kernel": (conv(2, (2, 1), stride=3), (7, 5, 2)),
    "kernel larger than the image": (conv(2, (5, 4)), (3, 2, 2)),
    "more padding than kernel": (conv(2, (2, 2), padding=((3, 0), (0, 4))), (3, 2, 2)),
    "axes of one position": (conv(2, (3, 3), stride=2), (1, 1, 2)),
    "pairs of zeros": (conv(2, 3, padding=((0, 0),)), (5, 2)),
    "dilation, stride, groups": (conv(4, (3, 2), (2, 3), "SAME", (2, 1), 2), (7, 8, 2)),
    "positions after the last window": (conv(2, (2, 2), stride=3, padding="VALID"), (7, 6, 2)),
    "even kernel": (conv(2, (2, 4), use_bias=False), (4, 5, 1)),
    "depthwise": (conv(4, 3, stride=2, groups=4), (6, 4)),
    "depthwise, positions after the last window": (conv(4, 2, 3, "VALID", groups=2), (7, 2)),
    "groups of a channel, volume": (conv(2, (2, 2, 1), groups=2), (2, 3, 2, 2)),
    "one position": (conv(3, (1, 1), stride=2, padding="VALID"), (4, 5, 2)),
    "one position, groups": (conv(4, (1, 1), groups=2), (2, 3, 4)),
    "transposed": (conv_transpose(2, (3, 2), stride=(2, 3)), (3, 2, 3)),
    "transposed, stride larger than kernel": (conv_transpose(2, 2, stride=3, padding="VALID"), (4, 2)),
    "transposed, cut": (conv_transpose(2, (4, 3), 2, ((1, 2), (0, 1)), use_bias=False), (3, 2, 2)),
    "transposed, dilated": (conv_transpose(2, 2, stride=2, dilation=3, padding="VALID"), (3, 2)),
    "transposed, one position": (conv_transpose(3, 1, stride=2), (3, 2)),
    "transposed volume": (conv_transpose(2, (2, 1, 2), stride=2), (1, 2, 2, 2)),
}


@pytest.mark.parametrize(("layer", "in_shape"), EDGE_CASES.values(), ids=EDGE_CASES)
def test_backward_is_the_vjp_in_edge_cases(layer, in_shape, keys):
    params, x, dy = prepare(layer, in_shape, keys, examples=1)
    y, found = compiled(run)(layer, params, x, dy)
    assert y.shape == dy.shape
    assert relative_error(found, compiled(vjp)(layer, params, x, dy)) < 1e-12


# kernel, stride, padding, dilation, spatial
PLACEMENTS = {
    "sequence": (3, 1, "SAME", 1, (5,)),
    "image, strided, asymmetric": ((3, 2), (1, 3), ((2, 0), (3, 1)), 1, (4, 7)),
    "dilated, positions after the last window": ((2, 3), (2, 2), "VALID", (1, 2), (3, 8)),
    "more padding than kernel": (2, 2, ((3, 4),), 1, (5,)),
    "volume": ((2, 1, 2), 1, "SAME", 1, (2, 3, 4)),
}


@pytest.mark.parametrize("case", PLACEMENTS.values(), ids=PLACEMENTS)
def test_forms_for_a_cpu_are_the_convolution(case, monkeypatch):
    *arguments, spatial = case
    monkeypatch.setattr(all_cores, "BLOCK", 2 * 8 * 100)  # products over one to three of six examples
    at = place("conv", windows("conv", "kernel", *arguments), spatial)
    random = np.random.default_rng(1)
    x, w, dy = (random.normal(size=s) for s in ((6, *spatial, 2), (*at.size, 2, 3), (6, *at.out, 3)))

    def forms(x, w, dy):
        row = all_cores.convolve_in_one_row(x, w, at.stride, at.pairs, at.dilation)
        gradients = [form(x, dy, at) for form in (all_cores.weight_gradient_in_blocks, correlation._product_of_windows)]
        return row, *gradients

    def expected(x, w, dy):
        names, options = NAMES[len(spatial)], {"rhs_dilation": at.dilation}
        convolution = lambda w: lax.conv_general_dilated(
            x, w, at.stride, at.pairs, None, **options, dimension_numbers=names
        )
        y, pull_back = jax.vjp(convolution, w)
        return y, *pull_back(dy) * 2

    for found, value in zip(jax.jit(forms)(x, w, dy), jax.jit(expected)(x, w, dy), strict=True):
        np.testing.assert_allclose(found, value, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize(
    ("layer", "in_shape"),
    [(conv(64, (3, 3), dilation=2), (3, 4, 32)), (conv(8, (3, 1), stride=2), (4, 3, 1))],
    ids=["all images in one row", "product of windows"],
)
def test_layers_in_the_forms_for_a_cpu(layer, in_shape, keys, monkeypatch):
    monkeypatch.setattr(all_cores, "ONE_CORE", True)
    monkeypatch.setattr(correlation, "LARGE", 0)
    params, x, dy = prepare(layer, in_shape, keys)
    _, found = compiled(run)(layer, params, x, dy)
    assert relative_error(found, compiled(vjp)(layer, params, x, dy)) < 1e-12


def test_a_sum_of_few_products_under_vmap_and_with_a_nan(keys):
    layer = conv(2, 3, use_bias=False)
    params, x, _ = prepare(layer, (5, 2), keys, examples=4)
    x = np.array(x)
    x[2, 0, 0] = np.nan  # the first number of the third image decides which of two equal branches runs
    y = jax.jit(jax.vmap(lambda x: layer.forward(params, x[None])[0][0]))(x)
    expected = jax.jit(lambda x, w: lax.conv_general_dilated(x, w, (1,), "SAME", dimension_numbers=NAMES[1]))(
        x, params.w
    )
    np.testing.assert_allclose(y, expected, rtol=1e-12, atol=1e-13)


def test_conv_by_hand():
    # x = (1, 2, 3, 4), w = (1, 10, 100), one 0 at each end, stride 2:  windows (0, 1, 2) and (2, 3, 4)
    # y = (0 + 10 + 200, 2 + 30 + 400) + 5 = (215, 437);  dy = (1, 10):  dw = (0 + 20, 1 + 30, 2 + 40), db = 11,
    # dx = (10 · 1, 100 · 1 + 1 · 10, 10 · 10, 100 · 10) = (10, 110, 100, 1000)
    layer = conv(1, 3, stride=2, padding=((1, 1),))
    params = bp.layers.Affine(jnp.array([1.0, 10, 100]).reshape(3, 1, 1), jnp.array([5.0]))
    x, dy = jnp.arange(1.0, 5.0).reshape(1, 4, 1), jnp.array([1.0, 10]).reshape(1, 2, 1)
    y, (dparams, dx) = compiled(run)(layer, params, x, dy)
    np.testing.assert_array_equal(y.ravel(), [215, 437])
    np.testing.assert_array_equal(dparams.w.ravel(), [20, 31, 42])
    np.testing.assert_array_equal(dparams.b, [11])
    np.testing.assert_array_equal(dx.ravel(), [10, 110, 100, 1000])


def test_conv_transpose_by_hand():
    # x = (1, 2), w = (1, 10, 100), stride 2:  y = (1, 10, 100, 0, 0) + (0, 0, 2, 20, 200) = (1, 10, 102, 20, 200)
    # dy = (1, 2, 3, 4, 5):  dx = (1 + 20 + 300, 3 + 40 + 500);  dw = 1 · (1, 2, 3) + 2 · (3, 4, 5) = (7, 10, 13)
    layer = conv_transpose(1, 3, stride=2, padding="VALID", use_bias=False)
    params = bp.layers.Affine(jnp.array([1.0, 10, 100]).reshape(3, 1, 1))
    dy = jnp.arange(1.0, 6.0).reshape(1, 5, 1)
    y, (dparams, dx) = compiled(run)(layer, params, jnp.array([1.0, 2]).reshape(1, 2, 1), dy)
    np.testing.assert_array_equal(y.ravel(), [1, 10, 102, 20, 200])
    np.testing.assert_array_equal(dx.ravel(), [321, 543])
    np.testing.assert_array_equal(dparams.w.ravel(), [7, 10, 13])


def test_named_paddings_are_those_of_lax(keys):
    for padding, (n, k, s, d) in itertools.product(("SAME", "VALID"), [(7, 3, 1, 1), (8, 4, 3, 1), (6, 2, 2, 3)]):
        layer = conv(2, k, s, padding, d)
        params, x, _ = prepare(layer, (n, 2), keys)
        w = params.w
        y = lax.conv_general_dilated(x, w, (s,), padding, rhs_dilation=(d,), dimension_numbers=NAMES[1])
        np.testing.assert_allclose(layer.forward(params, x)[0] - params.b[None, None, :], y, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize(("k", "s", "d"), [(3, 1, 1), (3, 2, 1), (2, 3, 1), (4, 2, 1), (2, 2, 3), (1, 2, 1)])
def test_conv_transpose_is_that_of_lax(k, s, d, padding, keys):
    layer = conv_transpose(3, k, s, padding, d, use_bias=False)
    params, x, _ = prepare(layer, (4, 2), keys)
    y = lax.conv_transpose(
        x, params.w[::-1], (s,), padding, rhs_dilation=(d,), dimension_numbers=NAMES[1]
    )  # the kernel flipped
    same = lax.conv_transpose(
        x,
        params.w.swapaxes(-1, -2),
        (s,),
        padding,
        rhs_dilation=(d,),
        dimension_numbers=NAMES[1],
        transpose_kernel=True,
    )
    np.testing.assert_allclose(layer.forward(params, x)[0], y, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(layer.forward(params, x)[0], same, rtol=1e-12, atol=1e-13)


def test_conv_transpose_is_the_dx_of_a_convolution(keys):
    pairs, transposed = ((1, 2), (0, 1)), conv_transpose(2, (3, 2), (2, 3), ((1, 2), (0, 1)), use_bias=False)
    params, x, y = prepare(transposed, (3, 2, 4), keys)
    layer = conv(4, (3, 2), (2, 3), pairs, use_bias=False)  # of the output image, with every Wₜ transposed
    dx = layer.backward(bp.layers.Affine(params.w.swapaxes(-1, -2)), y, x)[1]
    np.testing.assert_allclose(transposed.forward(params, x)[0], dx, rtol=1e-12, atol=1e-13)


def test_positions_outside_all_windows_get_no_error(keys):
    layer = conv(2, (2, 2), stride=3, padding="VALID")  # windows at 0 and 3 on axes of 7 and 6: 2, 5, 6 are in none
    params, x, dy = prepare(layer, (7, 6, 2), keys)
    dx = np.asarray(compiled(run)(layer, params, x, dy)[1][1])
    inside_h, inside_w = np.isin(np.arange(7), [0, 1, 3, 4]), np.isin(np.arange(6), [0, 1, 3, 4])
    assert ((dx != 0).any(axis=(0, 3)) == np.outer(inside_h, inside_w)).all()


def test_initial_weights_have_the_fan_in_of_a_kernel():
    key = jax.random.key(3)
    w = conv(64, (3, 3)).init(key, (4, 4, 40))[0].w
    assert float(w.std()) == pytest.approx((9 * 40) ** -0.5, rel=0.02)  # 23,040 draws: 2 % is 4 standard errors
    w = conv(64, (5, 5), groups=4).init(key, (5, 5, 40))[0].w
    assert w.shape == (5, 5, 10, 64)
    assert float(w.std()) == pytest.approx((25 * 10) ** -0.5, rel=0.025)  # 16,000 draws


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("layer", "in_shape"),
    [
        (conv(4, (3, 3)), (8, 8, 16)),
        (conv(32, (3, 3), groups=16), (8, 8, 16)),
        (conv(8, (3, 3), groups=4), (8, 8, 16)),
        (conv(8, (1, 1)), (8, 8, 16)),
        (conv_transpose(4, (3, 3), stride=2), (8, 8, 16)),
    ],
    ids=["conv", "depthwise", "groups", "one position", "transposed"],
)
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_half_precision_is_rounded_once(layer, in_shape, dtype, keys):
    half = bp.util.cast(prepare(layer, in_shape, keys, examples=8), dtype)
    exact = compiled(run)(layer, *bp.util.cast(half, jnp.float64))  # sums of up to 2,048 products
    rounded = jax.jit(lambda *args: run(layer, *args))(*half)  # default options: QUICKLY may round differently
    for found, value in zip(jax.tree.leaves(rounded), jax.tree.leaves(exact), strict=True):
        assert found.dtype == dtype
        error = np.linalg.norm(np.asarray(found, np.float64) - value) / np.linalg.norm(value)
        assert error < 1.2 * jnp.finfo(dtype).eps / 2


def test_the_input_gradient_of_the_first_layer_is_not_computed(keys):
    network = bp.chain(conv(6, (3, 3)), conv(6, (3, 3)))  # 54 products for each y: XLA's convolution
    params, x, target = prepare(network, (6, 6, 6), keys)
    rule = bp.backprop(network, bp.squared_error)
    compiled = jax.jit(rule.grads).lower(params, (), (x, target)).compile()
    assert compiled.as_text().count(" convolution(") == 2 + 2 + 1  # forward, dW, and dx of the second layer


def test_the_same_arguments_give_the_same_layer():
    assert conv(3, (3, 3), padding=((1, 1), (1, 1))) is conv(3, [3, 3], (1, 1), [[1, 1], [1, 1]])
    assert conv_transpose(3, 2) is conv_transpose(3, (2,))


BAD_ARGUMENTS = {
    "`kernel` to be an integer for sequences": lambda: conv(2, (1, 1, 1, 1)),
    "`kernel` to be an integer ≥ 1 or a tuple of 2": lambda: conv(2, (3, 0)),
    "`stride` to be an integer ≥ 1": lambda: conv(2, (3, 3), stride=0),
    "`dilation` to be an integer ≥ 1 or a tuple of 2": lambda: conv(2, (3, 3), dilation=(1, 1, 1)),
    "got 'same'": lambda: conv(2, 3, padding="same"),
    r"2 pair\(s\) of integers": lambda: conv(2, (3, 3), padding=((1, 1),)),
    r"1 pair\(s\) of integers": lambda: conv(2, 3, padding=((-1, 1),)),
    "`features` to be an integer": lambda: conv(0, 3),
    "`features` to be a multiple of `groups`, 2, got 3": lambda: conv(3, 3, groups=2),
    "channels of `in_shape` to be a multiple": lambda: conv(4, 3, groups=2).init(jax.random.key(0), (5, 3)),
    "an `in_shape` of 3 positive": lambda: conv(2, (3, 3)).init(jax.random.key(0), (5, 5)),
    "the output would be empty": lambda: conv(2, (3, 3), padding="VALID").init(jax.random.key(0), (5, 2, 1)),
    "a padding smaller than the": lambda: conv_transpose(2, 2, padding=((2, 2),)).init(jax.random.key(0), (2, 1)),
}


@pytest.mark.parametrize("message", BAD_ARGUMENTS)
def test_bad_arguments(message):
    with pytest.raises(ValueError, match=message):
        BAD_ARGUMENTS[message]()


@pytest.mark.parametrize("layer", [conv(2, (3, 3)), conv_transpose(2, (3, 3))], ids=["conv", "conv_transpose"])
def test_bad_data(layer, keys):
    params, x, _ = prepare(layer, (4, 4, 3), keys)
    for bad, message in [
        (x[0], r"of shape \(N, H, W, C\), got \(4, 4, 3\). Add the batch axis"),
        (x[..., :2], r"with 3 channels, last, as its weights have, got \(2, 4, 4, 2\)"),
        (x[:0], "at least one example and position"),
        (x.astype(jnp.float32), "in the dtype of its weights, float64, got float32"),
        (x.astype(int), "of a floating-point type"),
    ]:
        with pytest.raises(ValueError, match=message):
            layer.forward(params, bad)
    with pytest.raises(ValueError, match="Do they belong to another network"):
        layer.forward(bp.layers.Affine(params.w, None), x)
    with pytest.raises(ValueError, match="Do they belong to another network"):
        layer.forward(bp.layers.Affine(params.w[:2], params.b), x)


def test_a_chain_names_the_layer_that_does_not_fit():
    with pytest.raises(ValueError, match=r"layer 1 \(conv\) does not fit layer 0 \(conv\) of shape \(2, 3\)"):
        bp.chain(conv(3, 2, padding="VALID"), conv(3, 3, padding="VALID")).init(jax.random.key(0), (3, 1))


LENET, LENET_LOSS = lenet(), bp.losses.batch_mean(bp.softmax_cross_entropy)


@pytest.mark.thorough
@at_full_size
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_lenet_agrees_with_autodiff(dtype, float32):
    x, labels = bp.digits("validation").present()
    params, out_shape = LENET.init(jax.random.key(0), (64,))
    assert out_shape == (10,)
    params, batch = bp.util.cast((params, (x[:32], labels[:32])), dtype)
    report = bp.compare(*compiled_rules(LENET, LENET_LOSS), params, batch, timed=False)
    assert report.ok, report


@pytest.mark.thorough
def test_lenet_takes_images_of_any_size(keys):
    network = lenet(7, image=None, maps=(2, 3), hidden=(4,), kernel=2, activation=bp.relu)
    for in_shape in [(8, 8, 1), (11, 6, 3)]:  # an odd last row is dropped: 11 → 5 → 2
        params, x, dy = prepare(network, in_shape, keys)
        assert network.forward(params, x)[0].shape == dy.shape == (2, 7)
    for bad, message in [
        (lambda: lenet(maps=()), "at least one entry in `maps`"),
        (lambda: lenet(maps=6), "`maps` to be a tuple"),
        (lambda: lenet(hidden=(0,)), "`hidden` to be an integer"),
        (lambda: lenet(image=(8, 8)), r"`image` to be \(H, W, C\)"),
        (lambda: lenet(image=(2, 2, 1)).init(jax.random.key(0), (4,)), "the output would be empty"),
        (lambda: lenet().init(jax.random.key(0), (63,)), "63"),
    ]:
        with pytest.raises(ValueError, match=message):
            bad()
