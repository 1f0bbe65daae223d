"""The cases of the registry for the tests of laws: some by themselves, families of small ones as one case.

A program for each of fifty small layers takes longest to compile; a family side by side is one program.
"""

import jax

import bpjax as bp
from bpjax.gradcheck.cases import activations, further, pooling, spatial
from bpjax.gradcheck.cases.case import LayerCase
from bpjax.gradcheck.registry import ACTIVATIONS, LAYERS

FAMILIES = {
    "activations": activations.CASES,
    "pooling": pooling.CASES,
    "spatial": spatial.CASES,
    "further": further.CASES,
}

NETWORKS = ("resnet", "lenet", "two_spirals_net", "char_rnn", "transformer", "encoder_decoder")
"""How the names of whole networks begin, whose parts are cases too."""


def side_by_side(cases) -> LayerCase:
    """Layers that do not touch each other, as one layer of tuples."""
    layers = [case.layer for case in cases]

    def init(key, in_shape):
        pairs = [f.init(k, s) for f, k, s in zip(layers, jax.random.split(key, len(layers)), in_shape, strict=True)]
        params, shapes = zip(*pairs, strict=True)
        return params, shapes

    def forward(params, x):
        pairs = [layer.forward(*given) for layer, *given in zip(layers, params, x, strict=True)]
        return tuple(zip(*pairs, strict=True))

    def backward(params, residuals, dy):
        pairs = [layer.backward(*given) for layer, *given in zip(layers, params, residuals, dy, strict=True)]
        return tuple(zip(*pairs, strict=True))

    def inputs(key, examples, in_shape):
        keys = jax.random.split(key, len(cases))
        return tuple(case.inputs(k, examples, case.in_shape) for case, k in zip(cases, keys, strict=True))

    layer = bp.Layer("side by side", init, forward, backward)
    return LayerCase(
        layer,
        tuple(case.in_shape for case in cases),
        inputs,
        cases[0].per_example,
        blocked=False,
        frozen=cases[0].frozen,
    )


def in_groups() -> dict[str, LayerCase]:
    """One case for each family and each combination of what its layers do to examples and params."""
    groups = {}
    for family, cases in FAMILIES.items():
        for case in cases.values():
            mixed, frozen = ", examples mixed" * (not case.per_example), ", some params frozen" * case.frozen
            groups.setdefault(f"{family}{mixed}{frozen}", []).append(case)
    return {name: side_by_side(cases) for name, cases in groups.items()}


GROUPS = in_groups()
ALONE = {name: case for name, case in LAYERS.items() if not any(name in family for family in FAMILIES.values())}
CASES = {**ALONE, **{name: LayerCase(layer, (6,)) for name, layer in ACTIVATIONS.items()}, **GROUPS}
