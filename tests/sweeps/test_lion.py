"""Lion is `optax.lion`: a sweep with a traced learning rate follows the steps of its paper, and comparisons take it."""

import jax
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree

import bpjax as bp

NETWORK, LOSS, BATCH = bp.mlp((2, 3, 1), bp.tanh), bp.squared_error, bp.xor().present()
RULE, RUN_KEY = bp.backprop(NETWORK, LOSS), jax.random.key(3)


def trial(key, learning_rate):
    params, _ = NETWORK.init(RUN_KEY, (2,))
    optimizer = optax.lion(learning_rate, weight_decay=0.01)
    return bp.trial(RULE, optimizer, params, BATCH, key=key, epochs=4, stops=bp.error_below(1e-3))


def test_a_sweep_follows_chen_et_al():
    """c = β₁ m + (1 − β₁) g,  w ← w − η (sign(c) + λ w),  m ← β₂ m + (1 − β₂) g; Chen et al. 2023, Algorithm 2."""
    rates = [0.01, 0.05]
    swept = bp.sweep(trial, {"learning_rate": rates}, key=RUN_KEY, progress=False)
    grads = jax.jit(RULE.grads)
    for i, rate in enumerate(rates):
        w, tree = ravel_pytree(NETWORK.init(RUN_KEY, (2,))[0])
        w, m = np.asarray(w), np.zeros(w.size)
        for _ in range(4):
            error, gradient, _ = grads(tree(w), (), BATCH)  # a run reports the error before its last step
            g = np.asarray(ravel_pytree(gradient)[0])
            w, m = w - rate * (np.sign(0.9 * m + 0.1 * g) + 0.01 * w), 0.99 * m + 0.01 * g
        assert float(swept.error[i]) == pytest.approx(float(error), rel=1e-9)


@pytest.mark.thorough
def test_a_comparison_takes_it():
    make = lambda key, optimizer: bp.trial(
        RULE, optimizer, NETWORK.init(key, (2,))[0], BATCH, key=key, epochs=50, stops=bp.error_below(0.4)
    )
    choices = {"Lion": optax.lion, "momentum": lambda rate: bp.momentum(rate, 0.5)}
    found = bp.compare_optimizers(make, choices, [0.01, 0.1], 4, key=jax.random.key(0))
    assert "Lion" in str(found)
