"""The context: what combinators pass to their parts beside x."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import relative_error
from passes import compiled, run, vjp

import bpjax as bp
from bpjax.layers import Context, dropout, keyed, repeat, unroll
from bpjax.layers.combinators.chain import chain, freeze, parallel, residual, shortcut
from bpjax.layers.combinators.over_positions import over_positions
from bpjax.layers.combinators.remat import remat
from bpjax.layers.combinators.tie import tie
from bpjax.layers.recurrent.cells import elman
from bpjax.layers.recurrent.stage import stage
from bpjax.rules.equilibrium import hopfield

DROPPED = chain(bp.dense(4), dropout(0.5), bp.tanh)
COMBINATIONS = {
    "chain": (DROPPED, (4,)),
    "nested": (chain(DROPPED, chain(DROPPED, dropout(0.5))), (4,)),
    "residual": (residual(DROPPED), (4,)),
    "parallel": (parallel(DROPPED, dropout(0.5)), (4,)),
    "shortcut": (shortcut(DROPPED), (4,)),
    "freeze": (freeze(DROPPED), (4,)),
    "over_positions": (over_positions(DROPPED), (3, 4)),
    "remat": (remat(DROPPED), (4,)),
    "repeat": (repeat(DROPPED, 3), (4,)),
    "repeat of remat": (repeat(remat(DROPPED), 3), (4,)),
    "tie": (tie(chain(bp.dense(4), dropout(0.5), bp.dense(4)), (0, 2)), (4,)),
    "unroll": (unroll(stage(DROPPED, 4)), (3, 2)),
    "cell": (unroll(elman(4, dropout(0.5))), (3, 2)),
    "bidirectional": (bp.layers.bidirectional(stage(DROPPED, 4)), (3, 2)),
    "parallel and freeze": (parallel(DROPPED, freeze(DROPPED)), (4,)),
}


IN_SHORT = ("nested", "residual", "repeat", "unroll")
"""The combinations that are tested where the thorough tests are left out."""


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[] if n in IN_SHORT else pytest.mark.thorough) for n in COMBINATIONS]
)
def test_every_combinator_passes_the_key_to_its_parts(name, keys):
    network, in_shape = COMBINATIONS[name]
    assert "key" in network.uses and "key" not in keyed(network).uses
    layer = keyed(network)
    params, out_shape = layer.init(next(keys), in_shape)
    x, dy = jax.random.normal(next(keys), (5, *in_shape)), jax.random.normal(next(keys), (5, *out_shape))
    pair, other = (x, next(keys)), (x, next(keys))
    y, found = compiled(run)(layer, params, pair, dy)
    assert relative_error(found, compiled(vjp)(layer, params, pair, dy)) < 1e-12
    assert (y != compiled(run)(layer, params, other, dy)[0]).any()
    direct = jax.jit(lambda params, x, key: network.forward(params, x, Context(key=key))[0])(params, *pair)
    np.testing.assert_allclose(direct, y, rtol=1e-13)
    with pytest.raises(ValueError, match="`dropout` expected a key"):
        network.forward(params, x)


def test_a_key_is_folded_with_the_place_of_each_part(keys):
    x, key = jnp.ones((50, 4)), next(keys)
    _, masks = keyed(chain(dropout(0.5), chain(dropout(0.5), dropout(0.5)))).forward(((), ((), ())), (x, key))
    for path, mask in [((0,), masks[0]), ((1, 0), masks[1][0]), ((1, 1), masks[1][1])]:
        place = key
        for index in path:
            place = jax.random.fold_in(place, index)
        np.testing.assert_array_equal(mask, jax.random.uniform(place, x.shape, jnp.float32) >= 0.5)


def test_a_repeat_draws_the_masks_of_the_chain_it_stands_for(keys):
    x, key = jnp.ones((50, 4)), next(keys)
    looped, _ = keyed(repeat(dropout(0.3), 3)).forward((), (x, key))
    chained, _ = keyed(chain(*[dropout(0.3)] * 3)).forward(((), (), ()), (x, key))
    np.testing.assert_allclose(looped, chained, rtol=1e-14)


def test_a_mask_of_dropout_is_the_same_at_every_step_of_a_recurrence(keys):
    layer = keyed(unroll(stage(chain(bp.dense(40), dropout(0.5)), 40)))
    params, _ = layer.init(next(keys), (6, 2))
    y, _ = layer.forward(params, (jax.random.normal(next(keys), (1, 6, 2)), next(keys)))
    zero = np.asarray(y[0] == 0)
    assert 0 < zero[0].sum() < 40 and (zero == zero[0]).all()


def test_a_settling_network_keeps_its_masks_while_it_settles(keys):
    layer = keyed(hopfield(chain(bp.dense(6), bp.sigmoid, dropout(0.4), bp.dense(2)), 60, 0.3))
    params, _ = layer.init(next(keys), (3,))
    params = jax.tree.map(lambda p: 0.3 * p, params)
    x, dy = jax.random.normal(next(keys), (5, 3)), jax.random.normal(next(keys), (5, 2))
    pair = x, next(keys)
    _, found = compiled(run)(layer, params, pair, dy)
    assert relative_error(found, compiled(vjp)(layer, params, pair, dy)) < 1e-6  # exact at the fixed point


def test_a_layer_that_uses_nothing_gets_no_context(keys):
    network = keyed(chain(bp.dense(3), dropout(0.5)))
    plain = bp.dense(3)._replace(forward=lambda params, x: bp.dense(3).forward(params, x))  # takes two arguments
    params, _ = network.init(next(keys), (2,))
    pair = jnp.ones((4, 2)), next(keys)
    same = keyed(chain(plain, dropout(0.5)))
    np.testing.assert_array_equal(same.forward(params, pair)[0], network.forward(params, pair)[0])
