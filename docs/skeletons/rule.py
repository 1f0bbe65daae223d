"""A skeleton of a learning rule: copy this file to bpjax/rules/, rename, write how a batch becomes a direction.

`python docs/skeletons/rule.py` prints the receipt. tests/test_skeletons.py puts the rule through the laws of all rules.
"""

import jax

import bpjax as bp
from bpjax.layers.initializers import lecun_normal
from bpjax.rules.feedback_params import feedback_params, random_feedback
from bpjax.rules.registry import WEIGHTS, RuleCase
from bpjax.rules.rule import check_made_of


def fixed_feedback(network: bp.Layer, loss: bp.losses.Loss, scale: float | jax.Array = 1.0) -> bp.Rule:
    """Errors travel back through fixed random weights B.

    δₗ = φ′(aₗ) ⊙ (δₗ₊₁ Bₗ₊₁ᵀ)        name the paper and its equation here, and below it where you deviate from it

    State: B, in the structure of the params; it is never trained.

    Args:
        network: the network.
        loss: the loss of its output.
        scale: factor of B; may be traced.

    Raises:
        ValueError: `network` is not a Layer or `loss` not a Loss.
    """
    check_made_of("fixed_feedback", network, loss)

    def init(key, params):
        return random_feedback("fixed_feedback", key, network, params, lecun_normal, scale)

    def grads(params, feedback, batch):
        x, target = batch
        output, residuals = network.forward(params, x)
        through = feedback_params(network, feedback, params)  # B where errors travel, the network's own elsewhere
        direction, _ = network.backward(through, residuals, loss.gradient(output, target))
        return loss.value(output, target), direction, feedback  # the next state: B does not change

    return bp.Rule("fixed feedback", init, grads, network, loss)


CASE = RuleCase(fixed_feedback, hyperparameter=1.0, answers=WEIGHTS)
"""The row for bpjax/rules/registry.py: with it the laws, the ledger, the experiment and the site include the rule."""

if __name__ == "__main__":
    network = bp.mlp((2, 3, 1), bp.tanh)
    params, _ = network.init(jax.random.key(0), (2,))
    bp.receipt(fixed_feedback(network, bp.squared_error), params, bp.xor().present(), key=jax.random.key(1))
