"""Statistics of batch norms: of a batch, averaged over many, and given constants for predictions.

Predictions for an example must not depend on the rest of its batch, so they use fixed means and variances. These
statistics are state outside the params, since no gradient changes them. A layer stores those of its batch in its
residuals; four functions collect and use them:

    statistics = init_statistics(network, params, x)

    @jax.jit
    def step(params, state, statistics, x, target):
        y, residuals = network.forward(params, x)
        grads, _ = network.backward(params, residuals, loss.gradient(y, target))
        updates, state = optimizer.update(grads, state, params)
        return optax.apply_updates(params, updates), state, running_statistics(residuals, statistics)

    for x, target in batches:
        params, state, statistics = step(params, state, statistics, x, target)
    output, _ = with_statistics(network, statistics).forward(params, x_new)

`fit` does not track them. One forward pass over the data after training gives them exactly, for the final weights:

    statistics = batch_statistics(network, params, x)
"""

import jax
import jax.numpy as jnp

from bpjax.layers.layer import EMPTY, Layer, check_layer, leaf_layers, map_layers
from bpjax.layers.normalization.batch import BatchStatistics
from bpjax.types import Array, Params, Residuals
from bpjax.util.call_text import shown
from bpjax.util.checks import as_array, check_arguments, check_between, check_finite

Statistics = tuple[BatchStatistics, ...]
"""One per batch norm of a network, in forward order."""


def batch_statistics(network: Layer, params: Params, x) -> Statistics:
    """Mean and variance of every batch norm over the examples x, taken as one batch, from one forward pass.

    Args:
        network: A network with batch norms.
        params: Its params.
        x: The examples (N, ...).

    Raises:
        ValueError: the statistics of a batch norm are not in the residuals of the network: it is inside a `repeat`,
            which stacks those of all depths, or a `remat`, which does not store any.
    """
    check_layer("batch_statistics", network)
    return _found("batch_statistics", network, network.forward(params, _finite_examples("batch_statistics", x))[1])


def _finite_examples(who: str, x):
    """The examples as an array of finite numbers, or a `ValueError`: a NaN would spoil every later prediction."""
    x = as_array(who, "x", x)
    check_finite(who, "x", x)
    return x


def init_statistics(network: Layer, params: Params, x) -> Statistics:
    """Initial statistics, mean 0 and variance 1.

    Args:
        network: A network with batch norms.
        params: Its params.
        x: Examples (N, ...), of which only shape and dtype are used.

    Raises:
        ValueError: as `batch_statistics`.
    """
    check_layer("init_statistics", network)
    check_arguments("init_statistics", (params, x), "`params` and `x`")
    residuals = jax.eval_shape(network.forward, params, x)[1]
    found = _found("init_statistics", network, residuals)
    return tuple(BatchStatistics(jnp.zeros(m.shape, m.dtype), jnp.ones(v.shape, v.dtype)) for m, v in found)


def running_statistics(residuals: Residuals, statistics: Statistics, momentum: float | Array = 0.9) -> Statistics:
    """Update an exponential moving average: momentum · statistics + (1 − momentum) · those in the residuals.

    Args:
        residuals: Of a forward pass of the network.
        statistics: The average so far.
        momentum: As in Keras and Flax; PyTorch's momentum is 1 minus this one.

    Raises:
        ValueError: `momentum` is not between 0 and 1, or the statistics belong to another network.
    """
    check_between("running_statistics", "momentum", momentum, 0.0, 1.0)
    _check_statistics("running_statistics", statistics)
    found = _statistics_in(residuals)
    if jax.tree.map(jnp.shape, found) != jax.tree.map(jnp.shape, tuple(statistics)):
        raise ValueError(
            f"`running_statistics` expected statistics with the shapes of those in the residuals, "
            f"{_shapes(found)}, got {_shapes(statistics)}. Make them with `init_statistics(network, params, x)`."
        )
    mix = lambda old, new: (momentum * old + (1 - momentum) * new).astype(old.dtype)
    return jax.tree.map(mix, tuple(statistics), found)


def with_statistics(network: Layer, statistics: Statistics) -> Layer:
    """The network for predictions: its batch norms normalize by given statistics, so that examples are independent.

    The statistics are constants, cast to the dtype of x (float32 for half precision). The backward pass is the exact
    derivative of this network.

    Raises:
        ValueError: the number of batch norms differs from that of the statistics, or one of them is in a `repeat`.
    """
    check_layer("with_statistics", network)
    _check_statistics("with_statistics", statistics)
    count = len(_batch_norms(network))
    if count != len(statistics):
        raise ValueError(
            f"`with_statistics` expected statistics for the network's {count} batch norm(s), got {len(statistics)}. "
            "Make them with `batch_statistics(network, params, x)`."
        )
    for one in statistics:
        if jnp.ndim(one.mean) != 1:
            raise ValueError(
                f"`with_statistics` expected a mean of shape (C,) for every batch norm, got {jnp.shape(one.mean)}: "
                "a `repeat` has one layer for all depths, which cannot use the statistics of each. "
                "Write the blocks out with `chain`."
            )
    remaining = iter(statistics)

    def normalizing(layer: Layer) -> Layer:
        if "statistics" not in layer.uses:
            return layer
        given = next(remaining)

        def forward(params, x, context=EMPTY):
            statistics = given if context.statistics is None else context.statistics
            return layer.forward_in(context._replace(statistics=statistics), params, x)

        return layer._replace(forward=forward)

    return map_layers(normalizing, network)


def _check_statistics(who: str, statistics) -> None:
    """Raise a `ValueError` unless it is a tuple of `BatchStatistics`."""
    if not isinstance(statistics, tuple | list) or not all(isinstance(one, BatchStatistics) for one in statistics):
        raise ValueError(
            f"`{who}` expected a tuple of `BatchStatistics`, got {shown(statistics)}. Make them with "
            "`batch_statistics(network, params, x)`."
        )


def _batch_norms(network: Layer) -> list[Layer]:
    """The batch norms of a network; one for all depths of a `repeat`."""
    return [layer for layer in leaf_layers(network) if "statistics" in layer.uses]


def _statistics_in(residuals: Residuals) -> Statistics:
    """Every BatchStatistics in a network's residuals, in forward order."""
    is_statistics = lambda node: isinstance(node, BatchStatistics)
    return tuple(node for node in jax.tree.leaves(residuals, is_leaf=is_statistics) if is_statistics(node))


def _found(who: str, network: Layer, residuals: Residuals) -> Statistics:
    """The statistics in the residuals, one for each batch norm of the network, or a `ValueError`."""
    found, count = _statistics_in(residuals), len(_batch_norms(network))
    if len(found) != count:
        raise ValueError(
            f"`{who}` expected to find statistics of the network's {count} batch norm(s) in its residuals, found "
            f"{len(found)}. `repeat` and `remat` do not expose them: write the blocks out with `chain`."
        )
    return found


def _shapes(statistics) -> list:
    return [jnp.shape(getattr(one, "mean", one)) for one in statistics]
