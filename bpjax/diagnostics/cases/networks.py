"""Reference networks, and what they are checked at."""

from bpjax.diagnostics.cases.case import LayerCase
from bpjax.layers.activations import sigmoid
from bpjax.networks.mlp import mlp

CASES: dict[str, LayerCase] = {
    "mlp((5, 4, 3), output=sigmoid)": LayerCase(mlp((5, 4, 3), output=sigmoid), (5,)),
}
