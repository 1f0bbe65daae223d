"""Cases of the family: normalization."""

from bpjax.diagnostics.cases.case import LayerCase
from bpjax.layers.normalization import group_norm, layer_norm, rms_norm

CASES: dict[str, LayerCase] = {
    "layer_norm()": LayerCase(layer_norm(), (5,)),
    "rms_norm() on (T, D)": LayerCase(rms_norm(), (4, 5)),
    "group_norm(2)": LayerCase(group_norm(2), (3, 2, 4)),
}
