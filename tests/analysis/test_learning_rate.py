"""Learning rates that are suggested, and those that are not."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import bpjax as bp
from bpjax.losses import Loss

KEY = jax.random.key(5)


def test_the_limit_of_a_quadratic_is_exact_and_the_rate_is_near_its_best():
    """E = ½ Σ (w x − t)²: λ = Σ x², one step of 1/λ reaches the minimum, and rates above 2/λ diverge."""
    x = jnp.array([[1.0], [2.0], [-0.5]])
    curvature = float(jnp.sum(x**2))
    network = bp.dense(1, use_bias=False)
    found = bp.suggest_learning_rate(network, bp.squared_error, (x, 3 * x), key=KEY, starts=5, epochs=3)
    assert found.limit == pytest.approx(2 / curvature, rel=1e-9)
    assert found.value is not None and 1 / 1.8 < found.value * curvature < 1.8
    assert found.share == 1 and "5 of 5 starts bear it" in found.reason
    too_high = found.rates > 2 / curvature
    assert too_high.any() and not found.borne[too_high].any() and found.borne[~too_high].all()


@pytest.mark.thorough
def test_the_rate_is_within_a_factor_of_two_of_the_best_of_a_fine_sweep():
    network, batch = bp.mlp((2, 3, 1), bp.sigmoid, bp.sigmoid), bp.xor().present()
    rule = bp.backprop(network, bp.squared_error)
    found = bp.suggest_learning_rate(network, bp.squared_error, batch, key=KEY, starts=30, epochs=200)

    def run(key, learning_rate):
        params, _ = network.init(key, (2,))
        return bp.trial(rule, bp.momentum(learning_rate, 0.0), params, batch, key=key, epochs=200)

    rates = np.geomspace(0.1, 100, 31)
    result = bp.sweep(run, {"learning_rate": rates, "seed": range(200)}, key=jax.random.key(8))
    best = rates[np.argmin(result.error.where(~result.diverged, np.inf).median("seed").to_numpy())]
    assert found.value is not None and 0.5 <= found.value / best <= 2


@pytest.mark.thorough
def test_an_error_without_a_minimum_has_no_rate():
    """The sum of the outputs of a linear layer: curvature 0, and every larger rate lowers it more."""
    total = Loss("sum of outputs", lambda o, t: jnp.sum(o), lambda o, t: jnp.ones_like(o))
    batch = jax.random.normal(KEY, (8, 4)), jnp.zeros((8, 2))
    found = bp.suggest_learning_rate(bp.dense(2), total, batch, key=KEY, starts=4, epochs=2)
    assert found.value is None and found.limit == np.inf and "may have no minimum" in found.reason
    assert "no direction is curved upwards" in str(found)


@pytest.mark.thorough
def test_after_training_there_is_nothing_to_gain():
    x = jnp.linspace(-1, 1, 5)[:, None]
    network, params = bp.dense(1, use_bias=False), bp.layers.Affine(jnp.array([[2.0]]))
    noisy = 2 * x + jnp.array([[1.0], [-2.0], [0.0], [2.0], [-1.0]])
    params = params._replace(w=jnp.linalg.lstsq(x, noisy)[0])
    found = bp.suggest_learning_rate(network, bp.squared_error, (x, noisy), key=KEY, params=params, starts=2, epochs=2)
    assert found.value is None and "minimum" in found.reason


@pytest.mark.thorough
def test_a_dead_network_has_no_rate():
    network = bp.chain(bp.dense(2), bp.relu, bp.dense(1))
    params, _ = network.init(KEY, (2,))
    params = params[0]._replace(b=jnp.full(2, -9.0)), (), jax.tree.map(jnp.zeros_like, params[2])
    batch = jnp.ones((3, 2)), jnp.zeros((3, 1))
    found = bp.suggest_learning_rate(network, bp.squared_error, batch, key=KEY, params=params)
    assert found.value is None and found.reason.startswith("No rate, because the gradient is 0")


@pytest.mark.thorough
def test_another_optimizer(keys):
    network = bp.mlp((2, 3, 1), bp.sigmoid, bp.sigmoid)
    found = bp.suggest_learning_rate(
        network, bp.squared_error, bp.xor().present(), key=KEY, optimizer=optax.adam, starts=4, epochs=5
    )
    assert found.rates[0] <= 1e-5 and found.value is not None


def test_bad_input_gets_a_sentence():
    network, batch = bp.mlp((2, 2, 1)), bp.xor().present()
    for change, message in (
        ({"optimizer": optax.adam(0.1)}, "function of the learning rate"),
        ({"optimizer": lambda: 3}, "function of the learning rate"),
        ({"starts": 0}, "starts"),
        ({"key": 3}, "key"),
    ):
        with pytest.raises(ValueError, match=message):
            bp.suggest_learning_rate(network, bp.squared_error, batch, **({"key": KEY} | change))
