"""Depth-μP: activations, errors and the steps of predictive coding keep their size from 4 to 64 layers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bpjax as bp
from bpjax.networks import deep_residual
from bpjax.rules.units import propagate, unit_backward, units

WIDTH = 16


def sizes(depth, parameterization):
    """Root mean squares, times √N for errors: of the first and the last hidden value, and of the first steps of both.

    The step of v_l is −∂F/∂v_l; once the error has arrived from the output it is −J_{l+1}ᵀ … J_Lᵀ ∂E/∂o, the error of
    backpropagation, while all prediction errors below are 0.
    """
    network = deep_residual(8, WIDTH, depth, 2, parameterization=parameterization)
    key, key_x = jax.random.split(jax.random.key(0))
    params, _ = network.init(key, (8,))
    x = jax.random.normal(key_x, (20, 8))

    def measured(params):
        layers = units(network, params)
        forward, dy, errors = propagate(layers, x), jnp.ones((20, 2)), []
        for unit, at in zip(layers[:0:-1], forward[:0:-1], strict=True):
            dy = unit_backward(unit, at, dy).input
            errors.append(dy)
        rms = lambda a: jnp.sqrt(jnp.mean(a**2))
        return rms(forward[0].output), rms(forward[-2].output), rms(errors[-1]), rms(errors[0])

    assert len(units(network, params)) == depth
    return np.array(jax.jit(measured)(params))


@pytest.mark.thorough
def test_values_and_steps_keep_their_size_at_any_depth():
    found = np.array([sizes(depth, "depth_mup") for depth in (4, 16, 64)])
    growth = found[:, 1] / found[:, 0], found[:, 2] / found[:, 3]  # of the values forward, of the steps backward
    assert all(np.all((0.5 < g) & (g < 2)) for g in growth)
    assert np.all(found.max(axis=0) / found.min(axis=0) < 3)
    standard = np.array([sizes(depth, "standard") for depth in (4, 16, 64)])
    grown = standard[:, 2] / standard[:, 3]
    assert grown[2] > 10 and grown[0] < grown[1] < grown[2]


def test_the_scaling_by_hand():
    """One unit everywhere, weights 1: z₁ = x/√1, z₂ = z₁ + tanh(z₁)/√(1·3), o = tanh(z₂)/1."""
    network = deep_residual(1, 1, 3, 1)
    params, _ = network.init(jax.random.key(0), (1,))
    params = jax.tree.map(jnp.ones_like, params)
    z = 0.5 + np.tanh(0.5) / np.sqrt(3)
    o, residuals = network.forward(params, jnp.asarray([[0.5]]))
    assert float(o[0, 0]) == pytest.approx(np.tanh(z), rel=1e-14)
    _, dx = network.backward(params, residuals, jnp.ones((1, 1)))
    by_hand = (1 - np.tanh(z) ** 2) * (1 + (1 - np.tanh(0.5) ** 2) / np.sqrt(3))
    assert float(dx[0, 0]) == pytest.approx(by_hand, rel=1e-13)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: deep_residual(2, 3, 1, 1), "`depth`.*≥ 2"),
        (lambda: deep_residual(2, 3, 4, 1, parameterization="mup"), "one of depth_mup, standard"),
        (lambda: bp.layers.scaled(bp.dense(2), np.inf), "`factor`.*finite"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
