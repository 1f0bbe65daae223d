"""The numbers of a derivation, in one compiled program."""

import jax
import numpy as np

from bpjax.analysis.passes import both_passes
from bpjax.analysis.units import derivative
from bpjax.layers.layer import Layer, placed_layers
from bpjax.losses import Loss
from bpjax.rules.backprop import backprop
from bpjax.rules.rule import check_batch
from bpjax.teaching.derivation.blocks import blocks_of, is_elementwise
from bpjax.teaching.derivation.steps import Chosen, Numbers, Values
from bpjax.types import Batch, Params
from bpjax.util.checks import check_count


def evaluate(network: Layer, loss: Loss, params: Params, batch: Batch, chosen: Chosen) -> Numbers:
    """Run the network forward and backward on a batch.

    Args:
        network: the network.
        loss: E.
        params: of the network.
        batch: (x, target).
        chosen: which numbers to work out.

    Raises:
        ValueError: params or batch do not fit the network, there is no such example.
    """
    x, target = check_batch("derivation", backprop(network, loss), params, batch)
    blocks = blocks_of(network)

    @jax.jit
    def run(params, x, target):
        value, activations, errors, _ = both_passes(network, loss, params, (x, target))
        chain, found = placed_layers(network, params), []
        for block in blocks:
            first, last = block.places[0], block.places[-1]
            a, activation = activations[first + 1], block.activation
            slope = derivative(activation, a) if activation is not None and is_elementwise(activation) else None
            o, e, delta = activations[last + 1], errors[last + 1], errors[first + 1]
            found.append(Values(activations[first], a, o, slope, e, delta, errors[first], chain[first].params))
        return found, value

    found, value = jax.tree.map(np.asarray, run(params, x, target))
    target, output = np.asarray(target), found[-1].output
    if target.shape != output.shape and target.shape == output.shape[:-1]:
        classes = np.arange(output.shape[-1])
        target = (target[..., None] == classes).astype(output.dtype)
    example = chosen.example
    if example is None:
        example = int(np.argmax(np.abs(found[-1].error).reshape(len(output), -1).sum(axis=1)))
    else:
        example = check_count("derivation", "example", example, least=0, most=len(output) - 1)
    return Numbers(tuple(found), target, float(value), example, float(chosen.learning_rate), chosen.most)
