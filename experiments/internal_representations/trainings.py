"""Train a network from many initial weights, and look at its weights and the outputs of its units."""

import itertools
from typing import NamedTuple

import jax
import numpy as np
import xarray as xr

import bpjax as bp
from bpjax.layers.dense import Affine
from bpjax.types import Array, Key, Params
from experiments.common.gradients import gradient_agreement
from experiments.internal_representations.problem import Say


class Setting(NamedTuple):
    """A network and how it is trained."""

    name: str
    network: bp.Layer
    task: bp.tasks.Task
    rates: tuple[float, ...] = (0.5,)  # learning rates η, one sweep axis
    momentum: float = 0.9
    epochs: int = 4000  # the limit
    stop: bp.training.Stop = bp.outputs_within(0.5)
    loss: bp.losses.Loss = bp.squared_error
    layout: str = "llvm"  # of the sweep; another where LLVM has no rule for an operation
    scales: tuple[float, ...] = ()  # factors of the initial weights, a second sweep axis; none by default


def train(setting: Setting, starts: int, key: Key, say: Say) -> xr.Dataset:
    """A sweep over (learning_rate, seed) by gradient descent with momentum on all examples at once.

    With `scales` it is over (learning_rate, scale, seed).

    Besides the usual variables it holds the weights at the end: `w1`, `b1`, `w2`, … of the dense layers in order.

    Args:
        setting: network, task and optimizer.
        starts: number of initial weights.
        key: root of all random numbers.
        say: shows the progress.
    """
    batch = setting.task.present()
    params, _ = setting.network.init(key, setting.task.in_shape)
    rule = bp.backprop(setting.network, setting.loss)
    say(f"{setting.name}: comparing the gradient with jax.grad")
    report = gradient_agreement(setting.network, setting.loss, params, batch)

    def trial(key, learning_rate, scale=1.0):
        weights_key, run_key = jax.random.split(key)
        params, _ = setting.network.init(weights_key, setting.task.in_shape)
        params = jax.tree.map(lambda weights: scale * weights, params)
        return bp.trial(
            rule, bp.momentum(learning_rate, setting.momentum), params, batch, key=run_key, epochs=setting.epochs,
            stops=setting.stop, outcome=lambda run: named_weights(run.params),
        )  # fmt: skip

    def on_progress(state):
        say(f"{setting.name}: {state.done} of {state.runs} runs" if state.epochs else f"{setting.name}: compiling")

    scales = {"scale": list(setting.scales)} if setting.scales else {}
    axes = {"learning_rate": list(setting.rates), **scales, "seed": range(starts)}
    return bp.sweep(trial, axes, key=key, layout=setting.layout, receipt=report, progress=on_progress)


def named_weights(params: Params) -> dict[str, Array]:
    """{`w1`, `b1`, `w2`, …: array} of the dense layers of a network, input side first."""
    dense = [part for part in jax.tree.leaves(params, is_leaf=_is_affine) if _is_affine(part)]
    return {f"{name}{i}": getattr(part, name) for i, part in enumerate(dense, start=1) for name in ("w", "b")}


def _is_affine(part) -> bool:
    return isinstance(part, Affine)


def unit_outputs(sweep: xr.Dataset, x, direct: bool = False) -> list[np.ndarray]:
    """Outputs (learning_rate, seed, examples, units) of each layer of sigmoid units in trained networks.

    Args:
        sweep: of `train`.
        x: examples (N, D).
        direct: whether each layer also sees the inputs and the outputs of all layers before it.
    """
    outputs, seen = [], np.asarray(x, float)
    for i in itertools.takewhile(lambda i: f"w{i}" in sweep, itertools.count(1)):
        net_input = seen @ sweep[f"w{i}"].values.astype(float) + sweep[f"b{i}"].values[..., None, :]
        outputs.append(1 / (1 + np.exp(-net_input)))
        before = np.broadcast_to(seen, (*outputs[-1].shape[:-1], seen.shape[-1]))
        seen = np.concatenate([before, outputs[-1]], axis=-1) if direct else outputs[-1]
    return outputs
