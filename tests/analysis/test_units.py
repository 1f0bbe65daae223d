"""Dead and saturated units: limits worked out from φ′ by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bpjax as bp
from bpjax.analysis.units import network_unit_states, placed_activations, unit_sentences, unit_states

LIMITS = (
    # |φ′| = 0.05 max |φ′| where σ(1 − σ) = 0.0125, 1 − tanh² = 0.05, σ = 0.05, eᵃ = 0.05; gelu, silu by root finding
    (bp.sigmoid, -4.356544, 4.356544),
    (bp.layers.scaled_sigmoid(-0.5, 0.5), -4.356544, 4.356544),
    (bp.tanh, -2.178272, 2.178272),
    (bp.layers.softplus, -2.944439, np.inf),
    (bp.layers.elu(), -2.995732, np.inf),
    (bp.gelu, -2.278561, np.inf),
    (bp.layers.silu, -3.929897, np.inf),
    (bp.layers.leaky_relu(), -np.inf, np.inf),
    (bp.layers.identity, -np.inf, np.inf),
    (bp.layers.flat_spot(bp.sigmoid, 0.1), -np.inf, np.inf),
)


def states(activations, a):
    return jax.jit(lambda a: [unit_states(activation, a) for activation in activations])(jnp.asarray(a))


def test_saturation_begins_where_the_derivative_falls_below_5_percent():
    limits = [x for _, *row in LIMITS for x in row if np.isfinite(x)]
    a = np.linspace(-50.0, 50.0, 4001)
    a = np.concatenate([a, np.add(limits, 1e-4), np.add(limits, -1e-4), [-0.7517915, 1e4, -1e4]])  # gelu′(−0.75) is 0
    found = states([activation for activation, *_ in LIMITS], a)
    for (activation, low, high), (dead, saturated) in zip(LIMITS, found, strict=True):
        np.testing.assert_array_equal(saturated, (a < low) | (a > high), err_msg=activation.name)
        assert not dead.any()


def test_a_relu_is_dead_below_and_at_0_and_never_saturated():
    ((dead, saturated),) = states([bp.relu], [-1e9, -2.0, -1e-30, 0.0, 1e-30, 2.0, jnp.nan])
    assert dead.tolist() == [True, True, True, True, False, False, False] and not saturated.any()


def test_flat_parts_of_other_activations():
    a = jnp.asarray([-3.0, -1.0, -0.999, -0.4, 0.0, 0.4, 0.999, 1.0, 30.0])
    clipped, shrunk, step, surrogate = states(
        [bp.layers.hardtanh(), bp.layers.softshrink(0.5), bp.layers.heaviside, bp.layers.spike()], a
    )
    np.testing.assert_array_equal(clipped.dead, np.abs(a) >= 1)
    np.testing.assert_array_equal(shrunk.dead, np.abs(a) <= 0.5)
    assert not clipped.saturated.any() and not shrunk.saturated.any()
    assert step.dead.all()  # its true derivative is 0 everywhere
    assert not surrogate.dead.any()  # judged by the surrogate derivative


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float64"])
def test_a_derivative_that_is_rounded_to_0_is_saturated(dtype):
    for dead, saturated in states([bp.sigmoid, bp.tanh], jnp.asarray([-40.0, 0.0, 40.0], dtype)):
        assert saturated.tolist() == [True, False, True] and not dead.any()


def test_a_larger_fraction():
    a = jnp.asarray([1.0, 2.0])  # σ′ / ¼ is 0.786 at 1 and 0.420 at 2
    assert unit_states(bp.sigmoid, a, fraction=0.5).saturated.tolist() == [False, True]


def test_the_states_of_a_network_in_a_compiled_program():
    network = bp.chain(bp.dense(2), bp.relu, bp.chain(bp.dense(1), bp.sigmoid))
    first = bp.layers.Affine(jnp.asarray([[1.0, -1.0]]), jnp.asarray([-10.0, 0.0]))
    second = bp.layers.Affine(jnp.asarray([[1.0], [5.0]]), jnp.asarray([0.0]))
    params = (first, (), (second, ()))
    x = jnp.asarray([[1.0], [2.0], [-1.0], [-2.0]])
    places = placed_activations(network, params)
    assert [(place.number, place.path) for place in places] == [(1, (1,)), (2, (2, 1))]
    hidden, output = jax.jit(lambda params, x: network_unit_states(network, params, x))(params, x)
    assert hidden.dead[:, 0].all() and hidden.dead[:, 1].tolist() == [True, True, False, False]
    assert output.saturated[:, 0].tolist() == [False, False, True, True]  # a = 0, 0, 5, 10
    assert unit_sentences(1, hidden) == ("unit 1 of layer 1 is dead on all 4 examples",)
    assert unit_sentences(2, output, saturated_from=0.5) == (
        "unit 1 of layer 2 is saturated on 50 % of the 4 examples",
    )


def test_sentences_for_many_units_and_for_positions():
    dead = np.zeros((200, 12), bool)
    saturated = dead.copy()
    dead[:, :11] = True
    saturated[:193, 11] = True
    assert unit_sentences(3, bp.analysis.UnitStates(dead, saturated)) == (
        "units 1, 2, 3, 4, 5, 6, 7 and 4 more of layer 3 are dead on all 200 examples",
        "unit 12 of layer 3 is saturated on 96 % of the 200 examples",
    )
    everything = np.ones((2, 3, 2), bool)
    assert unit_sentences(1, bp.analysis.UnitStates(everything, ~everything)) == (
        "all 2 units of layer 1 are dead on all 6 positions of the examples",
    )


def test_what_is_no_activation_is_refused():
    with pytest.raises(ValueError, match="`unit_states` expected an elementwise activation.*softmax"):
        unit_states(bp.softmax, jnp.zeros((2, 3)))
