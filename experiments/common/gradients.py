"""The check before every training: the hand-written gradient of this network against `jax.grad`."""

import contextlib
from collections.abc import Iterator

import jax

import bpjax as bp


def gradient_receipt(network: bp.Layer, loss: bp.losses.Loss, params, batch) -> bp.gradcheck.Report:
    """Compare backprop with `jax.grad` on one start of the network that is going to be trained.

    Args:
        network: the network.
        loss: its loss.
        params: weights of one start.
        batch: examples and targets.

    Raises:
        ValueError: the gradient is wrong. Nothing is trained then.
    """
    rule, oracle = bp.backprop(network, loss), bp.autodiff(network, loss)
    report = bp.compare(rule, oracle, params, batch, timed=False, show=False)
    report.raise_if_wrong()
    return report


@contextlib.contextmanager
def quick_compilations() -> Iterator[None]:
    """Compile with few optimizations, which takes half the time: for small programs that run once."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    try:
        yield
    finally:
        jax.config.update("jax_disable_most_optimizations", before)
