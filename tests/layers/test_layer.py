"""The contract of a layer: its kind, its parts, its text."""

import jax
import jax.numpy as jnp
import pytest

import bpjax as bp
from bpjax.layers import Kind, Layer, Parts, map_layers
from bpjax.layers.layer import placed_layers
from bpjax.rules.slopes import with_slopes


def square():
    """A user's leaf, which names no kind."""
    init = lambda key, in_shape: ((), tuple(in_shape))
    return Layer("my square", init, lambda params, x: (x * x, x), lambda params, x, dy: ((), 2 * x * dy))


def test_a_leaf_of_four_fields_works_everywhere(keys):
    network = bp.chain(bp.dense(3), square(), bp.dense(2))
    params, _ = network.init(next(keys), (4,))
    batch = jax.random.normal(next(keys), (5, 4)), jnp.zeros((5, 2))
    rules = [make(network, bp.squared_error) for make in (bp.backprop, bp.autodiff)]
    by_hand, by_jax = (jax.tree.leaves(jax.jit(rule.grads)(params, (), batch)[1]) for rule in rules)
    assert all(jnp.allclose(a, b, rtol=1e-12) for a, b in zip(by_hand, by_jax, strict=True))
    assert network.layers[1].kind is Kind.LEAF and network.layers[1].layers == ()
    assert repr(network) == "chain(dense(3), my_square, dense(2))"
    doubled = with_slopes(network, lambda layer: layer._replace(name="found"))  # entry by entry, so an activation
    assert repr(doubled) == "chain(dense(3), found, dense(2))"


def test_a_combination_of_layers_of_a_user():
    def twice(layer):
        return bp.chain(layer, layer)._replace(name="twice", kind=Kind.COMBINATOR, parts=Parts((layer,), twice))

    changed = map_layers(lambda layer: bp.sigmoid if layer is bp.tanh else layer, twice(bp.chain(bp.dense(2), bp.tanh)))
    assert repr(changed) == "twice(chain(dense(2), sigmoid))"


@pytest.mark.parametrize(
    ("layer", "text"),
    [
        (bp.mlp((64, 32, 10), weights="he"), "chain(dense(32, weights=…), tanh, dense(10, weights=…))"),
        (bp.dense(8, use_bias=False), "dense(8, use_bias=False)"),
        (bp.conv(8, (3, 3), 2, "VALID"), "conv(8, (3, 3), stride=(2, 2), padding='VALID')"),
        (bp.layers.conv_transpose(8, (3, 3)), "conv_transpose(8, (3, 3))"),
        (bp.layers.max_pool((2, 2)), "max_pool((2, 2))"),
        (bp.layers.max_pool((3, 3), 2), "max_pool((3, 3), stride=(2, 2))"),
        (bp.layers.leaky_relu(0.1), "leaky_relu(0.1)"),
        (bp.layers.layer_norm(), "layer_norm()"),
        (bp.layers.group_norm(4, epsilon=0.1), "group_norm(4, epsilon=0.1)"),
        (bp.layers.attention(2, causal=True), "attention(2, causal=True)"),
        (bp.layers.masked(bp.layers.attention(2)), "masked(attention(2))"),
        (bp.layers.keyed(bp.layers.dropout(jnp.float32(0.5))), "keyed(dropout(0.5))"),
        (bp.layers.repeat(bp.chain(bp.dense(3), bp.tanh), 4), "repeat(chain(dense(3), tanh), 4)"),
        (
            bp.layers.parallel(bp.dense(3), bp.tanh, combine="concatenate"),
            "parallel(dense(3), tanh, combine='concatenate')",
        ),
        (bp.layers.tie(bp.chain(bp.dense(3), bp.dense(3)), (0, 1)), "tie(chain(dense(3), dense(3)), (0, 1))"),
        (bp.layers.unroll(bp.layers.lstm(8), last=True), "unroll(lstm(8), last=True)"),
        (bp.layers.unroll(bp.layers.stage(bp.dense(2), 2)), "unroll(stage(dense(2), 2))"),
        (bp.layers.flat_spot(bp.sigmoid), "sigmoid_without_flat_spots"),
        (bp.layers.flatten, "flatten"),
    ],
    ids=str,
)
def test_repr_is_the_call(layer, text):
    assert repr(layer) == text


def test_an_array_in_a_repr_is_a_dtype_and_a_shape():
    jax.jit(lambda rate: [repr(bp.layers.dropout(rate)) == "dropout(float64[])" or pytest.fail()])(0.5)


def test_placed_layers_name_the_place_of_each_layer(keys):
    network = bp.chain(bp.dense(3), bp.chain(bp.tanh, bp.dense(2)))
    params, _ = network.init(next(keys), (2,))
    placed = placed_layers(network, params)
    assert [(p.path, p.layer.name) for p in placed] == [((0,), "dense"), ((1, 0), "tanh"), ((1, 1), "dense")]
    assert placed[2].params is params[1][1]
    (alone,) = placed_layers(bp.dense(3), params[0])
    assert alone.path == () and alone.layer is bp.dense(3)
