"""The multiplications of a linear net and of its gradient: with W weights or edges, W forward and 2 W − W₁ backward.

Backward, each weight has two products, for its own derivative and for that by its input, which the first layer's W₁
weights do not need.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import bpjax as bp
from bpjax.tape import count_operations
from experiments.reverse_mode.sparse_nets import edges_between


class Multiplications(NamedTuple):
    """One net, one example."""

    net: str
    forward: int
    backward: int
    first: int  # weights of the first layer
    weights: int  # of all layers


def of_matrix_product(equation) -> int:
    """Entries of the result times the terms of each."""
    shape = equation.invars[0].aval.shape
    (contracted, _), _ = equation.params["dimension_numbers"]
    return math.prod(equation.outvars[0].aval.shape) * math.prod(shape[axis] for axis in contracted)


RULES = {
    "dot_general": of_matrix_product,
    "mul": lambda equation: math.prod(equation.outvars[0].aval.shape),
    **dict.fromkeys(("add", "add_any", "reduce_sum", "scatter-add"), lambda equation: 0),
}
"""`count_operations` with these counts multiplications alone."""


def multiplications(name: str, layers: list[bp.Layer], inputs: int) -> Multiplications:
    """Count them in the forward pass and in the backward pass."""
    network = bp.chain(*layers)
    params = jax.eval_shape(lambda key: network.init(key, (inputs,))[0], jax.random.key(0))
    x = jax.ShapeDtypeStruct((1, inputs), jnp.result_type(float))

    def forward(params, x):
        return network.forward(params, x)[0]

    def gradient(params, x):
        y, residuals = network.forward(params, x)
        return network.backward(params, residuals, y)[0]

    ahead, both = (count_operations(f, params, x, rules=RULES).arithmetic for f in (forward, gradient))
    weights = [sum(math.prod(w.shape) for w in jax.tree.leaves(layer)) for layer in params]
    return Multiplications(name, ahead, both - ahead, weights[0], sum(weights))


def dense_and_sparse() -> list[Multiplications]:
    """A dense net 10-20-30-5, and two sparse layers of 300 units."""
    dense = [bp.dense(units, use_bias=False) for units in (20, 30, 5)]
    random = np.random.default_rng(0)
    edges = [edges_between(random, 300, per_unit, is_local=False) for per_unit in (2, 5)]
    sparse = [bp.layers.sparse(e, use_bias=False) for e in edges]
    return [multiplications("dense 10-20-30-5", dense, 10), multiplications("sparse 300-300-300", sparse, 300)]
