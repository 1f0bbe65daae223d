"""What every experiment does before it trains: initial weights as a sweep draws them, and a receipt of the gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bpjax as bp
from experiments.common.gradients import gradient_receipt
from experiments.common.networks import sigmoid_network
from experiments.common.starts import first_start, starts_of


def test_the_weights_are_those_that_a_sweep_begins_with(keys):
    network, key = sigmoid_network((2, 2, 1)), next(keys)
    own, params = starts_of(lambda key: network.init(key, (2,))[0], key, 3)
    for seed in range(3):
        expected = jax.random.fold_in(key, seed)  # as `bp.sweep` folds them
        assert jax.random.key_data(own[seed]).tolist() == jax.random.key_data(expected).tolist()
        weights = first_start(network, expected, (2,))
        jax.tree.map(lambda a, b, seed=seed: np.testing.assert_array_equal(a[seed], b), params, weights)
    leaves = jax.tree.leaves(params)
    assert all(0 < jnp.abs(leaf).max() <= 1 and len(np.unique(leaf)) == leaf.size for leaf in leaves)


def test_a_receipt_names_the_wrong_layer():
    network, batch = sigmoid_network((2, 2, 1)), bp.xor().present()
    params = first_start(network, jax.random.key(0), (2,))
    assert gradient_receipt(network, bp.squared_error, params, batch).verdict.startswith("right: all 4 leaves agree")
    wrong = bp.sigmoid._replace(backward=lambda params, residuals, dy: ((), 0.9 * dy))
    with pytest.raises(AssertionError, match="sigmoid"):
        gradient_receipt(sigmoid_network((2, 2, 1), unit=wrong), bp.squared_error, params, batch)
