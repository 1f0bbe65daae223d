"""Use a trained network: its output for new examples, and the share it classifies correctly."""

import functools
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bpjax.layers.layer import Layer, check_layer
from bpjax.rules.rule import as_batch, as_examples
from bpjax.training.inputs import as_params
from bpjax.types import Array, Batch, Params
from bpjax.util.call_text import shown
from bpjax.util.checks import check_number, is_concrete
from bpjax.util.jax_settings import jax_settings
from bpjax.util.jaxprs import evaluate_jaxpr
from bpjax.util.targets import check_labels


def predict(network: Layer, params: Params, x) -> Array:
    """The network's output (N, *out_shape) for examples `x` (N, ...), compiled.

    Networks that compute the same share one compiled program, however often they are made.

    Raises:
        ValueError: the network is no `Layer`, or params and examples do not fit it.
    """
    check_layer("predict", network)
    inputs = as_params("predict", params), as_examples("predict", x)
    leaves, structure = jax.tree.flatten(inputs)
    if not all(map(is_concrete, leaves)):
        return network.forward(*inputs)[0]
    programs = _programs_of(network)
    kind = structure, tuple(map(jax.typeof, leaves)), jax_settings()
    if kind not in programs:
        programs[kind] = _traced(network, inputs)
    program, consts, out_structure = programs[kind]
    return out_structure.unflatten(program(consts, leaves))


@functools.lru_cache(maxsize=64)
def _programs_of(network: Layer) -> dict:
    """The programs of one network object, by the shapes of its inputs."""
    return {}


def _traced(network, inputs):
    """(compiled program, the arrays that it closes over, the structure of the output) of a network."""
    closed, out = jax.make_jaxpr(lambda params, x: network.forward(params, x)[0], return_shape=True)(*inputs)
    with np.printoptions(threshold=sys.maxsize, floatmode="unique"):
        program = _compiled(Text(str(closed.jaxpr), closed.jaxpr), jax_settings())
    return program, closed.consts, jax.tree.structure(out)


class Text(str):
    """The text of a jaxpr, equal for equal computations, with the jaxpr."""

    jaxpr: Any

    def __new__(cls, text, jaxpr):
        """The text; `jaxpr` is kept beside it."""
        self = super().__new__(cls, text)
        self.jaxpr = jaxpr
        return self


@functools.lru_cache(maxsize=32)
def _compiled(text: Text, settings):
    """The compiled program (consts, leaves) -> leaves of a jaxpr: bounded, and keyed by what is computed."""
    return jax.jit(functools.partial(evaluate_jaxpr, text.jaxpr))


def accuracy(network: Layer, params: Params, data: Batch, threshold: float | None = None) -> float | Array:
    """The share of examples classified correctly, from 0 to 1.

    With several outputs the largest one is the class. An example with an output that is NaN is never correct.

    Args:
        network: maps x (N, ...) to outputs.
        params: of the network.
        data: examples, and targets: labels (N,) or rows whose largest entry is the class.
        threshold: if given, an example is correct where every output and its target lie on the same side of it; 0.5
            for outputs and targets between 0 and 1. Targets (N,) are accepted for one output (N, 1).

    Returns:
        A float; while JAX traces, as in a condition of `stop_when` or in `watch`, an array ().

    Raises:
        ValueError: one output and no threshold, targets of another shape or number of classes, labels outside the
            classes, targets that are NaN.
    """
    x, target = as_batch("accuracy", data)
    output = predict(network, params, x)
    if not isinstance(output, jax.Array) or output.ndim == 0 or output.shape[0] == 0:
        raise ValueError(f"`accuracy` expected an output (N, ...) of at least one example, got {shown(output)}.")
    if is_concrete(target) and np.isnan(np.asarray(target, np.float64)).any():
        raise ValueError("`accuracy` expected targets that are numbers, got NaN among them. Drop those examples.")
    right = _same_class(output, target) if threshold is None else _same_side(output, target, threshold)
    right &= ~jnp.isnan(output).reshape(*right.shape, -1).any(axis=-1)
    return float(np.asarray(right).mean()) if is_concrete(right) else jnp.mean(right, dtype=jnp.result_type(float))


def _same_side(output, target, threshold) -> Array:
    """Whether (N,) every output of an example lies on the side of the threshold on which its target lies."""
    check_number("accuracy", "threshold", threshold)
    if target.ndim == output.ndim - 1 and output.shape[-1] == 1:
        target = target[..., None]
    if output.shape != target.shape:
        raise ValueError(f"`accuracy` expected targets of shape {output.shape}, got {target.shape}.")
    return ((output > threshold) == (target > threshold)).reshape(len(output), -1).all(axis=1)


def _same_class(output, target) -> Array:
    """Whether (N, ...) the largest output is that of the target's class."""
    if output.ndim < 2 or output.shape[-1] < 2:
        raise ValueError(
            f"`accuracy` needs a `threshold` for outputs of shape {output.shape}: 0.5 where they lie between 0 and 1."
        )
    is_rows = target.shape == output.shape
    if not is_rows and (target.shape != output.shape[:-1] or jnp.issubdtype(target.dtype, jnp.inexact)):
        raise ValueError(
            f"`accuracy` expected integer labels of shape {output.shape[:-1]} or targets of shape {output.shape}, "
            f"got {target.dtype}{list(target.shape)}."
        )
    if is_rows:
        return output.argmax(axis=-1) == target.argmax(axis=-1)
    if is_concrete(target):
        check_labels("accuracy", target, output.shape[-1])
    return output.argmax(axis=-1) == target
