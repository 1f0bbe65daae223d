"""Random chains of random layers of random shapes: their backward is the VJP of their forward."""

import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from passes import compiled, drawn_params, noise_like, run_and_vjp

import bpjax as bp

pytestmark = pytest.mark.thorough

CHAINS = int(os.environ.get("BPJAX_CHAINS", 12))
DERANDOMIZED = "BPJAX_CHAINS" not in os.environ  # the same chains in every run, unless asked for more
SMALL = st.integers(1, 5)
ACTIVATION = st.sampled_from(
    [bp.tanh, bp.sigmoid, bp.relu, bp.gelu, bp.layers.silu, bp.layers.elu(), bp.layers.softplus]
)


def heads_of(draw, features):
    return draw(st.sampled_from([h for h in range(1, features + 1) if features % h == 0]))


def edges(draw, inputs):
    outputs = draw(SMALL)
    mask = draw(st.lists(st.booleans(), min_size=inputs * outputs, max_size=inputs * outputs))
    mask = np.array(mask).reshape(inputs, outputs)
    mask[0, 0] = True
    return bp.layers.sparse(bp.layers.edges_from_mask(mask))


def same_width(draw, features):
    return bp.chain(bp.dense(features), draw(ACTIVATION))


VECTOR = {
    "dense": lambda draw, shape: bp.dense(draw(SMALL), use_bias=draw(st.booleans())),
    "activation": lambda draw, shape: draw(ACTIVATION),
    "softmax": lambda draw, shape: bp.softmax,
    "residual": lambda draw, shape: bp.residual(same_width(draw, *shape)),
    "shortcut": lambda draw, shape: bp.layers.shortcut(bp.dense(draw(SMALL))),
    "parallel": lambda draw, shape: bp.layers.parallel(same_width(draw, *shape), bp.layers.identity, combine="sum"),
    "repeat": lambda draw, shape: bp.layers.repeat(same_width(draw, *shape), draw(SMALL)),
    "remat": lambda draw, shape: bp.layers.remat(same_width(draw, *shape)),
    "freeze": lambda draw, shape: bp.layers.freeze(bp.dense(draw(SMALL))),
    "layer_norm": lambda draw, shape: bp.layer_norm(),
    "rms_norm": lambda draw, shape: bp.layers.rms_norm(),
    "weight_norm": lambda draw, shape: bp.layers.weight_norm(draw(SMALL)),
    "sparse": lambda draw, shape: edges(draw, *shape),
    "to sequence": lambda draw, shape: bp.chain(bp.dense(6), bp.layers.reshape((3, 2))),
    "to image": lambda draw, shape: bp.chain(bp.dense(24), bp.layers.reshape((4, 3, 2))),
}
SEQUENCE = {
    "over_positions": lambda draw, shape: bp.over_positions(bp.chain(bp.dense(draw(SMALL)), draw(ACTIVATION))),
    "elman": lambda draw, shape: bp.unroll(bp.layers.elman(draw(SMALL))),
    "gru": lambda draw, shape: bp.unroll(bp.layers.gru(draw(SMALL))),
    "lstm": lambda draw, shape: bp.unroll(bp.lstm(draw(SMALL))),
    "bidirectional": lambda draw, shape: bp.layers.bidirectional(bp.layers.elman(draw(SMALL))),
    "fir": lambda draw, shape: bp.layers.fir(draw(SMALL), draw(SMALL)),
    "attention": lambda draw, shape: bp.attention(
        heads_of(draw, shape[-1]), causal=draw(st.booleans()), block=draw(SMALL)
    ),
    "positions": lambda draw, shape: bp.layers.learned_positions(shape[0]),
    "layer_norm": lambda draw, shape: bp.layer_norm(),
    "conv": lambda draw, shape: bp.conv(
        draw(SMALL), draw(st.integers(1, 3)), stride=draw(st.integers(1, 3)), dilation=draw(st.integers(1, 2))
    ),
    "flatten": lambda draw, shape: bp.flatten,
}
IMAGE = {
    "conv": lambda draw, shape: bp.conv(
        draw(SMALL), (draw(st.integers(1, 3)), draw(st.integers(1, 3))), stride=draw(st.integers(1, 4))
    ),
    "depthwise": lambda draw, shape: bp.conv(2 * shape[-1], (2, 2), groups=shape[-1]),
    "conv_transpose": lambda draw, shape: bp.layers.conv_transpose(draw(SMALL), (2, 3), stride=draw(st.integers(1, 2))),
    "max_pool": lambda draw, shape: bp.layers.max_pool((2, 2), stride=draw(st.integers(1, 3)), padding="SAME"),
    "average_pool": lambda draw, shape: bp.layers.average_pool((2, 2), padding="SAME"),
    "group_norm": lambda draw, shape: bp.layers.group_norm(heads_of(draw, shape[-1])),
    "residual": lambda draw, shape: bp.residual(bp.conv(shape[-1], (3, 3))),
    "flatten": lambda draw, shape: bp.flatten,
}
BY_RANK = {1: VECTOR, 2: SEQUENCE, 3: IMAGE}
SHAPES = {1: (4,), 2: (5, 3), 3: (5, 4, 2)}


@st.composite
def chains(draw):
    """A chain of up to four layers, each fitting the output shape of the previous one, and its `in_shape`."""
    rank = draw(st.sampled_from([1, 2, 3]))
    shape = in_shape = tuple(draw(st.integers(1, n)) for n in SHAPES[rank])
    layers = []
    for _ in range(draw(st.integers(1, 4))):
        name = draw(st.sampled_from(sorted(BY_RANK[len(shape)])))
        layer = BY_RANK[len(shape)][name](draw, shape)
        _, shape = jax.eval_shape(lambda layer=layer, shape=shape: Shaped(*layer.init(jax.random.key(0), shape))).pair
        layers.append(layer)
    return bp.chain(*layers), in_shape


@pytest.mark.thorough
@jax.tree_util.register_pytree_node_class
class Shaped:
    """The result of `init`, with a static shape."""

    def __init__(self, params, shape):
        self.pair = params, shape

    def tree_flatten(self):
        return (self.pair[0],), self.pair[1]

    @classmethod
    def tree_unflatten(cls, shape, children):
        return cls(children[0], shape)


@pytest.mark.statistical
@settings(max_examples=CHAINS, deadline=None, derandomize=DERANDOMIZED, suppress_health_check=list(HealthCheck))
@given(chains(), st.integers(1, 3), st.integers(0, 2**31 - 1))
def test_a_random_chain_is_the_vjp_of_its_forward(made, examples, seed):
    network, in_shape = made
    keys = iter(jax.random.split(jax.random.key(seed), 200))
    params, out_shape = drawn_params(network, in_shape, keys)
    x, dy = (noise_like(jnp.empty((examples, *shape)), keys) for shape in (in_shape, out_shape))
    y, found, truth = compiled(run_and_vjp)(network, params, x, dy)
    assert y.shape == dy.shape
    assert jax.tree.structure(found) == jax.tree.structure(truth)
    whole = max(float(jnp.linalg.norm(leaf)) for leaf in jax.tree.leaves(truth))
    for path, leaf in jax.tree_util.tree_leaves_with_path(truth):
        other = dict(jax.tree_util.tree_leaves_with_path(found))[path]
        allowed = 1e-11 * max(float(jnp.linalg.norm(leaf)), 1e-3 * whole)  # a gradient may be rounding error only
        assert float(jnp.linalg.norm(other - leaf)) <= allowed, jax.tree_util.keystr(path)
