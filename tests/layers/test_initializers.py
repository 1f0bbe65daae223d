"""Initializers: variances estimated from a hundred thousand draws, orthogonality, names."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bpjax as bp
from bpjax.layers.dense import dense
from bpjax.layers.edges import random_edges
from bpjax.layers.initializers import (
    NAMED,
    delta_orthogonal,
    he_normal,
    initializer,
    lecun_normal,
    orthogonal,
    sparse_weights,
    uniform,
)

KEY = jax.random.key(11)
D, H = 400, 250
VARIANCES = {"lecun": 1 / D, "glorot": 2 / (D + H), "he": 2 / D}


@pytest.mark.parametrize("name", VARIANCES)
@pytest.mark.parametrize("kind", ["", "_normal", "_uniform"])
def test_variances(name, kind):
    w = np.asarray(initializer(name + kind)(KEY, (D, H), jnp.float64))
    assert w.dtype == np.float64
    deviation = math.sqrt(VARIANCES[name])
    assert w.std() == pytest.approx(deviation, rel=0.015)  # 100,000 draws: five standard errors are 1.1 %
    assert abs(w.mean()) < 5 * deviation / math.sqrt(w.size)
    furthest = math.sqrt(3) if kind == "_uniform" else 2 / 0.87962566103423978  # cut at 2, then stretched
    assert 0.98 * furthest < abs(w).max() / deviation <= furthest * (1 + 1e-9)


def test_the_fan_in_of_a_kernel_is_positions_times_channels():
    # 3 × 3 positions of 20 channels: D = 180; 3 · 3 · 20 · 300 = 54,000 draws
    w = initializer("he")(KEY, (3, 3, 20, 300), jnp.float64)
    assert float(w.std()) == pytest.approx(math.sqrt(2 / 180), rel=0.02)
    w = initializer("glorot_uniform")(KEY, (3, 3, 20, 300), jnp.float64)
    assert float(w.std()) == pytest.approx(math.sqrt(2 / (180 + 2700)), rel=0.02)


@pytest.mark.parametrize("shape", [(7, 4), (4, 7), (5, 5), (3, 3, 2, 6)])
def test_orthogonal_keeps_lengths(shape):
    w = np.asarray(orthogonal(1.5)(KEY, shape, jnp.float64)).reshape(-1, shape[-1])
    smaller = w.T @ w if w.shape[0] >= w.shape[1] else w @ w.T
    np.testing.assert_allclose(smaller, 1.5**2 * np.eye(len(smaller)), atol=1e-12)


@pytest.mark.parametrize("positions", [(3,), (3, 5), (1, 3, 3)])
def test_delta_orthogonal_is_orthogonal_at_its_centre_and_zero_elsewhere(positions):
    w = np.array(delta_orthogonal(2.0)(KEY, (*positions, 4, 6), jnp.float64))
    centre = tuple(n // 2 for n in positions)
    np.testing.assert_allclose(w[centre] @ w[centre].T, 4 * np.eye(4), atol=1e-12)
    w[centre] = 0
    assert not w.any()


def test_sparse_weights_draws_the_given_number_per_unit():
    w = np.asarray(sparse_weights(15, 0.5)(KEY, (200, 400), jnp.float64))
    assert ((w != 0).sum(axis=0) == 15).all()
    assert w[w != 0].std() == pytest.approx(0.5, rel=0.05)  # 6,000 draws: five standard errors are 4.6 %
    assert (w != 0).sum(axis=1).min() > 5  # of 30 expected: no input is left out
    assert ((np.asarray(sparse_weights(3)(KEY, (2, 2, 5, 8))) != 0).sum(axis=(0, 1, 2)) == 3).all()
    assert (np.asarray(sparse_weights(15)(KEY, (4, 3))) != 0).all()


def test_names():
    assert initializer("he") is initializer("he_normal") is he_normal is initializer(he_normal)
    assert initializer("lecun") is lecun_normal
    assert dense(3, weights="he") is dense(3, weights=he_normal)
    assert dense(3) is dense(3, weights="lecun", biases="zeros")
    assert not dense(3, weights="zeros").init(KEY, (2,))[0].w.any()
    for name in NAMED:
        shape = (3, 3, 2, 4) if name.startswith("delta") else (3, 4)
        assert initializer(name)(KEY, shape, jnp.float64).dtype == jnp.float64


BAD = {
    "a typo": (lambda: dense(3, weights="glorott"), r"got 'glorott'\. Did you mean 'glorot'\?"),
    "nothing near": (lambda: initializer("xyzzy"), r"got 'xyzzy'\. Use one of lecun, .*, or a function"),
    "a number": (lambda: dense(3, biases=0.0), r"a name or a function .*got 0\.0"),
    "radius": (lambda: uniform(-1.0), r"`uniform` expected `radius` to be a finite number ≥ 0, got -1.0"),
    "scale": (lambda: orthogonal(0.0), r"`orthogonal` expected `scale` to be a finite number > 0"),
    "delta's scale": (lambda: delta_orthogonal(-1.0), r"`delta_orthogonal` expected `scale`"),
    "delta of a matrix": (lambda: delta_orthogonal()(KEY, (3, 4)), r"got \(3, 4\)\. Use `orthogonal`"),
    "delta of fewer features": (lambda: delta_orthogonal()(KEY, (3, 4, 2)), r"C ≤ H, got \(3, 4, 2\)"),
    "connections": (lambda: sparse_weights(0), r"`connections` to be an integer ≥ 1, got 0"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_raises(name):
    call, sentence = BAD[name]
    with pytest.raises(ValueError, match=sentence):
        call()


# layer and in_shape -> the fan-in and fan-out of one weight: D inputs feed a unit, H units are fed by an input
FANS = {
    "dense": (lambda w: bp.dense(250, weights=w), (400,), 400, 250),
    "conv": (lambda w: bp.conv(60, (3, 3), weights=w), (4, 4, 20), 9 * 20, 9 * 60),
    "conv in groups": (lambda w: bp.conv(240, (3, 3), groups=4, weights=w), (4, 4, 80), 9 * 20, 9 * 60),
    "depthwise": (lambda w: bp.conv(4000, (3, 3), groups=4000, weights=w), (4, 4, 4000), 9, 9),
    "depthwise, two features": (lambda w: bp.conv(4000, 5, groups=2000, weights=w), (9, 2000), 5, 10),
    "conv transpose": (lambda w: bp.layers.conv_transpose(60, (3, 3), weights=w), (4, 4, 20), 9 * 20, 9 * 60),
    "fir": (lambda w: bp.layers.fir(50, 9, weights=w), (7, 60), 9 * 60, 9 * 50),
    "sparse": (lambda w: bp.layers.sparse(random_edges(KEY, 1000, 2000, per_unit=10), weights=w), (1000,), 10, 20),
}


@pytest.mark.parametrize("name", FANS)
def test_the_fans_of_every_layer(name):
    make, in_shape, inputs, outputs = FANS[name]
    for weights, variance in (("glorot_uniform", 2 / (inputs + outputs)), ("lecun_uniform", 1 / inputs)):
        w = np.asarray(make(weights).init(KEY, in_shape)[0].w, np.float64)
        assert w.size >= 10_000
        assert w.var() == pytest.approx(variance, rel=0.045)  # of a uniform: 5 standard errors, 5 √(0.8 / size)
        assert abs(w).max() <= math.sqrt(3 * variance) * (1 + 1e-6)


def test_a_kernel_without_groups_is_that_of_jax():
    found = bp.conv(6, (3, 3), weights="glorot").init(KEY, (4, 4, 5))[0].w
    expected = jax.nn.initializers.glorot_normal()(jax.random.split(KEY)[0], (3, 3, 5, 6), jnp.float64)
    np.testing.assert_array_equal(found, expected)


def test_every_group_is_orthogonal():
    w = np.asarray(bp.conv(6, 3, groups=2, weights="orthogonal").init(KEY, (4, 4))[0].w)  # (3, 2, 6)
    for group in (w[..., :3], w[..., 3:]):
        np.testing.assert_allclose(group.reshape(6, 3).T @ group.reshape(6, 3), np.eye(3), atol=1e-12)
