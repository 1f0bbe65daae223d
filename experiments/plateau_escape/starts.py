"""The plateaus of networks: for each a start and the height of its error, which is known in advance.

A run has left a plateau when the error of its weights, measured after each epoch, falls below a level under the height.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import bpjax as bp
from bpjax import theory
from experiments.common.networks import sigmoid_network
from experiments.common.starts import compiled_once
from experiments.plateau_escape.committee import committee, erf_unit, teacher


class Plateau(NamedTuple):
    """A problem with a plateau, and the level of the error below which it has been left."""

    name: str
    unit: bp.Layer | None  # the activation that "flat spot" changes; None if the network has none
    network: Callable  # unit -> Layer
    start: Callable  # key -> params
    batch: Any  # examples and targets; None if each step draws new examples
    rate: float  # η of plain descent
    height: float  # error on the plateau, by theory
    limit: int  # epochs
    loss: bp.losses.Loss = bp.squared_error
    level: float = 0.8  # the plateau is left below this fraction of the height
    unit_of_time: str = "epochs"
    saddle: Any = None  # params of the critical point of the plateau, if known in closed form


def names_of(only: str = "") -> list[str]:
    """The names of the plateaus that contain `only`."""
    return [name for name in PLATEAUS if only.lower() in name.lower()]


def plateaus(committee_inputs: int, only: str = "") -> list[Plateau]:
    """The six plateaus, or those whose name contains `only`."""
    return [PLATEAUS[name](name, committee_inputs) for name in names_of(only)]


def _net(sizes, radius):
    def network(unit):
        return sigmoid_network(sizes, radius, unit)

    def start(key):
        return network(bp.sigmoid).init(key, sizes[:1])[0]

    return network, start


def zeros_of(start: Callable):
    """Weights of 0 in the structure of what `start` draws from a key."""
    shapes = jax.eval_shape(start, jax.random.key(0))
    return jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)


def _xor(name: str, committee_inputs: int) -> Plateau:
    """All outputs are ½: E = ½ · 4 · ¼."""
    network, start = _net((2, 2, 1), 0.5)
    return Plateau(name, bp.sigmoid, network, start, bp.xor().present(None), 0.5, 0.5, 5000)


def _symmetric(name: str, committee_inputs: int) -> Plateau:
    """4-2-4 encoder with weights near 0 and nearly equal hidden units: all outputs are ¼, E = ½ · 4 · (9 + 3)/16 = 1.5.

    At the saddle all weights are 0 except the output biases, which are ln ⅓.
    """
    network, start = _net((4, 2, 4), 0.02)
    first, unit, last, *rest = zeros_of(start)
    saddle = (first, unit, last._replace(b=last.b - math.log(3)), *rest)
    batch = bp.encoder(4, 2).present(None)
    return Plateau(name, bp.sigmoid, network, start, batch, 0.5, 1.5, 3000, saddle=saddle)


def _saturated(name: str, committee_inputs: int) -> Plateau:
    """The encoder with output biases of 8: all outputs are 1, ¾ of them should be 0, E = ½ · 4 · 3 = 6; φ′ ≈ 0."""
    network, small = _net((4, 2, 4), 0.5)

    def start(key):
        *front, last, unit = small(key)
        return (*front, last._replace(b=last.b + 8.0), unit)

    return Plateau(name, bp.sigmoid, network, start, bp.encoder(4, 2).present(None), 0.5, 6.0, 5000)


@functools.cache
def smaller_network():
    """A 1-1-1 network at its minimum on 9 points of a two-step function: (params, batch, error), float64."""
    network = bp.mlp((1, 1, 1), bp.tanh)
    with jax.enable_x64(True):
        x = jnp.linspace(-4.0, 4.0, 9)[:, None]
        batch = x, 0.5 * jnp.tanh(2 * (x - 1.5)) + 0.5 * jnp.tanh(2 * (x + 1.5))
        near = (
            bp.layers.Affine(jnp.array([[0.3]]), jnp.zeros(1)),
            (),
            bp.layers.Affine(jnp.array([[1.2]]), jnp.zeros(1)),
        )
        found = bp.second_order.least_squares(network, bp.squared_error, near, batch)
        value, _, _ = bp.backprop(network, bp.squared_error).grads(found.params, (), batch)
    return found.params, batch, float(value)


def _duplicate(name: str, committee_inputs: int, perturbation: float = 1e-3) -> Plateau:
    """The minimum of `smaller_network` with its unit duplicated and the outgoing weight halved; starts are near it.

    This is a saddle of the 1-2-1 network. The descent direction leads to an error of nearly 0. With the points chosen
    first it led to a valley only 1 % lower; such saddles exist too. The learning rate was raised from 0.05 to 0.1 to
    shorten the runs. There ηλ = 1.53, above the limit of Nesterov's form at α = 0.9 (1.36) and below that of heavy ball
    (3.8).
    """
    small, batch, height = smaller_network()
    with jax.enable_x64(True):
        saddle = theory.duplicate_unit(small, 0, 0.5)
    saddle, batch = bp.util.cast(saddle, "float32"), bp.util.cast(batch, "float32")

    def start(key):
        leaves, structure = jax.tree.flatten(saddle)
        keys = jax.random.split(key, len(leaves))
        noise = (perturbation * jax.random.normal(k, w.shape, w.dtype) for k, w in zip(keys, leaves, strict=True))
        return structure.unflatten([w + xi for w, xi in zip(leaves, noise, strict=True)])

    def network(unit):
        return bp.mlp((1, 2, 1), unit)

    return Plateau(name, bp.tanh, network, start, batch, 0.1, height, 20_000, saddle=saddle)


MODES = (3.0, 1.0)
"""Singular values of the linear map that the deep linear network learns."""


def linear_task():
    """White inputs, xᵀx/N = 1, and targets x S: (x, x S), float32."""
    x = math.sqrt(len(MODES)) * np.eye(len(MODES), dtype=np.float32)
    return jnp.asarray(x), jnp.asarray(x * np.array(MODES, np.float32))


def _deep_linear(name: str, committee_inputs: int) -> Plateau:
    """Two weight matrices near the saddle at 0, where E = ½ Σ s²."""
    width = len(MODES)
    network = bp.chain(*(bp.dense(width, use_bias=False, weights=bp.uniform(0.01)) for _ in range(2)))

    def start(key):
        return network.init(key, (width,))[0]

    return Plateau(
        name, None, lambda unit: network, start, linear_task(), 0.005, 0.5 * sum(s * s for s in MODES),
        2000, bp.losses.batch_mean(bp.squared_error), saddle=zeros_of(start),
    )  # fmt: skip


def _committee(name: str, inputs: int) -> Plateau:
    """Two nearly equal hidden units learn from two teachers, on-line; time is α, examples / inputs."""
    rate = 0.1

    def network(unit):
        return committee(2, inputs, unit)

    def start(key):
        return network(erf_unit).init(key, (inputs,))[0]

    return Plateau(
        name, erf_unit, network, start, None, rate, theory.symmetric_plateau(2, rate).error,
        1000, level=0.5, unit_of_time="examples / inputs",
    )  # fmt: skip


PLATEAUS: dict[str, Callable] = {
    "XOR": _xor,
    "symmetric start": _symmetric,
    "saturated units": _saturated,
    "duplicated unit": _duplicate,
    "deep linear net": _deep_linear,
    "soft committee": _committee,
}
"""{name: (name, inputs of the committee) -> Plateau}."""


def example(plateau: Plateau, key):
    """(network, params, batch) of one start of plain descent; new examples if the plateau has no batch."""
    params = compiled_once(plateau.start)(key)
    if plateau.batch is not None:
        return plateau.network(plateau.unit), params, plateau.batch
    inputs = params[0].w.shape[0]
    x = jax.random.normal(key, (5, inputs))
    return plateau.network(plateau.unit), params, (x, teacher(x, 2))
