"""Instance normalization: every channel of every example normalized by itself."""

import functools

from bpjax.layers.layer import Layer
from bpjax.layers.normalization.group import cached_group_norm
from bpjax.layers.normalization.layer import check_positions
from bpjax.util.call_text import call_text
from bpjax.util.checks import as_floating, check_flag, check_number


def instance_norm(epsilon: float = 1e-5, use_bias: bool = True) -> Layer:
    """Each channel of each example normalized to mean 0 and variance 1 over its positions, x (N, ..., C).

    forward    x̂ = (x − μ) / σ     y = g x̂ + b      μ, σ per example and channel, σ² = variance + ε
    backward   dg = Σ dy x̂     db = Σ dy     dx̂ = g dy     dx = (dx̂ − mean(dx̂) − x̂ mean(dx̂ x̂)) / σ

    Ulyanov, Vedaldi & Lempitsky 2016; `group_norm` with a group for each channel, however many there are. With a single
    position x̂ = 0 and dx = 0. `torch.nn.InstanceNorm2d` has no gain and bias by default: that is
    `freeze(instance_norm())`. Residuals: x, and mean and 1/σ of each example and channel.

    Args:
        epsilon: ε, added to the variance.
        use_bias: Whether there is a bias b.

    Raises:
        ValueError: `epsilon` is not above 0; in `forward`, `x` is not (N, ..., C), is empty or has another dtype than
            the gains, or the params belong to another layer.
    """
    check_number("instance_norm", "epsilon", epsilon, above=0.0)
    return _instance_norm(float(epsilon), check_flag("instance_norm", "use_bias", use_bias))


@functools.cache
def _instance_norm(epsilon: float, use_bias: bool) -> Layer:
    """The cached factory: equal arguments give the same Layer object, so jitted functions of it compile once."""

    def of(channels: int) -> Layer:
        return cached_group_norm(channels, epsilon, use_bias)

    def init(key, in_shape):
        shape = check_positions("instance_norm", in_shape)
        return of(shape[-1]).init(key, shape)

    def forward(params, x):
        x = as_floating("instance_norm", "x", x)
        return of(x.shape[-1] if x.ndim else 1).forward(params, x)

    def backward(params, residuals, dy):
        return of(dy.shape[-1]).backward(params, residuals, dy)

    arguments = call_text(epsilon=(epsilon, 1e-5), use_bias=(use_bias, True))
    return Layer("instance norm", init, forward, backward, arguments=arguments)
