"""Cases of activations that are not in the registry's table of classical ones."""

from bpjax.gradcheck.cases.case import LayerCase
from bpjax.layers import activations
from bpjax.layers.activations import (
    celu,
    gated,
    geglu,
    glu,
    hardshrink,
    hardtanh,
    identity,
    prelu,
    reglu,
    softshrink,
    swiglu,
    threshold,
)
from bpjax.layers.layer import Layer

ELEMENTWISE: dict[str, Layer] = {
    "log_sigmoid": activations.log_sigmoid,
    "softsign": activations.softsign,
    "tanhshrink": activations.tanhshrink,
    "relu6": activations.relu6,
    "hardtanh(-0.5, 0.7)": hardtanh(-0.5, 0.7),
    "hardsigmoid": activations.hardsigmoid,
    "hardswish": activations.hardswish,
    "softshrink(0.4)": softshrink(0.4),
    "hardshrink(0.4)": hardshrink(0.4),
    "threshold(0.3, 2.0)": threshold(0.3, 2.0),
    "celu(0.7)": celu(0.7),
    "selu": activations.selu,
    "mish": activations.mish,
}

CASES: dict[str, LayerCase] = {
    **{name: LayerCase(layer, (6,)) for name, layer in ELEMENTWISE.items()},
    "log_softmax": LayerCase(activations.log_softmax, (6,)),
    "glu": LayerCase(glu, (6,)),
    "reglu": LayerCase(reglu, (6,)),
    "geglu on (T, D)": LayerCase(geglu, (2, 4)),
    "swiglu": LayerCase(swiglu, (6,)),
    "gated(identity)": LayerCase(gated(identity), (6,)),
    "prelu()": LayerCase(prelu(), (6,), blocked=False),
    "prelu(per_channel=True)": LayerCase(prelu(per_channel=True), (2, 3), blocked=False),
}
