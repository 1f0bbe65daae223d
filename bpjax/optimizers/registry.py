"""A table of all optimizers: a new row adds an optimizer to all tests of laws and to the benchmark."""

from typing import NamedTuple, Protocol

import optax

from bpjax.optimizers.global_rate import bold_driver, traingda, traingdx
from bpjax.optimizers.hyperparameters import Number
from bpjax.optimizers.local_rates import delta_bar_delta, silva_almeida, supersab
from bpjax.optimizers.momentum import momentum
from bpjax.optimizers.quickprop import quickprop
from bpjax.optimizers.rprop import rprop
from bpjax.optimizers.shampoo import shampoo


class MakeOptimizer(Protocol):
    """An optimizer as a function of one hyperparameter."""

    def __call__(self, hyperparameter: Number, /) -> optax.GradientTransformation:
        """The optimizer."""
        ...


class OptimizerCase(NamedTuple):
    """An optimizer as a function of the hyperparameter that a user would sweep first, and a value for it."""

    make: MakeOptimizer
    hyperparameter: float


OPTIMIZERS: dict[str, OptimizerCase] = {
    "momentum, heavy_ball": OptimizerCase(lambda rate: momentum(rate, 0.5), 0.1),
    "momentum, convex": OptimizerCase(lambda rate: momentum(rate, 0.5, "convex"), 0.2),
    "momentum, velocity": OptimizerCase(lambda rate: momentum(rate, 0.5, "velocity"), 0.1),
    "momentum, nesterov": OptimizerCase(lambda rate: momentum(rate, 0.5, "nesterov"), 0.1),
    "bold_driver": OptimizerCase(lambda rate: bold_driver(rate, 0.5), 0.5),
    "traingda": OptimizerCase(lambda rate: traingda(rate), 0.5),
    "traingdx": OptimizerCase(lambda rate: traingdx(rate, 0.5), 0.5),
    "silva_almeida": OptimizerCase(lambda rate: silva_almeida(rate), 0.3),
    "delta_bar_delta": OptimizerCase(lambda rate: delta_bar_delta(rate), 0.1),
    "supersab": OptimizerCase(lambda rate: supersab(rate, 0.3), 0.1),
    "quickprop": OptimizerCase(lambda rate: quickprop(rate, decay=-1e-4, split=True), 0.2),
    "rprop-": OptimizerCase(lambda step: rprop(step, "rprop-"), 0.1),
    "rprop+": OptimizerCase(lambda step: rprop(step, "rprop+"), 0.1),
    "irprop-": OptimizerCase(lambda step: rprop(step, "irprop-"), 0.1),
    "irprop+": OptimizerCase(lambda step: rprop(step, "irprop+"), 0.1),
    "shampoo": OptimizerCase(lambda rate: shampoo(rate), 0.5),
}
