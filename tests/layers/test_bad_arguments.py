"""Wrong arguments of layers: refused where the layer is made, in one sentence on one line."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bpjax as bp
from bpjax.layers import bidirectional, dynamics, elementwise, elman, random_edges, stage, unroll

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
