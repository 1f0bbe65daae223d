"""What `learning_rate.py` trains: four problems, and one sweep over rate × seed for each way of choosing a rate."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import xarray as xr

import bpjax as bp

FIXED, BOLD, DELTA = "fixed rate", "bold driver", "delta-bar-delta"
RULES: dict[str, Callable] = {FIXED: optax.sgd, BOLD: bp.optimizers.bold_driver, DELTA: bp.optimizers.delta_bar_delta}
"""From the rate at the start to an optimizer; the variable ones with the numbers their papers give.

`bp.optimizers.traingda` is not among them: it is the bold driver without momentum, step by step.
"""
PROBLEMS = ("digits", "xor", "encoder", "parity")
CURVE_POINTS = 60


class Problem(NamedTuple):
    """One of the problems put to the learning rate."""

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
        """The gradient by hand."""
        return bp.backprop(self.network, self.loss)

    def start(self, key):
        """Fresh weights; the same key, the same weights, whatever the rate."""
        return self.network.init(key, self.batch[0].shape[1:])[0]

    def trial(self, optimizer: Callable) -> Callable:
        """One training for `bp.sweep`, at the learning rate that `optimizer` begins with."""
        rule = self.rule

        def trial(key, learning_rate):
            params = self.start(key)
            return bp.trial(
                rule, optimizer(learning_rate), params, self.batch, key=key, epochs=self.epochs, stops=self.stops
            )

        return trial

    def limits(self, key) -> np.ndarray:
        """2/λ_max (seeds,) at the start of every seed: above it a quadratic of this curvature diverges."""
        keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(self.seeds, dtype=jnp.uint32))

        def curvature(key):
            return bp.analysis.largest_curvature(self.rule, self.start(key), self.batch, jax.random.fold_in(key, 1))

        return 2 / np.asarray(jax.jit(jax.vmap(curvature))(keys), float)


def problems(config) -> tuple[Problem, ...]:
    """The digits, XOR, an encoder and parity, with the numbers of `learning_rate.Config`."""
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
        layout="single",  # 1,197 examples: each step is large enough to have a core to itself
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
            bp.mlp(sizes, bp.sigmoid, bp.sigmoid, weights=bp.uniform(1.0), biases=bp.uniform(1.0)),
            bp.squared_error,
            task.present(None),
            (diverged, bp.outputs_within(0.4)),
            epochs,
            config.small_seeds,
        )
        for name, title, sizes, task, epochs in small
    )


def receipt(problem: Problem, key) -> bp.gradcheck.Report:
    """This network, this loss: the hand-written gradient against `jax.grad`. Stops the experiment where wrong."""
    oracle = bp.autodiff(problem.network, problem.loss)
    report = bp.compare(problem.rule, oracle, problem.start(key), problem.batch, timed=False, show=False)
    report.raise_if_wrong()
    return report


class Prepared(NamedTuple):
    """What is known of a problem before training."""

    problem: Problem
    key: jax.Array
    verdict: str  # of the gradient receipt
    limits: np.ndarray  # (seeds,) see `Problem.limits`


def prepare(problem: Problem, key) -> Prepared:
    """The receipt and the curvature at every start."""
    return Prepared(problem, key, receipt(problem, key).verdict, problem.limits(key))


def train(prepared: Prepared, rule: str, rates: np.ndarray, tell: Callable) -> xr.Dataset:
    """Every rate × seed, one compiled program; with `limit` (seed,), 2/λ_max at each start."""
    problem = prepared.problem
    steps = np.unique(np.geomspace(1, problem.epochs, CURVE_POINTS).round().astype(int))
    result = bp.sweep(
        problem.trial(RULES[rule]),
        {"learning_rate": rates, "seed": range(problem.seeds)},
        key=prepared.key,
        curves=steps.tolist(),
        layout=problem.layout,
        receipt=prepared.verdict,
        progress=tell,
    )
    result["limit"] = ("seed", prepared.limits, {"long_name": "2/λ_max at the start"})
    result["learning_rate"].attrs["long_name"] = "learning rate η" + ("" if rule == FIXED else " at the start")
    result.attrs |= {"title": f"{problem.title}: {rule}", "problem": problem.title, "rule": rule}
    result.attrs |= {"name": problem.name, "epoch_limit": problem.epochs, "loss": problem.loss.name}
    return result
