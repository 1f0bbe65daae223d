"""The check before every training: the hand-written gradient of this network against `jax.grad`."""

import contextlib
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp

import bpjax as bp
from experiments.common.starts import compiled_once


def gradient_receipt(network: bp.Layer, loss: bp.losses.Loss, params, batch) -> bp.gradcheck.Report:
    """Compare backprop with `jax.grad` in float64, on one start of the network that is going to be trained.

    Both gradients are single programs, compiled with few optimizations. Only if they differ are the layers compared.

    Args:
        network: the network.
        loss: its loss.
        params: weights of one start.
        batch: examples and targets.

    Raises:
        AssertionError: the gradient is wrong; the message names the layer. Nothing is trained then.
    """
    rule, oracle = bp.backprop(network, loss), bp.autodiff(network, loss)
    report = bp.compare(gradient_of(rule), gradient_of(oracle), params, batch, timed=False, show=False)
    if not report.ok:
        bp.compare(rule, oracle, params, batch, timed=False, show=False).raise_if_wrong()
    report.raise_if_wrong()
    return report


def gradient_of(rule: bp.Rule) -> Callable:
    """(params, batch) -> gradient of a rule without a state, as one program that is compiled quickly."""

    def gradient(params, batch):
        return rule.grads(params, (), batch)[1]

    gradient.__name__ = rule.name
    return compiled_once(gradient)


def gradient_agreement(network: bp.Layer, loss: bp.losses.Loss, params, batch, tolerance: float = 1e-4) -> str:
    """One line for a record: how far backprop and `jax.grad` differ at one start, from a single compilation.

    Args:
        network: the network.
        loss: its loss.
        params: weights of one start.
        batch: examples and targets.
        tolerance: largest difference, relative to the largest entry of the gradient.

    Raises:
        ValueError: they differ by more. Nothing is trained then.
    """

    @compiled_once
    def relative_difference(params):
        grads = bp.backprop(network, loss).grads(params, (), batch)[1]
        expected = jax.grad(lambda params: loss.value(network.forward(params, batch[0])[0], batch[1]))(params)
        difference = jax.tree.map(lambda a, b: abs(a - b).max(), grads, expected)
        largest = jax.tree.map(lambda a: abs(a).max(), expected)
        return jax.tree.reduce(jnp.maximum, difference) / jax.tree.reduce(jnp.maximum, largest)

    found = float(relative_difference(params))
    if not found <= tolerance:
        raise ValueError(f"the gradient of {network!r} differs from jax.grad by {found:.1e} of its largest entry.")
    return f"right: backprop and jax.grad differ by at most {found:.1e} of the largest entry"


@contextlib.contextmanager
def quick_compilations() -> Iterator[None]:
    """Compile with few optimizations, which takes half the time: for small programs that run once."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    try:
        yield
    finally:
        jax.config.update("jax_disable_most_optimizations", before)
