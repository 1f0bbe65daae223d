"""A skeleton of an optimizer: copy this file to bpjax/optimizers/, rename, write the step of one array of weights.

`python docs/skeletons/optimizer.py` trains XOR. tests/test_skeletons.py puts it through the laws of all optimizers.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

import bpjax as bp
from bpjax.optimizers.hyperparameters import Rate, check_hyperparameter
from bpjax.optimizers.registry import OptimizerCase
from bpjax.optimizers.transformation import transformation
from bpjax.optimizers.weights import each_weight


class ManhattanState(NamedTuple):
    """State of `manhattan`: its hyperparameters are data, so that changing them compiles nothing."""

    learning_rate: jax.Array  # () η
    steps: jax.Array  # () of a schedule
    given: tuple = ()  # the values of the factory at the last step, see bpjax/optimizers/hyperparameters.py


def manhattan(learning_rate: Rate) -> optax.GradientTransformation:
    """Every weight changes by the same amount, Δw = −η sign(g).        Name the paper here.

    Args:
        learning_rate: η > 0, or a schedule.

    Raises:
        ValueError: a value outside its range.
    """
    check_hyperparameter("manhattan", "learning_rate", learning_rate, above=0.0)

    def init(params, **hyperparameters):
        return ManhattanState(**hyperparameters)

    return transformation("manhattan", ManhattanState, init, step, {"learning_rate": learning_rate})


def step(state, g, params, value):
    """The changes of all weights, and the next state."""
    return each_weight(change, 1, (state.learning_rate,), g)[0], state


def change(rate, g):
    """The change of one array of weights."""
    return (-rate * jnp.sign(g),)


CASE = OptimizerCase(lambda rate: manhattan(rate), 0.1)
"""The row for bpjax/optimizers/registry.py: with it every law of optimizers and the benchmark include it."""

if __name__ == "__main__":
    network = bp.mlp((2, 4, 1), bp.tanh, bp.sigmoid)
    params, _ = network.init(jax.random.key(0), (2,))
    rule = bp.backprop(network, bp.squared_error)
    result = bp.fit(rule, manhattan(0.05), params, bp.xor().present(), key=jax.random.key(1), epochs=400)
    print(result.reason, result.history.error[-1])
