"""Group normalization: groups of channels normalized within each example.

Sums run over the positions of each channel first, in the order of memory, then over the channels of each group.
"""

import functools
import math

import jax.numpy as jnp

from bpjax.layers.layer import Layer
from bpjax.layers.normalization.layer import (
    backward_by_channels,
    check_normalized,
    check_positions,
    initial_gains,
    inverse_root,
    stretch,
)
from bpjax.util.call_text import call_text
from bpjax.util.checks import check_count, check_flag, check_number
from bpjax.util.precision import widen


def group_norm(groups: int, epsilon: float = 1e-5, use_bias: bool = True) -> Layer:
    """Groups of channels normalized to mean 0 and variance 1 over channels and positions, x (N, ..., C).

    forward    x̂ = (x − μ) / σ     y = g x̂ + b      μ, σ per example and group, σ² = variance + ε
    backward   dg = Σ dy x̂     db = Σ dy     dx̂ = g dy     dx = (dx̂ − mean(dx̂) − x̂ mean(dx̂ x̂)) / σ

    Wu & He 2018. In contrast to `batch_norm` the examples are independent, so batches of one example work. Group k
    holds the channels k C/groups … (k + 1) C/groups − 1. One group normalizes the whole example; C groups are instance
    norm. Where a group has a single value x̂ = 0 and dx = 0. Residuals: x, and mean and 1/σ of each example and group.

    Args:
        groups: The number of groups, which must divide C.
        epsilon: ε, added to the variance.
        use_bias: Whether there is a bias b.

    Raises:
        ValueError: `groups` is not a positive integer or `epsilon` is not above 0; in `init`, the groups do not divide
            the channels; in `forward`, `x` is not (N, ..., C), is empty or has another dtype than the gains, or the
            params belong to another layer.
    """
    groups = check_count("group_norm", "groups", groups)
    check_number("group_norm", "epsilon", epsilon, above=0.0)
    return cached_group_norm(groups, float(epsilon), check_flag("group_norm", "use_bias", use_bias))


@functools.cache
def cached_group_norm(groups: int, epsilon: float, use_bias: bool) -> Layer:
    """The cached factory: equal arguments give the same Layer object, so jitted functions of it compile once."""

    def init(key, in_shape):
        shape = check_positions("group_norm", in_shape)
        check_groups(shape[-1])
        return initial_gains(shape[-1], use_bias), shape

    def by_position(x):
        """(N, ..., C) as (N, positions, C)."""
        return x.reshape(len(x), math.prod(x.shape[1:-1]), x.shape[-1])

    def among(a):
        """The mean over the channels of each group, (N, 1, C) to (N, 1, groups)."""
        return a.reshape(len(a), 1, groups, a.shape[-1] // groups).mean(axis=-1)

    def repeated(a, channels):
        """A number for each group, (N, 1, groups), repeated for its channels, (N, 1, C)."""
        return jnp.repeat(a, channels // groups, axis=-1)

    def shifted(x):
        """x minus the first value of its group."""
        size = x.shape[-1] // groups
        return x - repeated(x[:, :1, ::size], x.shape[-1])

    def forward(params, x):
        x = check_normalized("group_norm", params, x, use_bias)
        channels = x.shape[-1]
        check_groups(channels)
        d = shifted(by_position(widen(x)))
        mean = lambda a: among(a.mean(axis=1, keepdims=True))
        offset = mean(d)
        d = d - repeated(offset, channels)
        _, inverse = inverse_root(d, mean, epsilon)
        y = stretch(params, d * repeated(inverse, channels))
        return y.reshape(x.shape).astype(x.dtype), (x, offset, inverse)

    def backward(params, residuals, dy):
        x, offset, inverse = residuals
        channels = x.shape[-1]
        inverse = repeated(inverse, channels)
        x_hat = (shifted(by_position(widen(x))) - repeated(offset, channels)) * inverse
        mean = lambda a: repeated(among(a), channels)
        dparams, dx = backward_by_channels(params, x_hat, by_position(dy), inverse, 1, mean)
        return dparams, dx.reshape(x.shape).astype(x.dtype)

    def check_groups(channels):
        if channels % groups:
            raise ValueError(
                f"`group_norm({groups})` expected a number of channels that {groups} groups divide, got {channels}. "
                f"Use one of {', '.join(str(n) for n in range(1, channels + 1) if channels % n == 0)} groups."
            )

    arguments = call_text(groups, epsilon=(epsilon, 1e-5), use_bias=(use_bias, True))
    return Layer("group norm", init, forward, backward, arguments=arguments)
