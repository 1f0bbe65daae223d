"""The encoder-decoder network: causal in the target, blind to the padding of the source, and trained by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import relative_error
from passes import QUICKLY, compiled, drawn_params, noise_like, run, vjp

from bpjax.layers.attention.masked import masked
from bpjax.networks import decoder_block, encoder_decoder

NETWORK = encoder_decoder(6, 5, 4, 2, 2)


def texts(keys):
    return jax.random.randint(next(keys), (2, 4), 0, 6), jax.random.randint(next(keys), (2, 3), 0, 5)


@pytest.mark.thorough
def test_its_backward_pass_is_the_vjp_with_a_mask_of_the_source(keys):
    network, mask = masked(NETWORK, "memory_mask"), np.array([[True] * 4, [True, True, False, False]])
    params, out_shape = drawn_params(network, ((4,), (3,)), keys)
    x = texts(keys), mask
    dy = jax.random.normal(next(keys), (2, *out_shape))
    y, hand = compiled(run)(network, params, x, dy)
    assert out_shape == (3, 5)
    assert relative_error(hand, compiled(vjp)(network, params, x, dy)) < 1e-10
    source = x[0][0].at[1, 2:].set((x[0][0][1, 2:] + 1) % 6)  # other tokens at the padding
    assert relative_error(compiled(run)(network, params, ((source, x[0][1]), mask), dy)[0], y) < 1e-12


@pytest.mark.thorough
def test_it_is_causal_in_the_target_and_sees_the_whole_source(keys):
    params, _ = NETWORK.init(next(keys), ((4,), (3,)))
    source, target = texts(keys)
    forward = jax.jit(lambda x: NETWORK.forward(params, x)[0], compiler_options=QUICKLY)
    y = forward((source, target))
    later = forward((source, target.at[:, 2].set((target[:, 2] + 1) % 5)))
    np.testing.assert_allclose(later[:, :2], y[:, :2], rtol=1e-12)
    assert (later[:, 2] != y[:, 2]).any()
    assert (forward((source.at[:, 3].set((source[:, 3] + 1) % 6), target))[:, 0] != y[:, 0]).any()


def test_a_decoder_block_passes_the_memory_on(keys):
    block = decoder_block(4, 2)
    params, out_shape = drawn_params(block, ((3, 4), (5, 4)), keys)
    x = jax.random.normal(next(keys), (2, 3, 4)), jax.random.normal(next(keys), (2, 5, 4))
    dy = noise_like(x, keys)
    (y, memory), hand = compiled(run)(block, params, x, dy)
    assert out_shape == ((3, 4), (5, 4)) and y.shape == (2, 3, 4)
    np.testing.assert_array_equal(memory, x[1])
    assert relative_error(hand, compiled(vjp)(block, params, x, dy)) < 1e-10


def test_bad_arguments(keys):
    params, _ = decoder_block(4, 2).init(next(keys), ((3, 4), (5, 4)))
    for make, message in [
        (lambda: encoder_decoder(6, 5, 4, 2, 0), "`blocks` to be an integer ≥ 1"),
        (lambda: NETWORK.init(next(keys), (4,)), "`in_shape` of two shapes"),
        (lambda: NETWORK.forward((), texts(keys)), "belong to another network"),
        (lambda: decoder_block(4, 2).forward(params, jnp.ones((2, 3, 4))), "a pair of sequences"),
    ]:
        with pytest.raises(ValueError, match=message):
            make()
