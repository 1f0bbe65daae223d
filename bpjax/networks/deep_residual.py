"""Deep residual perceptrons in two parameterizations: the standard one, and depth-μP, in which depth changes little."""

import math
from typing import Literal, get_args

from bpjax.layers.activations import tanh
from bpjax.layers.combinators.chain import chain, residual
from bpjax.layers.combinators.scaled import scaled
from bpjax.layers.dense import dense
from bpjax.layers.embedding import unit_normal
from bpjax.layers.layer import Layer, check_layer
from bpjax.util.checks import check_choice, check_count

Parameterization = Literal["depth_mup", "standard"]


def deep_residual(
    inputs: int,
    width: int,
    depth: int,
    outputs: int,
    activation: Layer = tanh,
    parameterization: Parameterization = "depth_mup",
) -> Layer:
    """A residual perceptron of any depth, x (N, inputs) to the net inputs of the outputs.

        z₁ = a₁ x W₁      zₗ = zₗ₋₁ + a φ(zₗ₋₁) Wₗ,  l = 2 … L−1      o = a_L φ(z_{L−1}) W_L        W ~ N(0, 1)

        depth_mup   a₁ = 1/√inputs    a = 1/√(width L)    a_L = 1/width
        standard    a₁ = 1/√inputs    a = 1/√width        a_L = 1/√width

    With the factor 1/√L the residual stream and the errors on it keep their size at any depth L, and so do the steps
    of the values in predictive coding, which starts at these activations: `bp.rules.predictive_coding` on this network
    is μPC (Innocenti, Achour & Buckley 2025). In the standard form both grow exponentially with L. The layers have no
    biases; a gradient step is of order 1/width on the output, so learning rates are of order `width`.

    Source: depth-μP as in Yang, Yu, Zhu & Hayou 2023 and Bordelon et al. 2023; the table of μPC is from memory, not
    read. Deviation: the output layer has φ before it, as every other one.

    Args:
        inputs: The number of inputs.
        width: Units of every hidden layer.
        depth: L, the number of layers with weights, at least 2.
        outputs: The number of outputs.
        activation: φ.
        parameterization: "depth_mup" or "standard".

    Raises:
        ValueError: a size is not a positive integer, `depth` is below 2, `activation` is not a Layer, or
            `parameterization` is none of the two.
    """
    who = "deep_residual"
    inputs, width, outputs = (
        check_count(who, name, value) for name, value in (("inputs", inputs), ("width", width), ("outputs", outputs))
    )
    depth = check_count(who, "depth", depth, least=2)
    check_layer(who, activation)
    check_choice(who, "parameterization", parameterization, get_args(Parameterization))
    mup = parameterization == "depth_mup"

    def weights(features: int, factor: float) -> Layer:
        return scaled(dense(features, use_bias=False, weights=unit_normal), factor)

    inner = 1 / math.sqrt(width * depth if mup else width)
    blocks = [residual(chain(activation, weights(width, inner))) for _ in range(depth - 2)]
    last = weights(outputs, 1 / width if mup else 1 / math.sqrt(width))
    return chain(weights(width, 1 / math.sqrt(inputs)), *blocks, chain(activation, last))
