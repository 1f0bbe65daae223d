"""Predictive coding with multipliers: its steps in NumPy, and its saddle point, which is backpropagation."""

import jax.numpy as jnp
import numpy as np
import pytest
from oracles import relative_error
from passes import quick_jit

import bpjax as bp
from bpjax.rules.lagrangian import pc_alm
from bpjax.rules.predictive import predictive_coding

RNG = np.random.default_rng(2)
SIZES = (4, 5, 3, 2)
WEIGHTS = [RNG.normal(size=pair) / np.sqrt(pair[0]) for pair in zip(SIZES, SIZES[1:], strict=False)]
BIASES = [0.3 * RNG.normal(size=n) for n in SIZES[1:]]
X, T = RNG.normal(size=(3, 4)), RNG.normal(size=(3, 2))
AFFINE = [bp.layers.Affine(jnp.asarray(w), jnp.asarray(b)) for w, b in zip(WEIGHTS, BIASES, strict=True)]
LINEAR = bp.chain(*map(bp.dense, SIZES[1:]))
TANH = bp.mlp(SIZES, bp.tanh)
PARAMS = {LINEAR: tuple(AFFINE), TANH: (AFFINE[0], (), AFFINE[1], (), AFFINE[2])}
BATCH = jnp.asarray(X), jnp.asarray(T)


def direction(rule, network, batch=BATCH):
    return quick_jit(rule.grads)(PARAMS[network], (), batch)[1]


def test_every_step_in_numpy():
    """The equations of the docstring for tanh units, example by example."""
    gamma, rho, alpha, steps = 0.2, 1.5, 0.4, 4
    total = [[np.zeros_like(w), np.zeros_like(b)] for w, b in zip(WEIGHTS, BIASES, strict=True)]
    for x, t in zip(X, T, strict=True):
        f = lambda l, v: np.tanh(v @ WEIGHTS[l] + BIASES[l]) if l < 2 else v @ WEIGHTS[l] + BIASES[l]
        v1 = f(0, x)
        v2, m1, m2 = f(1, v1), np.zeros(5), np.zeros(3)
        for step in range(steps + 1):
            p1, p2, p3 = m1 + rho * (v1 - f(0, x)), m2 + rho * (v2 - f(1, v1)), t - f(2, v2)
            slopes = 1 - f(0, x) ** 2, 1 - f(1, v1) ** 2, 1.0
            if step < steps:
                v1, v2 = (
                    v1 - gamma * (p1 - (slopes[1] * p2) @ WEIGHTS[1].T),
                    v2 - gamma * (p2 - p3 @ WEIGHTS[2].T),
                )
                m1, m2 = m1 + alpha * (v1 - f(0, x)), m2 + alpha * (v2 - f(1, v1))
        for l, (before, p) in enumerate(((x, p1), (v1, p2), (v2, p3))):
            total[l][0] -= np.outer(before, slopes[l] * p)
            total[l][1] -= slopes[l] * p
    found = direction(pc_alm(TANH, bp.squared_error, steps, gamma, rho, alpha), TANH)
    for own, (w, b) in zip(found[::2], total, strict=True):
        np.testing.assert_allclose(own.w, w, rtol=1e-11)
        np.testing.assert_allclose(own.b, b, rtol=1e-11)


def test_the_saddle_point_of_a_linear_network_is_backpropagation():
    """The saddle solved as one linear system in NumPy: e = 0, the multipliers are −∂E/∂v, and no ρ enters.

    With o = v₂ W₃ + b₃ and E = ½ ‖o − t‖² of one example, unknown (v₁, v₂, λ₁, λ₂):
        v₁ = x W₁ + b₁     v₂ − v₁ W₂ = b₂     λ₁ = λ₂ W₂ᵀ     λ₂ + v₂ W₃ W₃ᵀ = (t − b₃) W₃ᵀ      where e = 0
    """
    (w1, w2, w3), (b1, b2, b3) = WEIGHTS, BIASES
    zero = np.zeros
    system = np.block(
        [
            [np.eye(5), zero((5, 3)), zero((5, 5)), zero((5, 3))],
            [-w2.T, np.eye(3), zero((3, 5)), zero((3, 3))],
            [zero((5, 5)), zero((5, 3)), np.eye(5), -w2],
            [zero((3, 5)), w3 @ w3.T, zero((3, 5)), np.eye(3)],
        ]
    )
    gradients, deltas = [np.zeros_like(w) for w in WEIGHTS], []
    for x, t in zip(X, T, strict=True):
        right = np.concatenate([x @ w1 + b1, b2, zero(5), w3 @ (t - b3)])
        v1, v2, m1, m2 = np.split(np.linalg.solve(system, right), [5, 8, 13])
        for l, (before, p) in enumerate(((x, m1), (v1, m2), (v2, t - v2 @ w3 - b3))):
            gradients[l] -= np.outer(before, p)
        deltas.append((-m1, -m2))
    signals = bp.signals(LINEAR, bp.squared_error)(PARAMS[LINEAR], BATCH)
    for l in (0, 1):
        np.testing.assert_allclose([delta[l] for delta in deltas], signals[l].error_signal, rtol=1e-12)
    truth = direction(bp.backprop(LINEAR, bp.squared_error), LINEAR)
    for own, exact in zip(gradients, truth, strict=True):
        np.testing.assert_allclose(own, exact.w, rtol=1e-12)
    found = direction(pc_alm(LINEAR, bp.squared_error, 2000, 0.2, 1.5), LINEAR)
    assert relative_error(found, truth) < 1e-13
    early = direction(pc_alm(LINEAR, bp.squared_error, 20), LINEAR)
    assert 0.01 < relative_error(early, truth) < 0.9


@pytest.mark.parametrize("loss", [bp.squared_error, bp.softmax_cross_entropy], ids=["squares", "cross entropy"])
def test_at_convergence_any_network_gives_the_gradient(loss):
    batch = BATCH if loss is bp.squared_error else (BATCH[0], jnp.array([0, 1, 1]))
    truth = direction(bp.backprop(TANH, loss), TANH, batch)
    assert relative_error(direction(pc_alm(TANH, loss, 4000), TANH, batch), truth) < 1e-11
    without = direction(pc_alm(TANH, loss, 4000, multiplier_rate=0.0), TANH, batch)
    assert relative_error(without, truth) > 0.05


def test_without_multipliers_it_is_strict_predictive_coding():
    found = direction(pc_alm(TANH, bp.squared_error, 7, 0.1, 1.0, 0.0), TANH)
    strict = direction(predictive_coding(TANH, bp.squared_error, "strict", 7, 0.1), TANH)
    assert relative_error(found, strict) < 1e-14


@pytest.mark.parametrize(
    ("options", "message"),
    [({"steps": 0}, "`steps`.*≥ 1"), ({"rate": 0.0}, "`rate`.*> 0"), ({"penalty": -1.0}, "`penalty`.*> 0"),
     ({"multiplier_rate": -0.1}, "`multiplier_rate`.*≥ 0")],
)  # fmt: skip
def test_bad_input(options, message):
    with pytest.raises(ValueError, match=message):
        pc_alm(TANH, bp.squared_error, **options)
    with pytest.raises(ValueError, match="made by its `init`"):
        pc_alm(TANH, bp.squared_error).init(None, ((),))
