"""Wrong arguments of layers: refused where the layer is made, in one sentence on one line."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bpjax as bp
from bpjax.layers import bidirectional, dynamics, elementwise, elman, random_edges, runge_kutta, stage, unroll

TEXTS = np.array(["a", "b"])
NORMED = bp.chain(bp.dense(3), bp.layers.batch_norm())
PARAMS = NORMED.init(jax.random.key(0), (3,))[0]


def step(params, s, x):
    return s


BAD = {
    "padding": (lambda: bp.layers.conv(2, 3, padding=TEXTS), '`padding` to be "SAME"'),
    "a large stride": (lambda: bp.layers.conv(2, 3, stride=10**400), "`stride` to be an integer ≥ 1"),
    "last": (lambda: unroll(elman(3), last=""), "`last` to be True or False"),
    "reverse": (lambda: unroll(elman(3), reverse=3), "`reverse` to be True or False"),
    "with_state": (lambda: unroll(elman(3), with_state=bp.tanh), "`with_state` to be True or False"),
    "bidirectional": (lambda: bidirectional(elman(3), last=None), "`last` to be True or False"),
    "stage": (lambda: stage(bp.dense(3), [1.0]), "`features` to be an integer"),
    "dynamics": (lambda: dynamics(0.7, (2,)), "`function` to be a function"),
    "dynamics, params": (lambda: dynamics(step, (2,), ()), "`params` to be a function"),
    "state": (lambda: dynamics(step, object()), "`state_shape` to be a tuple of positive integers"),
    "state, infinite": (lambda: dynamics(step, (np.inf,)), "`state_shape` to be a tuple of positive integers"),
    "state, negative": (lambda: dynamics(step, {"s": (-1,)}), "`state_shape` to be a tuple of positive integers"),
    "runge_kutta": (lambda: runge_kutta(0.7, (2,), 0.1), "`runge_kutta` expected `function` to be a function"),
    "runge_kutta, params": (lambda: runge_kutta(step, (2,), 0.1, ()), "`params` to be a function"),
    "runge_kutta, state": (lambda: runge_kutta(step, "s", 0.1), "`runge_kutta` expected `state_shape` to be a tuple"),
    "step": (lambda: runge_kutta(step, (2,), 0.0), "`step` to be a finite number > 0"),
    "stages": (lambda: runge_kutta(step, (2,), 0.1, stage_controls=4), "`stage_controls` to be True or False"),
    "free time": (lambda: bp.layers.free_final_time(2.0), "`function` to be a function"),
    "running cost": (lambda: bp.layers.mayer_form(step, 1.0), "`running_cost` to be a function"),
    "constraints": (lambda: bp.layers.augmented_lagrangian(step, 1.0), "`constraints` to be a function"),
    "multipliers": (
        lambda: bp.layers.update_multipliers(jnp.ones(2), jnp.ones(2)),
        "`multipliers` to be a Multipliers",
    ),
    "residual": (
        lambda: bp.layers.update_multipliers(bp.layers.Multipliers(jnp.zeros((1, 2)), 1.0), jnp.ones((1, 3))),
        "`residual` of the shape of the multipliers",
    ),
    "adjoint": (lambda: bp.layers.adjoint(elman, step, (), 0, jnp.ones((1, 2, 1))), "`cell` to be a Cell"),
    "controls": (lambda: bp.layers.adjoint(elman(3), step, (), 0, jnp.ones((2, 1))), "`controls` of shape"),
    "name": (lambda: elementwise(3, jnp.sin, jnp.cos, "input"), "`name` to be a text"),
    "phi": (lambda: elementwise("sine", [], jnp.cos, "input"), "`phi` to be a function"),
    "derivative": (lambda: elementwise("sine", jnp.sin, bp.tanh, "input"), "`derivative` to be a function"),
    "of": (lambda: elementwise("sine", jnp.sin, jnp.cos, 2j), "`of` to be one of input, output"),
    "key": (lambda: random_edges("word", 3, 2, per_unit=1), "`key` to be one random key"),
    "infinite examples": (lambda: bp.layers.batch_statistics(NORMED, PARAMS, [[jnp.inf, 0, 0]]), "finite numbers"),
    "statistics": (lambda: bp.layers.with_statistics(NORMED, ((1, 2),)), "a tuple of `BatchStatistics`"),
    "no statistics": (lambda: bp.layers.running_statistics((), 3), "a tuple of `BatchStatistics`, got 3"),
    "no network": (lambda: bp.layers.with_statistics("word", ()), "expected a Layer, got 'word'"),
}


@pytest.mark.parametrize(("call", "message"), BAD.values(), ids=BAD)
def test_bad_arguments(call, message):
    with pytest.raises(ValueError, match=message) as raised:
        call()
    assert "\n" not in str(raised.value)


def test_shapes_of_a_state_in_other_types():
    cell = dynamics(step, {"a": [np.int64(2)], "b": ()})
    assert cell.state_shape == {"a": (2,), "b": ()}
