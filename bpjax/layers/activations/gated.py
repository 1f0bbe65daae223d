"""Gated linear units: one half of the features times an activation of the other half.

With two weight matrices in one dense layer in front, `chain(dense(2 * features), swiglu)`, they are the units of
Dauphin et al. 2017 and Shazeer 2020.
"""

import functools

import jax.numpy as jnp

from bpjax.layers.activations.piecewise import relu
from bpjax.layers.activations.sigmoids import sigmoid
from bpjax.layers.activations.times_probability import gelu, silu
from bpjax.layers.layer import Kind, Layer, check_any_shape, check_layer
from bpjax.types import Shape
from bpjax.util.checks import as_floating, check_text
from bpjax.util.precision import widen


def gated(activation: Layer, name: str | None = None) -> Layer:
    """The first half of the last axis times φ of the second half, x (N, ..., 2 H) to y (N, ..., H).

    forward    y = a ⊙ φ(b)                    x = [a, b]
    backward   dx = [dy ⊙ φ(b), dy ⊙ a ⊙ φ′(b)]

    The value comes first, the gate second, as in `torch.nn.functional.glu`. `gated(bp.layers.identity)` is the bilinear
    unit of Shazeer 2020. Residuals: x.

    Args:
        activation: φ, an activation.
        name: The name in reports; by default that of the activation.

    Raises:
        ValueError: `activation` is no activation or `name` no text; in `init` and `forward`, the last axis is odd.
    """
    if check_layer("gated", activation).kind is not Kind.ACTIVATION:
        raise ValueError(
            f"`gated` expected an activation such as `bp.sigmoid`, got {activation}. Make one of φ and φ′: "
            "`bp.layers.elementwise`."
        )
    if name is not None:
        check_text("gated", "name", name)
    return _gated(activation, name)


@functools.cache
def _gated(activation: Layer, name: str | None) -> Layer:
    """The cached factory: equal arguments give the same Layer object, so jitted functions of it compile once."""
    who = name or f"gated({activation.name})"

    def init(key, in_shape):
        shape = check_any_shape(who, in_shape)
        return (), (*shape[:-1], half(shape))

    def half(shape: Shape) -> int:
        if not shape or shape[-1] % 2:
            raise ValueError(
                f"`{who}` expected an even number of features in the last axis, values and gates, got shape "
                f"{tuple(shape)}. Put a `dense(2 * features)` in front."
            )
        return shape[-1] // 2

    def forward(params, x):
        x = as_floating(who, "x", x)
        a, b = halves(x)
        return (a * activation.forward((), b)[0]).astype(x.dtype), x

    def backward(params, x, dy):
        (a, b), wide = halves(x), widen(dy)
        gate, residuals = activation.forward((), b)  # again: cheaper than storing it
        _, db = activation.backward((), residuals, wide * a)
        return (), jnp.concatenate([wide * gate, db], axis=-1).astype(dy.dtype)

    def halves(x):
        return jnp.split(widen(x), [half(x.shape[1:])], axis=-1)

    return Layer(who, init, forward, backward, arguments=None if name else repr(activation))


glu = _gated(sigmoid, "glu")
"""y = a σ(b) for x = [a, b],  dx = [dy σ(b), dy a σ′(b)] (Dauphin et al. 2017)."""
reglu = _gated(relu, "reglu")
"""y = a max(b, 0) for x = [a, b],  dx = [dy max(b, 0), dy a where b > 0] (Shazeer 2020)."""
geglu = _gated(gelu, "geglu")
"""y = a gelu(b) for x = [a, b],  dx = [dy gelu(b), dy a gelu′(b)] (Shazeer 2020)."""
swiglu = _gated(silu, "swiglu")
"""y = a silu(b) for x = [a, b],  dx = [dy silu(b), dy a silu′(b)] (Shazeer 2020), the unit of LLaMA."""
