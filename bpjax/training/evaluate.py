"""Use a trained network: its output for new examples, and the share it classifies correctly."""

import functools

import jax
import jax.numpy as jnp

from bpjax.layers.layer import Layer
from bpjax.losses import labels_of
from bpjax.types import Array, Batch, Params


def predict(network: Layer, params: Params, x) -> Array:
    """The network's output (N, *out_shape) for examples `x` (N, ...), compiled."""
    return _output(network, params, jax.tree.map(jnp.asarray, x))


@functools.partial(jax.jit, static_argnums=0)
def _output(network, params, x):
    return network.forward(params, x)[0]


def accuracy(network: Layer, params: Params, data: Batch, threshold: float | None = None) -> float:
    """The share of examples classified correctly, from 0 to 1.

    With several outputs the largest one is the class.

    Args:
        network: maps x (N, ...) to outputs.
        params: of the network.
        data: examples, and targets: labels (N,) or rows whose largest entry is the class.
        threshold: if given, an example is correct where every output and its target lie on the same side of it; 0.5
            for outputs and targets between 0 and 1.

    Raises:
        ValueError: one output and no threshold, or targets of another shape.
    """
    x, target = data[0], jnp.asarray(data[1])
    output = predict(network, params, x)
    if threshold is not None:
        if output.shape != target.shape:
            raise ValueError(f"`accuracy` expected targets of shape {output.shape}, got {target.shape}.")
        right = ((output > threshold) == (target > threshold)).reshape(len(output), -1).all(axis=1)
        return float(right.mean())
    if output.ndim < 2 or output.shape[-1] < 2:
        raise ValueError(
            f"`accuracy` needs a `threshold` for outputs of shape {output.shape}: 0.5 where they lie between 0 and 1."
        )
    labels = labels_of(target)
    if labels.shape != output.shape[:-1]:
        raise ValueError(f"`accuracy` expected labels of shape {output.shape[:-1]}, one an output, got {labels.shape}.")
    return float((output.argmax(axis=-1) == labels).mean())
