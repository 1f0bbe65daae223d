"""Dilation, ceil mode and what counts as padding, against loops over windows in NumPy."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import passes
import pytest

from bpjax.layers.convolution.pooling import average_pool, max_pool


def windows_of(n, k, s, pair, d, ceil_mode):
    """The positions of each window along one axis, those in the padding and beyond it included, by the definition."""
    reach, length = (k - 1) * d + 1, n + sum(pair)
    starts = range(0, length + s, s)
    if ceil_mode:  # a window that begins in the image or in the padding before it
        starts = [b for b in starts if b < length - reach + s and b < n + pair[0]]
    else:
        starts = [b for b in starts if b + reach <= length]
    return [[b + t * d - pair[0] for t in range(k)] for b in starts]


def loops(x, k, s, pairs, d=1, ceil_mode=False, *, reduce):
    """y (*O): reduce(values inside the image, the number of positions inside the padded image) for every window."""
    axes = [windows_of(n, *args, d, ceil_mode) for n, *args in zip(x.shape, k, s, pairs, strict=True)]
    padded = lambda n, pair, i: -pair[0] <= i < n + pair[1]
    y = np.zeros([len(axis) for axis in axes])
    for o in np.ndindex(*y.shape):
        positions = list(itertools.product(*(axis[i] for axis, i in zip(axes, o, strict=True))))
        in_image = [i for i in positions if all(0 <= j < n for j, n in zip(i, x.shape, strict=True))]
        counted = [i for i in positions if all(map(padded, x.shape, pairs, i))]
        y[o] = reduce([x[i] for i in in_image], len(counted))
    return y


THOROUGH = pytest.mark.thorough
NONE = ((0, 0), (0, 0))
BY_DEFAULT = ("dilated, padded", "ceil, padded", "ceil, a window after the image")
CASES = {  # window, stride, pairs, dilation, ceil mode, image
    "dilated": ((2, 3), (1, 1), NONE, 2, False, (5, 6)),
    "dilated, padded": ((3, 2), (2, 1), ((2, 1), (1, 0)), 2, False, (6, 5)),
    "ceil": ((3, 2), (2, 2), NONE, 1, True, (6, 5)),
    "ceil, padded": ((3, 3), (2, 2), ((1, 1), (1, 0)), 1, True, (5, 4)),
    "ceil, a window after the image": ((2, 2), (2, 3), ((1, 1), (0, 1)), 1, True, (3, 3)),
    "ceil, dilated": ((2, 2), (2, 2), NONE, 2, True, (6, 4)),
    "ceil of a sequence": ((3,), (3,), ((0, 0),), 1, True, (7,)),
}


def values_and_gradient(layer, x):
    """y and dx of Σ y w for some w, by hand and by JAX, in one program; x without batch and channels."""
    x = jnp.asarray(x)[None, ..., None]
    shape = jax.eval_shape(lambda x: layer.forward((), x)[0], x).shape
    w = jnp.asarray(np.random.default_rng(1).normal(size=shape))
    y, (_, dx), (_, by_jax) = passes.compiled(passes.run_and_vjp)(layer, (), x, w)
    np.testing.assert_allclose(dx, by_jax, rtol=1e-12, atol=1e-14)
    return np.asarray(y)[0, ..., 0]


@pytest.mark.parametrize(
    ("k", "s", "pairs", "d", "ceil", "image"),
    [pytest.param(*case, id=name, marks=[] if name in BY_DEFAULT else THOROUGH) for name, case in CASES.items()],
)
def test_max_pool_against_loops(k, s, pairs, d, ceil, image):
    x = np.random.default_rng(0).normal(size=image)
    layer = max_pool(k, s, pairs, d, ceil)
    np.testing.assert_array_equal(
        values_and_gradient(layer, x), loops(x, k, s, pairs, d, ceil, reduce=lambda values, count: max(values))
    )
    assert layer.init(jax.random.key(0), (*image, 1))[1] == (*loops(x, k, s, pairs, d, ceil, reduce=len_of).shape, 1)


def len_of(values, count):
    return count


@THOROUGH
@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case[3] == 1])
def test_average_pool_against_loops(name):
    k, s, pairs, _, ceil, image = CASES[name]
    x = np.random.default_rng(0).normal(size=image)
    options = {
        (False, None): lambda values, count: sum(values) / len(values),
        (True, None): lambda values, count: sum(values) / count,
        (False, 5): lambda values, count: sum(values) / 5,
    }
    for (include, divisor), reduce in options.items():
        layer = average_pool(k, s, pairs, ceil, include, divisor)
        expected = loops(x, k, s, pairs, 1, ceil, reduce=reduce)
        np.testing.assert_allclose(values_and_gradient(layer, x), expected, rtol=1e-13, atol=1e-15)


def test_averages_by_hand():
    # x = (2, 4, 6), a zero before and after, windows of 2 with stride 2: (·, 2) (4, 6), in ceil mode no (·) after it;
    # of 3 with stride 2: (·, 2, 4) (4, 6, ·)
    x = jnp.array([2.0, 4, 6]).reshape(1, 3, 1)
    y = lambda *args, **options: average_pool(*args, **options).forward((), x)[0].ravel().tolist()
    assert y(2, 2, ((1, 1),)) == [2, 5] == y(2, 2, ((1, 1),), ceil_mode=True)
    assert y(2, 2, ((1, 1),), count_include_pad=True) == [1, 5]
    assert y(3, 2, ((1, 1),)) == [3, 5] and y(3, 2, ((1, 1),), count_include_pad=True) == [2, pytest.approx(10 / 3)]
    assert y(2, 2, ceil_mode=True) == [3, 6]  # the last window reaches beyond the image
    assert y(2, 2, ceil_mode=True, divisor=1) == [6, 6]


def test_repr_and_equal_layers():
    assert repr(max_pool(3, dilation=2, ceil_mode=True)) == "max_pool((3,), dilation=(2,), ceil_mode=True)"
    assert repr(average_pool(3, count_include_pad=True)) == "average_pool((3,), count_include_pad=True)"
    assert max_pool(2) is max_pool((2,), 2) and max_pool(2) is not max_pool(2, ceil_mode=True)


BAD = {
    "`max_pool` expected `dilation`": lambda: max_pool(2, dilation=0),
    "`max_pool` expected `ceil_mode` to be True or False": lambda: max_pool(2, ceil_mode=1),
    "`average_pool` expected `divisor`": lambda: average_pool(2, divisor=0),
    "`average_pool` expected `count_include_pad`": lambda: average_pool(2, count_include_pad=None),
    '`max_pool` expected `padding` to be "SAME", "VALID" or': lambda: max_pool(2, padding="CAUSAL"),
    "the output would be empty": lambda: max_pool(3, dilation=2).init(jax.random.key(0), (4, 1)),
}


@pytest.mark.parametrize("message", BAD)
def test_bad_arguments(message):
    with pytest.raises(ValueError, match=message):
        BAD[message]()
