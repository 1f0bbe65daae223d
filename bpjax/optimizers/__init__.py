"""Optimizers turn a gradient into a change of the weights; all are optax transformations."""

from bpjax.optimizers.global_rate import bold_driver, traingda, traingdx
from bpjax.optimizers.hyperparameters import hyperparameter, set_hyperparameters
from bpjax.optimizers.local_rates import delta_bar_delta, silva_almeida, supersab
from bpjax.optimizers.momentum import convert_momentum, momentum
from bpjax.optimizers.quickprop import fan_in, quickprop
from bpjax.optimizers.rprop import rprop
from bpjax.optimizers.shampoo import shampoo
from bpjax.optimizers.transformation import static_part
from bpjax.optimizers.undo import take_step

__all__ = [
    "bold_driver",
    "convert_momentum",
    "delta_bar_delta",
    "fan_in",
    "hyperparameter",
    "momentum",
    "quickprop",
    "rprop",
    "set_hyperparameters",
    "shampoo",
    "silva_almeida",
    "static_part",
    "supersab",
    "take_step",
    "traingda",
    "traingdx",
]
