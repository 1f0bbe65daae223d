"""Every rule for changing weights, ready to be run: one row adds a new one to all laws and to the benchmark."""

from collections.abc import Callable
from typing import NamedTuple

import optax

from bpjax.optimizers.global_rate import bold_driver, traingda, traingdx
from bpjax.optimizers.local_rates import delta_bar_delta, silva_almeida, supersab
from bpjax.optimizers.momentum import momentum
from bpjax.optimizers.quickprop import quickprop
from bpjax.optimizers.rprop import rprop


class Entry(NamedTuple):
    """A rule as a function of the number a user would sweep first."""

    make: Callable[..., optax.GradientTransformation]
    number: float


OPTIMIZERS: dict[str, Entry] = {
    "momentum, heavy_ball": Entry(lambda rate: momentum(rate, 0.5), 0.1),
    "momentum, convex": Entry(lambda rate: momentum(rate, 0.5, "convex"), 0.2),
    "momentum, velocity": Entry(lambda rate: momentum(rate, 0.5, "velocity"), 0.1),
    "momentum, nesterov": Entry(lambda rate: momentum(rate, 0.5, "nesterov"), 0.1),
    "bold_driver": Entry(lambda rate: bold_driver(rate, 0.5), 0.5),
    "traingda": Entry(lambda rate: traingda(rate), 0.5),
    "traingdx": Entry(lambda rate: traingdx(rate, 0.5), 0.5),
    "silva_almeida": Entry(lambda rate: silva_almeida(rate), 0.3),
    "delta_bar_delta": Entry(lambda rate: delta_bar_delta(rate), 0.1),
    "supersab": Entry(lambda rate: supersab(rate, 0.3), 0.1),
    "quickprop": Entry(lambda rate: quickprop(rate, decay=-1e-4, split=True), 0.2),
    "rprop-": Entry(lambda step: rprop(step, "rprop-"), 0.1),
    "rprop+": Entry(lambda step: rprop(step, "rprop+"), 0.1),
    "irprop-": Entry(lambda step: rprop(step, "irprop-"), 0.1),
    "irprop+": Entry(lambda step: rprop(step, "irprop+"), 0.1),
}
