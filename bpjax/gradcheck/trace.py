"""Inside a network: what every layer receives, the error signal it should receive, and every part alone."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bpjax.gradcheck.agreement import Agreement, agree
from bpjax.gradcheck.float64 import cast_on_host, float64_on_host, nudge, to_host, widen_to_float64
from bpjax.gradcheck.per_layer import LayerAlone, LossAlone, check_layer, check_loss
from bpjax.layers.layer import Part
from bpjax.losses import Loss


class Inside(NamedTuple):
    """The parts of a network, each held against its own forward pass. Lists are in forward order."""

    chain: list[Part]
    inputs: list[np.ndarray]  # what goes into each layer: float64 truth, rounded to the dtype under test
    errors: list[np.ndarray]  # true ∂E/∂y of each layer, float64
    signals: list[Agreement]  # ∂E/∂y as the hand-written backward passes give it, one after another
    alone: list[LayerAlone]
    loss: LossAlone


def look_inside(chain: list[Part], loss: Loss, batch, dtype, allowed: float, rounding: float) -> Inside:
    """Check every part at the activations the true forward pass gives it."""
    params = [part.params for part in chain]
    layers = [part.layer for part in chain]
    by_hand = to_host(walk_by_hand(layers, loss, params, batch))[1]
    by_vjp = to_host(walk_by_vjp(layers, loss, params, batch))[1]
    with float64_on_host():
        flows, errors = to_host(walk_by_vjp(layers, loss, *widen_to_float64((params, batch))))
        moved = to_host(walk_by_vjp(layers, loss, *widen_to_float64(nudge((params, batch), rounding))))[1]
    signals = [
        agree(a, t, dtype=dtype, allowed=allowed, reference=r, moved=m)
        for a, t, r, m in zip(by_hand, errors, by_vjp, moved, strict=True)
    ]
    rounded = [cast_on_host(flow, dtype) for flow in flows]
    alone = [check_layer(part.layer, part.params, x) for part, x in zip(chain, rounded[:-1], strict=True)]
    return Inside(chain, rounded[:-1], errors, signals, alone, check_loss(loss, rounded[-1], batch[1]))


def walk_by_vjp(layers, loss: Loss, params, batch):
    """(what goes into each layer and out of the last, ∂E/∂y of each layer), by JAX from forward and value alone."""
    flows, vjps = [jax.tree.map(jnp.asarray, batch[0])], []
    for layer, p in zip(layers, jax.tree.map(jnp.asarray, params), strict=True):
        y, vjp = jax.vjp(lambda x, layer=layer, p=p: layer.forward(p, x)[0], flows[-1])
        flows.append(y)
        vjps.append(vjp)
    errors = [jax.grad(loss.value)(flows[-1], jnp.asarray(batch[1]))]
    for vjp in vjps[:0:-1]:
        errors.append(vjp(errors[-1])[0])
    return flows, errors[::-1]


def walk_by_hand(layers, loss: Loss, params, batch):
    """The same by the hand-written backward passes."""
    params = jax.tree.map(jnp.asarray, params)
    flows, kept = [jax.tree.map(jnp.asarray, batch[0])], []
    for layer, p in zip(layers, params, strict=True):
        y, residuals = layer.forward(p, flows[-1])
        flows.append(y)
        kept.append(residuals)
    errors = [loss.gradient(flows[-1], jnp.asarray(batch[1]))]
    for layer, p, residuals in list(zip(layers, params, kept, strict=True))[:0:-1]:
        errors.append(layer.backward(p, residuals, errors[-1])[1])
    return flows, errors[::-1]
