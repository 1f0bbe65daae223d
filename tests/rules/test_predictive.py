"""Predictive coding: against the papers' equations in NumPy, against its energy, and where it is backpropagation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import relative_error
from passes import quick_jit

import bpjax as bp
from bpjax.layers.convolution.conv import conv
from bpjax.layers.layer import Layer
from bpjax.layers.normalization.layer import layer_norm
from bpjax.layers.recurrent.cells import elman
from bpjax.layers.recurrent.recurrent import unroll
from bpjax.layers.shapes import flatten
from bpjax.rules.predictive import predictive_coding

KINDS = ["strict", "fixed_prediction", "zero_divergence"]


def problem(keys, sizes=(6, 7, 5, 4, 3), loss=bp.squared_error, output=None):
    network = bp.mlp(sizes, bp.tanh, output=output)
    params, _ = network.init(next(keys), sizes[:1])
    batch = jax.random.normal(next(keys), (5, sizes[0])), jax.random.uniform(next(keys), (5, sizes[-1]))
    return network, params, batch, bp.backprop(network, loss).grads(params, (), batch)[1]


def direction(rule, params, batch):
    return quick_jit(rule.grads)(params, rule.init(jax.random.key(0), params), batch)[1]


# --- The papers' equations, in NumPy ---------------------------------------------------------------------------------


def by_hand(weights, x, t, kind, steps, gamma, variance):
    """dE/dW of each layer, for y = tanh(x W + b) in all layers and ½ Σ (t − o)², example by example."""
    L = len(weights)
    total = [(np.zeros_like(w), np.zeros_like(b)) for w, b in weights]
    for x_n, t_n in zip(x, t, strict=True):
        v = [x_n]
        for w, b in weights:
            v.append(np.tanh(v[-1] @ w + b))
        first = [u.copy() for u in v]
        v[L] = t_n  # the output is clamped

        def look(v, L=L, first=first):
            """Prediction errors e_1 … e_L, and the derivatives φ′ that multiply them."""
            at = first if kind == "fixed_prediction" else v
            f = [np.tanh(at[l] @ weights[l][0] + weights[l][1]) for l in range(L)]
            e = [None] + [(v[l + 1] - f[l]) / (variance if l == L - 1 else 1) for l in range(L)]
            return at, e, [None] + [1 - y**2 for y in f]

        for step in range(L if kind == "zero_divergence" else steps + 1):
            at, e, slope = look(v)
            for l in range(1, L + 1):
                if step == L - l if kind == "zero_divergence" else step == steps:
                    w_part, b_part = total[l - 1]
                    w_part -= variance * np.outer(at[l - 1], e[l] * slope[l])
                    b_part -= variance * e[l] * slope[l]
            moved = [v[l] + gamma * (-e[l] + weights[l][0] @ (slope[l + 1] * e[l + 1])) for l in range(1, L)]
            v = [x_n, *moved, t_n]
    return total


@pytest.mark.parametrize(
    ("kind", "settings", "constants"),
    [
        ("strict", {}, (20, 0.1, 1.0)),
        ("strict", {"steps": 7, "rate": 0.3, "output_variance": 5.0}, (7, 0.3, 5.0)),
        ("fixed_prediction", {"steps": 3, "rate": 0.4}, (3, 0.4, 1.0)),
        ("zero_divergence", {}, (None, 1.0, 1.0)),
    ],
    ids=["strict", "strict, other constants", "fixed_prediction", "zero_divergence"],
)
def test_five_steps_on_a_3_3_2_net(kind, settings, constants, keys):
    network = bp.mlp((3, 3, 2), bp.tanh, output=bp.tanh)
    params, _ = network.init(next(keys), (3,))
    x, t = jax.random.normal(next(keys), (4, 3)), jax.random.uniform(next(keys), (4, 2))
    rule = predictive_coding(network, bp.squared_error, kind, **settings)
    weights = [(np.array(params[l].w), np.array(params[l].b)) for l in (0, 2)]
    compiled = quick_jit(rule.grads)
    for _ in range(5):
        value, grads, _ = compiled(params, (), (x, t))
        assert float(value) == pytest.approx(float(bp.squared_error.value(network.forward(params, x)[0], t)))
        params = jax.tree.map(lambda w, g: w - 0.2 * g, params, grads)
        changes = by_hand(weights, np.asarray(x), np.asarray(t), kind, *constants)
        weights = [(w - 0.2 * dw, b - 0.2 * db) for (w, b), (dw, db) in zip(weights, changes, strict=True)]
        for l, (w, b) in zip((0, 2), weights, strict=True):
            np.testing.assert_allclose(params[l].w, w, rtol=1e-12, atol=1e-12)
            np.testing.assert_allclose(params[l].b, b, rtol=1e-12, atol=1e-12)


# --- Where it is backpropagation -------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", [bp.squared_error, bp.softmax_cross_entropy])
def test_zero_divergence_inference_is_backprop(loss, keys):
    network, params, batch, truth = problem(keys, loss=loss)
    found = direction(predictive_coding(network, loss, "zero_divergence"), params, batch)
    assert relative_error(found, truth) < 1e-14
    # errors 30 times smaller are differences of values as large as before: 30 times the rounding
    found = direction(predictive_coding(network, loss, "zero_divergence", output_variance=30.0), params, batch)
    assert relative_error(found, truth) < 3e-13


@pytest.mark.thorough
@pytest.mark.parametrize("steps", [4, 9])
def test_fixed_predictions_at_rate_1_are_backprop_after_as_many_steps_as_layers(steps, keys):
    network, params, batch, truth = problem(keys)
    rule = predictive_coding(network, bp.squared_error, "fixed_prediction", steps, 1.0)
    assert relative_error(direction(rule, params, batch), truth) < 1e-14
    with jax.disable_jit():
        for a, b in zip(jax.tree.leaves(rule.grads(params, (), batch)[1]), jax.tree.leaves(truth), strict=True):
            assert (a == b).all()  # the same operations, the same bits


def test_with_one_step_too_few_fixed_predictions_send_no_error_to_the_first_layer(keys):
    network, params, batch, truth = problem(keys)  # 4 layers of units, 3 hidden: the error needs 3 steps down
    found = direction(predictive_coding(network, bp.squared_error, "fixed_prediction", 2, 1.0), params, batch)
    assert not found[0].w.any() and relative_error(found[2:], truth[2:]) < 1e-14


def test_fixed_predictions_converge_to_backprop_at_a_small_rate(keys):
    network, params, batch, truth = problem(keys)
    rule = predictive_coding(network, bp.squared_error, "fixed_prediction", 400, 0.1)
    assert relative_error(direction(rule, params, batch), truth) < 1e-11


def test_the_gap_of_strict_inference_falls_as_one_over_the_output_variance(keys):
    network, params, batch, truth = problem(keys, (6, 5, 4, 3))
    variances = jnp.array([1e2, 1e3, 1e4])

    def gap(variance):
        rule = predictive_coding(network, bp.squared_error, steps=4000, output_variance=variance)
        found = rule.grads(params, (), batch)[1]
        return jnp.sqrt(sum(jnp.sum((a - b) ** 2) for a, b in zip(*map(jax.tree.leaves, (found, truth)), strict=True)))

    gaps = jax.jit(jax.vmap(gap))(variances)  # the variance is data: one program
    slopes = np.diff(np.log10(gaps)) / np.diff(np.log10(variances))
    np.testing.assert_allclose(slopes, -1, atol=0.1)


def test_strict_inference_is_not_backprop(keys):
    network, params, batch, truth = problem(keys)
    found = direction(predictive_coding(network, bp.squared_error), params, batch)
    assert relative_error(found, truth) > 0.1


def test_strict_inference_ends_at_a_minimum_of_its_energy(keys):
    """There ∂F/∂v = 0, and the direction is Σ_L ∂F/∂W by jax.grad of F."""
    network, params, (x, t), _ = problem(keys, (4, 3, 2), bp.softmax_cross_entropy)
    first, _, second = params

    def energy(params, v):
        first, _, second = params
        logits = v @ second.w + second.b[None]
        error = -jnp.sum(t * jax.nn.log_softmax(logits))
        return 0.5 * jnp.sum((v - jnp.tanh(x @ first.w + first.b[None])) ** 2) + error / 3

    v = jnp.tanh(x @ first.w + first.b[None])
    v = jax.lax.fori_loop(0, 2000, lambda _, v: v - 0.2 * jax.grad(energy, 1)(params, v), v)
    assert jnp.abs(jax.grad(energy, 1)(params, v)).max() < 1e-14
    truth = jax.tree.map(lambda g: 3 * g, jax.grad(energy)(params, v))
    rule = predictive_coding(network, bp.softmax_cross_entropy, steps=2000, output_variance=3.0)
    assert relative_error(direction(rule, params, (x, t)), truth) < 1e-12


# --- A published example ---------------------------------------------------------------------------------------------


def test_the_graph_of_millidge_tschantz_and_buckley():
    """y₁ = θ y₀, y₂ = √y₁, y₃ = y₀², y₄ = tan y₂ + sin y₃ at y₀ = 5, θ = 2, with L = ½ (1 − y₄)².

    Every node has a bias of 0 and so a parameter whose gradient is that of the node. y₃ travels beside y₁ and y₂.
    """

    def node(function, width):
        def forward(b, x):
            return function(x) + b[0][None], (x, b[0][:0])

        def backward(b, residuals, dy):
            return dy.sum(axis=0)[None], jax.vjp(function, residuals[0])[1](dy)[0]

        return Layer("node", lambda key, in_shape: (jnp.zeros((1, width)), (width,)), forward, backward)

    graph = [
        node(lambda x: x, 1),
        node(lambda y: jnp.stack([2 * y[:, 0], y[:, 0] ** 2], axis=1), 2),
        node(lambda y: jnp.stack([jnp.sqrt(y[:, 0]), y[:, 1]], axis=1), 2),
        node(lambda y: jnp.tan(y[:, :1]) + jnp.sin(y[:, 1:]), 1),
    ]
    network = bp.chain(*graph)
    params, _ = network.init(jax.random.key(0), (1,))
    x, target = jnp.array([[5.0]]), jnp.array([[1.0]])
    assert float(network.forward(params, x)[0][0, 0]) == pytest.approx(-0.11166379, abs=1e-8)
    rule = predictive_coding(network, bp.squared_error, "fixed_prediction", 500, 0.02)
    value, (y0, y1_y3, y2_y3, y4), _ = quick_jit(rule.grads)(params, (), (x, target))
    assert float(value) == pytest.approx(0.61789819, abs=1e-8)
    found = [y4[0, 0], y2_y3[0, 1], y2_y3[0, 0], y1_y3[0, 0], y0[0, 0]]  # the published order: y₄, y₃, y₂, y₁, y₀
    published = [-1.11166379, -1.10188428, -1.11213958, -0.17584471, -11.37053219]
    np.testing.assert_allclose(found, published, rtol=5e-3)  # 500 steps at 0.02 leave e⁻¹⁰ · 10³/6 of the last
    exact = direction(predictive_coding(network, bp.squared_error, "zero_divergence"), params, (x, target))
    found = [exact[3][0, 0], exact[2][0, 1], exact[2][0, 0], exact[1][0, 0], exact[0][0, 0]]
    np.testing.assert_allclose(found, published, atol=5e-9)


# --- Any chain, any use ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_chains_within_chains_norms_and_activations_first(kind, keys):
    network = bp.chain(bp.tanh, bp.dense(4), bp.chain(layer_norm(), bp.chain(bp.dense(3), bp.sigmoid)), bp.dense(2))
    params, _ = network.init(next(keys), (3,))
    batch = jax.random.normal(next(keys), (5, 3)), jax.random.normal(next(keys), (5, 2))
    truth = direction(bp.backprop(network, bp.squared_error), params, batch)
    settings = {"strict": {"steps": 3000, "output_variance": 1e6}, "fixed_prediction": {"steps": 3, "rate": 1.0}}
    found = direction(predictive_coding(network, bp.squared_error, kind, **settings.get(kind, {})), params, batch)
    assert relative_error(found, truth) < (1e-3 if kind == "strict" else 1e-13)


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("network", "in_shape"),
    [
        (bp.chain(conv(2, (3, 3)), bp.relu, flatten, bp.dense(4), bp.tanh, bp.dense(2)), (4, 5, 1)),
        (bp.chain(unroll(elman(3)), unroll(elman(4), last=True), bp.dense(2)), (5, 3)),
    ],
    ids=["convolution", "recurrence"],
)
def test_convolutions_and_recurrent_layers_are_layers_of_units(network, in_shape, keys):
    params, _ = network.init(next(keys), in_shape)
    batch = jax.random.normal(next(keys), (3, *in_shape)), jax.random.normal(next(keys), (3, 2))
    truth = direction(bp.backprop(network, bp.squared_error), params, batch)
    for settings in ({"kind": "zero_divergence"}, {"kind": "fixed_prediction", "steps": 3, "rate": 1.0}):
        assert (
            relative_error(direction(predictive_coding(network, bp.squared_error, **settings), params, batch), truth)
            < 1e-13
        )


@pytest.mark.parametrize("kind", KINDS)
def test_a_single_layer_learns_by_the_delta_rule(kind, keys):
    network, params, batch, truth = problem(keys, (4, 3))
    assert relative_error(direction(predictive_coding(network, bp.squared_error, kind), params, batch), truth) < 1e-14


def test_the_rate_of_inference_can_be_swept(keys):
    network, params, batch, _ = problem(keys, (4, 3, 2))
    rates = jnp.array([0.05, 0.2])
    grads = lambda rate: predictive_coding(network, bp.squared_error, rate=rate).grads(params, (), batch)[1]
    swept = quick_jit(jax.vmap(grads))(rates)
    for i, rate in enumerate([0.05, 0.2]):
        single = direction(predictive_coding(network, bp.squared_error, rate=rate), params, batch)
        assert relative_error(jax.tree.map(lambda a, i=i: a[i], swept), single) < 1e-12


@pytest.mark.parametrize("kind", KINDS)
def test_half_precision_stays_half(kind, keys):
    network, params, batch, _ = problem(keys, (4, 3, 2))
    params, batch = bp.util.cast((params, batch), jnp.bfloat16)
    grads = direction(predictive_coding(network, bp.squared_error, kind), params, batch)
    assert all(g.dtype == jnp.bfloat16 and jnp.isfinite(g).all() for g in jax.tree.leaves(grads))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda n: predictive_coding(bp.dense, bp.squared_error), "expected a Layer"),
        (lambda n: predictive_coding(n, jnp.sum), "expected a Loss"),
        (lambda n: predictive_coding(n, bp.squared_error, "exact"), "one of strict, fixed_prediction, zero_div.*exact"),
        (lambda n: predictive_coding(n, bp.squared_error, steps=0), "`steps`.*≥ 1, got 0"),
        (lambda n: predictive_coding(n, bp.squared_error, rate=0.0), "`rate`.*> 0"),
        (lambda n: predictive_coding(n, bp.squared_error, output_variance=-1.0), "`output_variance`.*> 0"),
        (lambda n: predictive_coding(n, bp.squared_error, "zero_divergence", steps=3), "no `steps` and no `rate`"),
        (lambda n: predictive_coding(n, bp.squared_error, "zero_divergence", rate=0.1), "no `steps` and no `rate`"),
        (lambda n: predictive_coding(n, bp.squared_error).init(None, ((),)), "weights and params made by its `init`"),
        (lambda n: predictive_coding(bp.tanh, bp.squared_error).init(None, ()), "with weights.*layer tanh"),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(ValueError, match=message):
        make(bp.mlp((3, 2, 2)))
