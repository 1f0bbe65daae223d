"""Values by hand: norms over other channels, bilinear and low-rank maps, Fourier features, mixtures of experts."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from passes import drawn_params, quick_jit, run

import bpjax as bp
from bpjax import layers

KEY = jax.random.key(0)


def draw(*shape, seed=4):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape))


def test_local_response_norm_by_hand():
    # size 2: channel c sees c − 1 and c.  x = (1, 2, 3), k = ½, α = 2, β = 1: s = ½ + (1, 5, 13) = (1.5, 5.5, 13.5)
    # dy = (1, 1, 1): dx_j = 1/s_j − x_j Σ 2 x_c / s_c² over c = j, j + 1    (2 α β / size = 2)
    layer, x = layers.local_response_norm(2, alpha=2.0, beta=1.0, k=0.5), np.array([1.0, 2, 3])
    y, (_, dx) = run(layer, (), jnp.asarray(x)[None], jnp.ones((1, 3)))
    s = np.array([1.5, 5.5, 13.5])
    np.testing.assert_allclose(y[0], x / s, rtol=1e-15)
    t = 2 * x / s**2
    np.testing.assert_allclose(dx[0], 1 / s - x * (t + [t[1], t[2], 0]), rtol=1e-14)


def test_global_response_norm_by_hand():
    # two positions, two channels: l = (5, 0): mean 5/2, n = (2, 0); g = (1, 1), b = (0, 7): y = x + x n + b
    x = jnp.array([[[3.0, 0.0], [4.0, 0.0]]])
    params = layers.Gains(jnp.ones(2), jnp.array([0.0, 7.0]))
    layer = layers.global_response_norm(1e-12)
    y, (dparams, dx) = run(layer, params, x, jnp.ones_like(x))
    np.testing.assert_allclose(y[0], [[9, 7], [12, 7]], rtol=1e-11)
    # dg = Σ x n = (14, 0), db = (2, 2); dn = Σ x = (7, 0); mean(dn n) = 7; dl = ((7, 0) − 7) / 2.5 = (0, −2.8)
    # dx = 1 + n + dl x / l = 3 in channel 0, and 1 in channel 1, where l = 0
    np.testing.assert_allclose(dparams.gain, [14, 0], rtol=1e-11)
    np.testing.assert_allclose(dparams.bias, [2, 2])
    np.testing.assert_allclose(dx[0], [[3, 1], [3, 1]], rtol=1e-11)
    start, _ = layer.init(KEY, (2, 2))
    np.testing.assert_array_equal(layer.forward(start, x)[0], x)  # the identity initially


@pytest.mark.thorough
def test_global_response_norm_of_huge_values(float32):
    x = jnp.full((1, 4, 2), 2e30, jnp.float32)
    params = layers.Gains(jnp.ones(2, jnp.float32), jnp.zeros(2, jnp.float32))
    y, (dparams, dx) = run(layers.global_response_norm(), params, x, jnp.ones_like(x))
    np.testing.assert_allclose(y, 2 * x, rtol=1e-6)
    assert jnp.isfinite(dx).all() and jnp.isfinite(dparams.gain).all()


@pytest.mark.thorough
def test_instance_norm_is_group_norm_with_a_group_for_each_channel():
    x = draw(2, 3, 4)
    params = layers.Gains(draw(4), draw(4, seed=5))
    one, other = (
        quick_jit(lambda x, layer=layer: run(layer, params, x, x))
        for layer in (layers.instance_norm(), layers.group_norm(4))
    )
    for a, b in zip(jax.tree.leaves(one(x)), jax.tree.leaves(other(x)), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.thorough
def test_norms_of_several_axes_and_of_a_share_of_the_features():
    x = np.asarray(draw(2, 3, 4))
    params, shape = layers.layer_norm(axes=2).init(KEY, (3, 4))
    assert params.gain.shape == (12,) and shape == (3, 4)
    flat = x.reshape(2, 12)
    expected = (flat - flat.mean(1, keepdims=True)) / np.sqrt(flat.var(1, keepdims=True) + 1e-5)
    np.testing.assert_allclose(layers.layer_norm(axes=2).forward(params, x)[0].reshape(2, 12), expected, rtol=1e-12)
    # x = (3, 4, 100, 7): share ½ takes (3, 4): r² = 12.5; share 0.3 takes ⌈1.2⌉ = 2 of 4, too
    row = jnp.array([[3.0, 4, 100, 7]])
    gains = layers.Gains(jnp.ones(4))
    for share in (0.5, 0.3):
        y, _ = layers.rms_norm(1e-12, share=share).forward(gains, row)
        np.testing.assert_allclose(y, row / math.sqrt(12.5), rtol=1e-11)
    assert repr(layers.rms_norm(axes=2, share=0.5)) == "rms_norm(share=0.5, axes=2)"


def test_bilinear_by_hand():
    # u = (2, 3), v = (5, 7), dy = 1, W = [[1, 10], [100, 1000]]: y = 2·5 + 10·2·7 + 100·3·5 + 1000·3·7 + ½
    # dW = u vᵀ, du = W v, dv = Wᵀ u
    w = jnp.array([[1.0, 10], [100, 1000]])
    params = layers.Affine(w[..., None], jnp.array([0.5]))
    u, v = jnp.array([[2.0, 3]]), jnp.array([[5.0, 7]])
    y, (dparams, (du, dv)) = run(layers.bilinear(1), params, (u, v), jnp.ones((1, 1)))
    assert y.tolist() == [[10 + 140 + 1500 + 21000 + 0.5]]
    np.testing.assert_array_equal(dparams.w[..., 0], [[10, 14], [15, 21]])
    assert (du.tolist(), dv.tolist(), dparams.b.tolist()) == ([[75, 7500]], [[302, 3020]], [1])


@pytest.mark.thorough
def test_lora_starts_as_its_layer_and_merges_into_it():
    layer = layers.lora(bp.dense(3), 2, alpha=6.0)
    params, _ = layer.init(KEY, (4,))
    x, dy = draw(5, 4), draw(5, 3)
    np.testing.assert_allclose(layer.forward(params, x)[0], bp.dense(3).forward(params.base, x)[0], rtol=1e-14)
    params = params._replace(b=draw(2, 3))
    merged = layers.merge_lora(params, alpha=6.0)
    y, (dparams, dx) = run(layer, params, x, dy)
    y_merged, (dmerged, dx_merged) = run(bp.dense(3), merged, x, dy)
    np.testing.assert_allclose(y, y_merged, rtol=1e-12)
    np.testing.assert_allclose(dx, dx_merged, rtol=1e-12)
    # W = W₀ + 3 A B: dB = 3 Aᵀ dW, dA = 3 dW Bᵀ; the base is not trained
    np.testing.assert_allclose(dparams.b, 3 * params.a.T @ dmerged.w, rtol=1e-12)
    np.testing.assert_allclose(dparams.a, 3 * dmerged.w @ params.b.T, rtol=1e-12)
    assert not any(leaf.any() for leaf in jax.tree.leaves(dparams.base))
    assert repr(layer) == "lora(dense(3), 2, alpha=6)"


def test_fourier_features_by_hand():
    # W = (¼, ½), x = 1: p = (π/2, π): cos (0, −1), sin (1, 0); dy = 1: dp = cos − sin = (−1, −1), dx = 2π (−¾)
    params, x = layers.Frequencies(jnp.array([[0.25, 0.5]])), jnp.ones((1, 1))
    y, (dparams, dx) = run(layers.fourier_features(2, learn=True), params, x, jnp.ones((1, 4)))
    np.testing.assert_allclose(y, [[0, -1, 1, 0]], atol=1e-15)
    np.testing.assert_allclose(dx, [[-1.5 * math.pi]], rtol=1e-14)
    np.testing.assert_allclose(dparams.w, [[-2 * math.pi] * 2], rtol=1e-14)
    _, (dparams, dx_fixed) = run(layers.fourier_features(2), params, x, jnp.ones((1, 4)))
    assert not dparams.w.any() and dx_fixed.tolist() == dx.tolist()
    w = layers.fourier_features(2000, 5.0).init(KEY, (3,))[0].w
    assert float(w.std()) == pytest.approx(5.0, rel=0.03)  # 6,000 draws: 1 % is one standard error


def experts(gate_row, top=None):
    """Three experts that multiply the input by 10, 20 and 30, and their params; W is one row."""
    params = layers.Mixture(
        jnp.array([gate_row]), tuple(layers.Affine(jnp.full((1, 1), w)) for w in (10.0, 20.0, 30.0))
    )
    return layers.mixture_of_experts(*[bp.dense(1, use_bias=False)] * 3, top=top), params


def test_a_dense_gate_by_hand():
    # x = 1, a = (0, 0, ln 2): p = (¼, ¼, ½), y = 2.5 + 5 + 15 = 22.5.  dy = 1: g = (10, 20, 30), Σ p g = 22.5
    # da = p (g − 22.5) = (−3.125, −0.625, 3.75); dw_e = p_e; dx = da · W + Σ p w = 3.75 ln 2 + 22.5
    layer, params = experts([0.0, 0.0, math.log(2.0)])
    y, (dparams, dx) = run(layer, params, jnp.ones((1, 1)), jnp.ones((1, 1)))
    np.testing.assert_allclose(y, [[22.5]], rtol=1e-14)
    np.testing.assert_allclose(dparams.gate, [[-3.125, -0.625, 3.75]], rtol=1e-13)
    np.testing.assert_allclose([d.w[0, 0] for d in dparams.experts], [0.25, 0.25, 0.5], rtol=1e-14)
    np.testing.assert_allclose(dx, [[3.75 * math.log(2) + 22.5]], rtol=1e-13)


def test_the_best_two_by_hand_and_ties():
    # a = (0, 0, ln 2), two of three: the last, and of the equal first two the first: p = (⅓, 0, ⅔), y = 70/3
    # da = p (g − 70/3) = (⅓ (−40/3), 0, ⅔ (20/3)) = (−40/9, 0, 40/9)
    layer, params = experts([0.0, 0.0, math.log(2.0)], top=2)
    y, (dparams, _) = run(layer, params, jnp.ones((1, 1)), jnp.ones((1, 1)))
    np.testing.assert_allclose(y, [[70 / 3]], rtol=1e-14)
    np.testing.assert_allclose(dparams.gate, [[-40 / 9, 0, 40 / 9]], rtol=1e-13, atol=1e-15)
    np.testing.assert_allclose([d.w[0, 0] for d in dparams.experts], [1 / 3, 0, 2 / 3], rtol=1e-14)


def test_an_expert_that_is_not_chosen_does_no_harm():
    layer, params = experts([0.0, -5.0, 1.0], top=2)
    spoilt = params.experts[1]._replace(w=jnp.full((1, 1), jnp.nan))
    spoilt = params._replace(experts=(params.experts[0], spoilt, params.experts[2]))
    x = dy = jnp.ones((1, 1))
    y, (dparams, _) = run(layer, spoilt, x, dy)
    np.testing.assert_array_equal(y, layer.forward(params, x)[0])
    assert jnp.isfinite(dparams.gate).all()


@pytest.mark.thorough
def test_a_mixture_in_a_chain_with_dropout_learns_and_passes_the_key():
    network = bp.chain(
        layers.mixture_of_experts(bp.dense(3), bp.chain(bp.dense(3), bp.dropout(0.5)), top=1), bp.tanh, bp.dense(1)
    )
    assert network.uses == {"key"}
    assert layers.without_dropout(network).uses == frozenset()
    assert repr(network.layers[0]) == "mixture_of_experts(dense(3), chain(dense(3), dropout(0.5)), top=1)"


@pytest.mark.thorough
def test_every_rule_of_one_expert_is_that_of_the_layer(keys):
    layer, x, dy = layers.mixture_of_experts(bp.dense(3)), draw(4, 2), draw(4, 3)
    params, _ = drawn_params(layer, (2,), keys)
    y, (dparams, dx) = run(layer, params, x, dy)
    y_alone, (d_alone, dx_alone) = run(bp.dense(3), params.experts[0], x, dy)
    np.testing.assert_allclose(y, y_alone, rtol=1e-15)
    np.testing.assert_allclose(dx, dx_alone, rtol=1e-15)
    np.testing.assert_allclose(dparams.experts[0].w, d_alone.w, rtol=1e-15)
    assert not dparams.gate.any()


BAD = {
    "at least one expert": lambda: layers.mixture_of_experts(),
    "`mixture_of_experts` expected `top`": lambda: layers.mixture_of_experts(bp.dense(1), top=2),
    "outputs of one shape": lambda: layers.mixture_of_experts(bp.dense(1), bp.dense(2)).init(KEY, (3,)),
    r"expected params Mixture\(gate=\(D, 1\)": lambda: layers.mixture_of_experts(bp.dense(1)).forward(
        (), jnp.ones((1, 3))
    ),
    "`lora` expected `alpha`": lambda: layers.lora(bp.dense(3), 2, 0.0),
    "`lora` of rank 2 expected params": lambda: layers.lora(bp.dense(3), 2).forward((), jnp.ones((1, 3))),
    "changes at most the last axis": lambda: layers.lora(layers.flatten, 2).init(KEY, (2, 3)),
    "`merge_lora` expected `params` to be a Lora": lambda: layers.merge_lora(()),
    "`low_rank` expected `rank`": lambda: layers.low_rank(3, 0),
    "`bilinear` expected a pair of shapes": lambda: layers.bilinear(2).init(KEY, (3,)),
    "`bilinear` expected `x` to be a pair": lambda: layers.bilinear(1).forward(
        layers.Affine(jnp.ones((2, 2, 1)), jnp.ones(1)), jnp.ones((3, 2))
    ),
    "`fourier_features` expected `scale`": lambda: layers.fourier_features(2, 0.0),
    "`local_response_norm` expected `size`": lambda: layers.local_response_norm(0),
    "`rms_norm` expected `share`": lambda: layers.rms_norm(share=0.0),
    "`layer_norm` of 3 axes expected at least 3 axes": lambda: layers.layer_norm(axes=3).init(KEY, (2, 2)),
    "`batch_norm` expected `axis_name` to be a text": lambda: layers.batch_norm(axis_name=1),
    "expected to run in a `jax.shard_map` with an axis 'batch'": lambda: layers.batch_norm(axis_name="batch").forward(
        layers.Gains(jnp.ones(2), jnp.ones(2)), jnp.ones((3, 2))
    ),
    "`tanh` is a layer already. Use it without parentheses: `tanh`": lambda: bp.tanh(),
    "a record and not a function": lambda: bp.dense(3)(jnp.ones((1, 3))),
}


@pytest.mark.parametrize("message", BAD)
def test_bad_arguments(message):
    with pytest.raises(ValueError, match=message):
        BAD[message]()


@pytest.mark.parametrize(("inputs", "per_unit"), [(7, 1), (7, 3), (7, 4), (7, 7)])
def test_random_edges_draws_every_set_equally_often(inputs, per_unit):
    units = 4000
    edges = layers.random_edges(KEY, inputs, units, per_unit=per_unit)
    source = edges.source.reshape(units, per_unit)
    assert (np.diff(source, axis=1) > 0).all() and source.min() >= 0 and source.max() < inputs
    sets, counts = np.unique(source, axis=0, return_counts=True)
    assert len(sets) == math.comb(inputs, per_unit)
    expected = units / len(sets)  # χ² has a standard deviation of √(2 (sets − 1)): six of them
    chi = ((counts - expected) ** 2 / expected).sum()
    assert chi <= len(sets) - 1 + 6 * math.sqrt(2 * max(1, len(sets) - 1))
