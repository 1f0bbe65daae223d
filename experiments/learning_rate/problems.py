"""The four problems of the experiment, and the sweep over learning rate × seed for each rule of choosing a rate."""

from collections.abc import Callable
from typing import NamedTuple, Protocol

import jax
import numpy as np
import optax
import xarray as xr

import bpjax as bp
from bpjax.types import Array
from experiments.common.gradients import gradient_receipt
from experiments.common.networks import sigmoid_network
from experiments.common.starts import compiled_once, starts_of

FIXED, BOLD, DELTA = "fixed rate", "bold driver", "delta-bar-delta"


class MakeOptimizer(Protocol):
    """An optimizer with this learning rate, or with this initial learning rate if it varies."""

    def __call__(self, learning_rate: Array) -> optax.GradientTransformation:
        """Make the optimizer."""
        ...


RULES: dict[str, MakeOptimizer] = {
    FIXED: optax.sgd,
    BOLD: bp.optimizers.bold_driver,
    DELTA: bp.optimizers.delta_bar_delta,
}
"""Rules of choosing the learning rate. The variable ones have the settings of their papers.

`bp.optimizers.traingda` is not among them: it takes the same steps as the bold driver without momentum.
"""
PROBLEMS = ("digits", "xor", "encoder", "parity")
CURVE_POINTS = 60


class Problem(NamedTuple):
    """A task with its network, loss and stopping criteria."""

    name: str
    title: str
    network: bp.Layer
    loss: bp.losses.Loss
    batch: tuple
    stops: tuple[bp.training.Stop, ...]
    epochs: int
    seeds: int
    layout: str = "auto"

    @property
    def rule(self) -> bp.Rule:
        """Backprop of this network and loss."""
        return bp.backprop(self.network, self.loss)

    def start(self, key):
        """Initial weights; they depend on the key only, not on the learning rate."""
        return self.network.init(key, self.batch[0].shape[1:])[0]

    def trial(self, optimizer: MakeOptimizer) -> Callable:
        """(key, learning_rate) -> trial, for `bp.sweep`."""
        rule = self.rule

        def trial(key, learning_rate):
            params = self.start(key)
            return bp.trial(
                rule, optimizer(learning_rate), params, self.batch, key=key, epochs=self.epochs, stops=self.stops
            )

        return trial


def problems(config) -> tuple[Problem, ...]:
    """The digits, XOR, an encoder and parity, with the settings of `config`."""
    diverged = bp.training.diverged(config.explosion)
    digits = Problem(
        "digits",
        f"digits, 64-{config.hidden}-10",
        bp.mlp((64, config.hidden, 10), bp.tanh),
        bp.losses.batch_mean(bp.softmax_cross_entropy),
        bp.digits("train").present(None),
        (diverged, bp.error_below(config.digits_goal)),
        config.digits_epochs,
        config.seeds,
        layout="single",  # 1,197 examples: each step is large enough to occupy a core
    )
    small = (
        ("xor", "XOR, 2-2-1", (2, 2, 1), bp.xor(), config.xor_epochs),
        ("encoder", "encoder, 8-3-8", (8, 3, 8), bp.encoder(8), config.encoder_epochs),
        ("parity", "parity, 4-4-1", (4, 4, 1), bp.parity(4), config.parity_epochs),
    )
    return digits, *(
        Problem(
            name,
            title,
            sigmoid_network(sizes),
            bp.squared_error,
            task.present(None),
            (diverged, bp.outputs_within(0.4)),
            epochs,
            config.small_seeds,
        )
        for name, title, sizes, task, epochs in small
    )


class Prepared(NamedTuple):
    """A problem with its gradient receipt and the curvature at its starts."""

    problem: Problem
    key: jax.Array
    verdict: str  # of the gradient receipt
    limits: np.ndarray  # (seeds,) see `limits_of`


def prepare(problem: Problem, key) -> Prepared:
    """Check the gradient at the first start and measure the curvature at every start."""
    keys, params = starts_of(problem.start, key, problem.seeds)
    first = jax.tree.map(lambda leaf: leaf[0], jax.device_get(params))
    receipt = gradient_receipt(problem.network, problem.loss, first, problem.batch)
    return Prepared(problem, key, receipt.verdict, limits_of(problem, keys, params))


def limits_of(problem: Problem, keys, params) -> np.ndarray:
    """2/λ_max (seeds,) at the start of each seed: above it, a quadratic with this curvature diverges."""

    def curvature(key, params):
        return bp.analysis.largest_curvature(problem.rule, params, problem.batch, jax.random.fold_in(key, 1))

    return 2 / np.asarray(compiled_once(jax.vmap(curvature))(keys, params), float)


def train(prepared: Prepared, rule: str, rates: np.ndarray, on_progress: Callable) -> xr.Dataset:
    """Sweep learning rate × seed in one compiled program.

    Args:
        prepared: the problem.
        rule: a key of `RULES`.
        rates: learning rates.
        on_progress: called with the state of the sweep, see `bp.sweep`.

    Returns:
        The sweep, with `limit` (seed,), 2/λ_max at each start.
    """
    problem = prepared.problem
    steps = np.unique(np.geomspace(1, problem.epochs, CURVE_POINTS).round().astype(int))
    result = bp.sweep(
        problem.trial(RULES[rule]),
        {"learning_rate": rates, "seed": range(problem.seeds)},
        key=prepared.key,
        curves=steps.tolist(),
        layout=problem.layout,
        receipt=prepared.verdict,
        progress=on_progress,
    )
    result["limit"] = ("seed", prepared.limits, {"long_name": "2/λ_max at the start"})
    result["learning_rate"].attrs["long_name"] = "learning rate η" + ("" if rule == FIXED else " at the start")
    result.attrs |= {"title": f"{problem.title}: {rule}", "problem": problem.title, "rule": rule}
    result.attrs |= {"name": problem.name, "epoch_limit": problem.epochs, "loss": problem.loss.name}
    return result
