"""The six conditions of Sohl-Dickstein, "The boundary of neural network trainability is fractal", arXiv:2402.06184.

    ŷ = α₁ W₁ σ(α₀ W₀ x),  α₁ = 1/n,  α₀ = √(2/n) for tanh and ReLU, √(1/n) for the identity,  n = 16
    E = Σ (ŷ − y)² / N

Weights, inputs and targets are drawn from N(0, 1), as many examples as weights: 272, or 16 for the identity. Every
pixel of an image starts from the same weights and sees the same examples.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import bpjax as bp
from bpjax.layers.dense import Affine
from bpjax.types import Array, Params

UNITS = 16
"""n, inputs and hidden units."""


class Window(NamedTuple):
    """A rectangle of a plane, in powers of ten."""

    left: float
    right: float
    bottom: float
    top: float

    @property
    def width(self) -> float:
        """In decades."""
        return self.right - self.left

    @property
    def height(self) -> float:
        """In decades."""
        return self.top - self.bottom


class Condition(NamedTuple):
    """What is trained, and over which plane."""

    name: str
    unit: str  # the activation: a key of `ACTIVATIONS`
    window: Window  # of the first image: log10 of the hyperparameter to the right, and of η₁ upwards
    examples: int = UNITS * UNITS + UNITS
    batch_size: int | None = None  # examples of a step, drawn with replacement; None for all
    offset: str = ""  # what the axis to the right is: "" for η₀, or how a number is added to W₀

    @property
    def axes(self) -> tuple[str, str]:
        """What the plane's axes are."""
        if self.offset:
            return "number added to the input weights", "learning rate of both layers"
        return "learning rate of the input weights, η₀", "learning rate of the output weights, η₁"


ACTIVATIONS = {
    "tanh": bp.layers.elementwise(
        f"tanh / {UNITS}", lambda a: jnp.tanh(a) / UNITS, lambda y: (1 - (UNITS * y) ** 2) / UNITS, of="output"
    ),
    "ReLU": bp.layers.elementwise(
        f"relu / {UNITS}", lambda a: jnp.maximum(a, 0) / UNITS, lambda y: (y > 0).astype(y.dtype) / UNITS, of="output"
    ),
    "identity": bp.layers.elementwise(
        f"identity / {UNITS}", lambda a: a / UNITS, lambda y: jnp.full_like(y, 1 / UNITS), of="output"
    ),
}
"""{name: α₁ σ}, with the derivative as a function of the output."""
GAINS = {"tanh": 2.0, "ReLU": 2.0, "identity": 1.0}
"""{name: n α₀²}."""

START = "at the start"
EVERY_STEP = "in every step"

CONDITIONS = (
    Condition("tanh", "tanh", Window(2.0, 6.0, 0.0, 4.0)),
    Condition("ReLU", "ReLU", Window(-1.0, 3.0, -1.0, 3.0)),
    Condition("identity", "identity", Window(-1.0, 3.0, -1.0, 3.0), examples=UNITS),
    Condition("minibatch", "tanh", Window(2.0, 6.0, 0.0, 4.0), batch_size=16),
    Condition("one example", "tanh", Window(0.5, 4.5, -1.0, 3.0), examples=1),
    Condition("offset of the weights", "tanh", Window(-2.0, 2.0, 0.0, 4.0), offset=START),
    Condition("offset in every step", "tanh", Window(-2.0, 2.0, -1.0, 3.0), offset=EVERY_STEP),
)
"""The paper's six. Its text adds a number to the initial weights, its published program adds it before every step."""


class Problem(NamedTuple):
    """Network, examples and initial weights of a condition."""

    network: bp.Layer
    x: Array  # (N, n), times α₀
    y: Array  # (N, 1)
    params: Params  # W₀ (n, n) and W₁ (n, 1)
    shares: Array  # (steps or 1, N, 1) weight of each example in the error that a step descends


def problem_of(condition: Condition, steps: int, seed: int) -> Problem:
    """Draw examples and weights: the same float64 numbers, rounded to the present floating-point dtype.

    α₀ is a factor of x and α₁ one of the hidden outputs; neither changes the gradients by W₀ and W₁.

    Args:
        condition: what to train.
        steps: of gradient descent.
        seed: root of all random numbers.
    """
    draw, n = np.random.default_rng(seed), condition.examples
    first, last = draw.standard_normal((UNITS, UNITS)), draw.standard_normal((UNITS, 1))
    x, y = draw.standard_normal((n, UNITS)), draw.standard_normal((n, 1))
    shares = np.full((1, n, 1), 1 / n)
    if condition.batch_size is not None:
        drawn = draw.integers(0, n, (steps, condition.batch_size))
        counts = np.stack([np.bincount(row, minlength=n) for row in drawn])
        shares = counts[..., None] / condition.batch_size
    params = (Affine(jnp.asarray(first, float)), (), Affine(jnp.asarray(last, float)))
    inputs = jnp.asarray(x * np.sqrt(GAINS[condition.unit] / UNITS), float)
    return Problem(network_of(condition.unit), inputs, jnp.asarray(y, float), params, jnp.asarray(shares, float))


def network_of(unit: str) -> bp.Layer:
    """Two layers without biases, and α₁ σ between them."""
    normal = jax.nn.initializers.normal(1.0)
    first, last = (bp.dense(features, use_bias=False, weights=normal) for features in (UNITS, 1))
    return bp.chain(first, ACTIVATIONS[unit], last)
