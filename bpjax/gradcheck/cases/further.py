"""Cases of normalizations by other channels, maps of low rank or of two inputs, and mixtures of experts."""

from bpjax.gradcheck.cases.attention import with_memory
from bpjax.gradcheck.cases.case import LayerCase
from bpjax.layers.activations import tanh
from bpjax.layers.bilinear import bilinear
from bpjax.layers.combinators.chain import chain
from bpjax.layers.combinators.mixture import mixture_of_experts
from bpjax.layers.combinators.over_positions import over_positions
from bpjax.layers.dense import dense
from bpjax.layers.fourier import fourier_features
from bpjax.layers.low_rank import lora, low_rank
from bpjax.layers.normalization.instance import instance_norm
from bpjax.layers.normalization.layer import layer_norm, rms_norm
from bpjax.layers.normalization.response import global_response_norm, local_response_norm

CASES: dict[str, LayerCase] = {
    "instance_norm()": LayerCase(instance_norm(), (3, 2)),
    "layer_norm(axes=2)": LayerCase(layer_norm(axes=2), (2, 3)),
    "rms_norm(share=0.5)": LayerCase(rms_norm(share=0.5), (5,)),
    "rms_norm(axes=2)": LayerCase(rms_norm(axes=2), (2, 3)),
    "local_response_norm(3)": LayerCase(local_response_norm(3, alpha=0.5), (5,)),
    "local_response_norm(2), positions": LayerCase(local_response_norm(2, alpha=0.5, beta=1.5, k=2.0), (2, 3)),
    "global_response_norm()": LayerCase(global_response_norm(), (2, 2, 3), blocked=False),
    "bilinear(2)": LayerCase(bilinear(2), ((3,), (4,)), with_memory),
    "low_rank(4, 2)": LayerCase(low_rank(4, 2), (3,)),
    "lora(dense(3), 2, alpha=4)": LayerCase(lora(dense(3), 2, alpha=4), (4,), frozen=True),
    "fourier_features(3)": LayerCase(fourier_features(3, 0.3), (2,), frozen=True),
    "fourier_features(2, learn=True)": LayerCase(fourier_features(2, 0.3, learn=True), (2,)),
    "mixture_of_experts(dense, dense, dense)": LayerCase(
        mixture_of_experts(dense(2), chain(dense(2), tanh), dense(2)), (3,), blocked=False
    ),
    "mixture_of_experts(..., top=2) over positions": LayerCase(
        mixture_of_experts(*[over_positions(dense(2))] * 3, top=2), (2, 3), blocked=False
    ),
}
