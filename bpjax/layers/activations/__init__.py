"""Activations y = φ(a), each with its derivative φ′ written by hand beside it.

φ′ is written as a function of the output y where that is simpler: y is stored anyway, as the input of the next layer.
Half-precision inputs are computed in float32 and rounded once. All values are finite from −10⁴ to 10⁴ in every dtype,
and at ±∞ they are the limits. NaN stays NaN, in y and in φ′.

Each φ has full relative precision (`tanhshrink` near 0 excepted), and so has φ′ where it is a function of a. For
sigmoids and tanh it is a function of y, and 0 where y rounds to a bound, in float32 from a = 17 (sigmoid) and ±9 (tanh)
on: the flat spots of the literature, the same in `jax.grad` and PyTorch.

    name              y = φ(a)                      φ′                               at its kinks
    identity          a                             1
    sigmoid           1 / (1 + e⁻ᵃ)                 y (1 − y)
    scaled_sigmoid    low + (high − low) σ(a)       (y − low) (high − y) / (high − low)
    tanh              tanh a                        1 − y²
    softplus          ln(1 + eᵃ)                    σ(a)
    log_sigmoid       −ln(1 + e⁻ᵃ)                  σ(−a)
    softsign          a / (1 + |a|)                 1 / (1 + |a|)²
    tanhshrink        a − tanh a                    tanh² a
    relu              max(a, 0)                     [y > 0]                          0 at a = 0
    leaky_relu        a, s a below 0                1, s below 0                     s at a = 0
    relu6             min(max(a, 0), 6)             [0 < a < 6]                      0 at a = 0 and 6
    hardtanh          a, within low and high        [low < a < high]                 0 at both
    hardsigmoid       min(max(a + 3, 0), 6) / 6     ⅙ [|a| < 3]                      0 at a = ±3
    hardswish         a hardsigmoid(a)              0, a/3 + ½, 1                    0 at a = −3, 1 at 3
    softshrink        a − t sign a, 0 to |a| = t    [|a| > t]                        0 at ±t
    hardshrink        a, 0 to |a| = t               [|a| > t]                        0 at ±t
    threshold         a, v to a = t                 [a > t]                          0 at t
    elu               a, c (eᵃ − 1) below 0         1, c eᵃ below                    c at a = 0
    celu              a, c (e^(a/c) − 1) below 0    1, e^(a/c) below                 1 at a = 0
    selu              s elu(a, c)                   s, s c eᵃ below                  s c at a = 0
    gelu              a Φ(a)                        Φ(a) + a e^(−a²/2) / √(2π)
    gelu_tanh         ½ a (1 + tanh u)              ½ (1 + tanh u) + ½ a (1 − tanh² u) u′
    silu              a σ(a)                        σ(a) (1 + a (1 − σ(a)))
    mish              a p,  p = tanh(ln(1 + eᵃ))    p + a (1 − p²) σ(a)
    softmax           eᵃ / Σ eᵃ                     (da = y ⊙ (dy − Σ y dy): no single φ′)
    log_softmax       a − ln Σ eᵃ                   (da = dy − eʸ Σ dy)

`prelu` learns the slope below 0. The gated units `glu`, `reglu`, `geglu` and `swiglu` multiply one half of the features
with an activation of the other half.
"""

from bpjax.layers.activations.below_zero import celu, elu, leaky_relu, selu
from bpjax.layers.activations.elementwise import elementwise
from bpjax.layers.activations.gated import gated, geglu, glu, reglu, swiglu
from bpjax.layers.activations.piecewise import (
    hardshrink,
    hardsigmoid,
    hardswish,
    hardtanh,
    relu,
    relu6,
    softshrink,
    threshold,
)
from bpjax.layers.activations.prelu import Slopes, prelu
from bpjax.layers.activations.sigmoids import (
    identity,
    log_sigmoid,
    scaled_sigmoid,
    sigmoid,
    softplus,
    softsign,
    tanh,
    tanhshrink,
)
from bpjax.layers.activations.softmax import log_softmax, softmax
from bpjax.layers.activations.times_probability import gelu, gelu_tanh, mish, silu

__all__ = [
    "Slopes",
    "celu",
    "elementwise",
    "elu",
    "gated",
    "geglu",
    "gelu",
    "gelu_tanh",
    "glu",
    "hardshrink",
    "hardsigmoid",
    "hardswish",
    "hardtanh",
    "identity",
    "leaky_relu",
    "log_sigmoid",
    "log_softmax",
    "mish",
    "prelu",
    "reglu",
    "relu",
    "relu6",
    "scaled_sigmoid",
    "selu",
    "sigmoid",
    "silu",
    "softmax",
    "softplus",
    "softshrink",
    "softsign",
    "swiglu",
    "tanh",
    "tanhshrink",
    "threshold",
]
