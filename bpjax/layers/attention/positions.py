"""Position encodings, for layers such as attention that treat a sequence as a set."""

import functools
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from bpjax.layers.initializers import Initializer, initializer, unit_normal
from bpjax.layers.layer import Layer, check_in_shape
from bpjax.layers.params import check_params
from bpjax.types import Array
from bpjax.util.call_text import call_text
from bpjax.util.checks import as_floating, check_count, check_same_dtype
from bpjax.util.precision import widen

WAVELENGTH = 10_000
"""The wavelength of the slowest sine in units of 2π positions, as in Vaswani et al. and Su et al."""


@functools.cache
def _angles(length: int, features: int) -> np.ndarray:
    """(T, D/2) in float64: position t times the frequency of pair i, t / 10000^(2i/D)."""
    frequencies = WAVELENGTH ** (-np.arange(0, features, 2) / features)
    return np.arange(length)[:, None] * frequencies[None, :]


@functools.cache
def sinusoidal_positions() -> Layer:
    """Sines and cosines of many wavelengths added to a sequence, x (N, T, D) to y of the same shape, D even.

    forward    yₙₜ = xₙₜ + pₜ     pₜ,₂ᵢ = sin(t / 10000^(2i/D))     pₜ,₂ᵢ₊₁ = cos(t / 10000^(2i/D))
    backward   dx = dy

    No params and no residuals. Vaswani et al. 2017, section 3.5. Deviation: they first multiply the embedding by √D;
    here the initializer of the embedding determines its scale.

    Raises:
        ValueError: `x` is not a floating-point array (N, T, D), or D is odd.
    """

    def init(key, in_shape):
        length, features = check_in_shape("sinusoidal_positions", in_shape, rank=2)
        check_even("sinusoidal_positions", "D", features)
        return (), (length, features)

    def forward(params, x):
        x = check_sequence("sinusoidal_positions", "x", x)
        check_even("sinusoidal_positions", "D", x.shape[2])
        angles = _angles(*x.shape[1:])
        table = np.stack([np.sin(angles), np.cos(angles)], axis=-1).reshape(1, *x.shape[1:])
        wide = widen(x)
        return (wide + jnp.asarray(table, wide.dtype)).astype(x.dtype), ()

    def backward(params, residuals, dy):
        return (), dy

    return Layer("sinusoidal positions", init, forward, backward, arguments="")


class Positions(NamedTuple):
    """The parameters of learnt positions."""

    w: Array  # (L, D) a row of features for each position of a sequence


def learned_positions(length: int, weights: str | Initializer = unit_normal) -> Layer:
    """A learnt row for each position added to a sequence, x (N, T, D) to y of the same shape, T ≤ L = `length`.

    forward    yₙₜ = xₙₜ + Wₜ
    backward   dWₜ = Σₙ dyₙₜ, 0 for t ≥ T     dx = dy

    No residuals: dy determines T.

    Raises:
        ValueError: `length` is not a positive integer; in `forward`, `x` is not (N, T, D), is longer than L or has
            another dtype than the params, or the params belong to another layer.
    """
    length = check_count("learned_positions", "length", length)
    return _learned_positions(int(length), initializer(weights))


@functools.cache
def _learned_positions(length: int, weights: Initializer) -> Layer:
    """The cached factory: equal arguments give the same Layer object, so jitted functions of it compile once."""

    def init(key, in_shape):
        steps, features = check_in_shape("learned_positions", in_shape, rank=2)
        check_length(steps)
        return Positions(weights(key, (length, features), jnp.result_type(float))), (steps, features)

    def forward(params, x):
        x = check_sequence("learned_positions", "x", x)
        check_length(x.shape[1])
        check_params(f"`learned_positions({length})`", params, Positions, {"w": (length, x.shape[2])})
        check_same_dtype("learned_positions", x, params.w)
        return x + params.w[None, : x.shape[1]], ()

    def backward(params, residuals, dy):
        dw = jnp.zeros_like(params.w).at[: dy.shape[1]].set(widen(dy).sum(axis=0).astype(dy.dtype))
        return Positions(dw), dy

    def check_length(steps: int):
        if steps > length:
            raise ValueError(
                f"`learned_positions({length})` expected sequences of at most {length} steps, got {steps}. "
                "Choose a larger `length`, or cut the sequences."
            )

    return Layer("learned positions", init, forward, backward, arguments=call_text(length))


def rotate(x: Array, axis: int, back: bool = False) -> Array:
    """Rotary positions: the pairs (xᵢ, xᵢ₊D/₂) of the last axis rotated by angles that grow along the time axis.

    forward      yᵢ = xᵢ cos tθᵢ − xᵢ₊D/₂ sin tθᵢ     yᵢ₊D/₂ = xᵢ sin tθᵢ + xᵢ₊D/₂ cos tθᵢ     θᵢ = 10000^(−2i/D)
    backward     the transposed rotation, by −tθᵢ: `rotate(dy, axis, back=True)`

    The product of a rotated query at s and a rotated key at t depends on s and t only through s − t. Su et al. 2021,
    eq. 34. Deviation: they rotate neighbours (x₂ᵢ, x₂ᵢ₊₁), which is the same up to the order of the features; pairs
    from the two halves need no strided access.

    Args:
        x: An array with an even number D of features on its last axis.
        axis: The time axis.
        back: Whether to rotate by −tθᵢ, which is the inverse and the backward pass.
    """
    half = x.shape[-1] // 2
    angles = _angles(x.shape[axis], x.shape[-1])
    shape = [1] * x.ndim
    shape[axis], shape[-1] = angles.shape
    wide = widen(x)
    cos = jnp.asarray(np.cos(angles).reshape(shape), wide.dtype)
    sin = jnp.asarray((-1 if back else 1) * np.sin(angles).reshape(shape), wide.dtype)
    first, second = wide[..., :half], wide[..., half:]
    return jnp.concatenate([first * cos - second * sin, first * sin + second * cos], axis=-1).astype(x.dtype)


def check_sequence(who: str, name: str, x) -> Array:
    """`x` as a float array (N, T, D), none of them 0, or a `ValueError`."""
    x = as_floating(who, name, x)
    if x.ndim != 3 or 0 in x.shape:
        raise ValueError(
            f"`{who}` expected `{name}` of shape (N, T, D), examples, time steps and features, got {x.shape}."
        )
    return x


def check_even(who: str, name: str, features: int) -> None:
    """Raise a `ValueError` if the number of features is odd; `who` and `name` are for the message."""
    if features % 2:
        raise ValueError(f"`{who}` expected an even {name}, since features are used in pairs, got {features}.")
