"""Shampoo: a preconditioner for every axis of an array of weights.

A matrix of weights W (m, n) has a preconditioner for its rows and one for its columns, in place of one matrix (mn, mn)
for all its weights as in full-matrix Adagrad. For small networks: each step takes the eigenvalues of these matrices.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from bpjax.optimizers.hyperparameters import Rate, check_hyperparameter
from bpjax.optimizers.transformation import factory, transformation
from bpjax.optimizers.weights import PerAxis, each_weight, zeros
from bpjax.types import Array, Params
from bpjax.util.checks import check_count
from bpjax.util.sequential_under_vmap import sequential_under_vmap


class ShampooState(NamedTuple):
    """State of `shampoo`."""

    learning_rate: Array  # () η
    epsilon: Array  # () ε
    sums: Params  # Σ G⁽ⁱ⁾ G⁽ⁱ⁾ᵀ of every axis i, a `PerAxis` for each array of weights
    steps: Array  # () int32, steps taken
    given: tuple[Array, ...] = ()  # see `bpjax.optimizers.hyperparameters`


@factory
def shampoo(learning_rate: Rate, epsilon: Rate = 1e-4, longest: int = 1024) -> optax.GradientTransformation:
    """Shampoo (Gupta, Koren & Singer 2018, algorithms 1 and 2), without momentum.

        matrix (m, n)         L ← L + G Gᵀ    R ← R + Gᵀ G        ΔW = −η (εI + L)^(−1/4) G (εI + R)^(−1/4)
        array of k axes       Hᵢ ← Hᵢ + G⁽ⁱ⁾ G⁽ⁱ⁾ᵀ                ΔW = −η G ×₁ (εI + H₁)^(−1/2k) … ×ₖ (εI + Hₖ)^(−1/2k)

    G⁽ⁱ⁾ is the gradient with axis i as rows and all others as columns, ×ᵢ the product along axis i. For a vector this
    is full-matrix Adagrad, for a single number Adagrad. An axis longer than `longest` keeps only the diagonal of Hᵢ.
    Every step takes the eigenvalues of the Hᵢ.

    Args:
        learning_rate: η > 0, or a schedule, which may begin at 0.
        epsilon: ε > 0, or a schedule.
        longest: the length of the longest axis with a whole matrix, at least 1.

    Raises:
        ValueError: a value outside its range.
    """
    check_hyperparameter("shampoo", "learning_rate", learning_rate, above=0.0)
    check_hyperparameter("shampoo", "epsilon", epsilon, above=0.0)
    longest = check_count("shampoo", "longest", longest)

    def init(params, **hyperparameters):
        sums = jax.tree.map(lambda w: _sums_of_nothing(w, longest), zeros(params))
        return ShampooState(sums=sums, **hyperparameters)

    hyperparameters = {"learning_rate": learning_rate, "epsilon": epsilon}
    return transformation("shampoo", ShampooState, init, _step, hyperparameters)


def _sums_of_nothing(w: Array, longest: int) -> PerAxis:
    shapes = [(n, n) if n <= longest else (n,) for n in w.shape] or [()]
    return PerAxis(tuple(jnp.zeros(shape, w.dtype) for shape in shapes))


def _step(state, g, params, value):
    change, sums = each_weight(_shampoo, 2, (state.learning_rate, state.epsilon), g, state.sums)
    return change, state._replace(sums=sums)


def _shampoo(rate, epsilon, g, sums):
    power = -1 / (2 * len(sums.axes))
    change, after = g, []
    for axis, summed in enumerate(sums.axes):
        summed += _products(g, axis, whole=summed.ndim == 2)
        after.append(summed)
        if summed.ndim == 2:
            root = _matrix_power(summed, epsilon, power)
            change = jnp.moveaxis(jnp.tensordot(root, change, (1, axis)), 0, axis)
        else:
            root = (epsilon + summed) ** power
            change = change * jnp.expand_dims(root, [i for i in range(g.ndim) if i != axis])
    return -rate * change, PerAxis(tuple(after))


def _products(g, axis, whole):
    """G⁽ⁱ⁾ G⁽ⁱ⁾ᵀ, or its diagonal alone."""
    others = [i for i in range(g.ndim) if i != axis]
    return jnp.tensordot(g, g, (others, others)) if whole else jnp.sum(g * g, axis=tuple(others))


@sequential_under_vmap
def _matrix_power(h, epsilon, power):
    """(εI + H)^power of a symmetric H without negative eigenvalues but for rounding."""
    values, vectors = jnp.linalg.eigh(h)
    return (vectors * (epsilon + jnp.maximum(values, 0.0))[None, :] ** power) @ vectors.T
