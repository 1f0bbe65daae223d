"""Cases of reference networks."""

from bpjax.gradcheck.cases.case import LayerCase
from bpjax.layers.activations import sigmoid
from bpjax.networks.mlp import mlp
from bpjax.networks.two_spirals import two_spirals_net

CASES: dict[str, LayerCase] = {
    "mlp((5, 4, 3), output=sigmoid)": LayerCase(mlp((5, 4, 3), output=sigmoid), (5,)),
    "two_spirals_net((3, 2))": LayerCase(two_spirals_net((3, 2)), (2,), blocked=False),
}
