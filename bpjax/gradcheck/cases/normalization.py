"""Cases of normalization layers."""

import numpy as np

from bpjax.gradcheck.cases.case import LayerCase
from bpjax.layers.normalization.batch import BatchStatistics, batch_norm
from bpjax.layers.normalization.group import group_norm
from bpjax.layers.normalization.layer import layer_norm, rms_norm
from bpjax.layers.normalization.statistics import with_statistics
from bpjax.layers.normalization.weight import weight_norm
from bpjax.networks.resnet import resnet

STATISTICS = (BatchStatistics(np.array([0.5, -0.25, 1.0]), np.array([0.5, 2.0, 1.0])),)  # type: ignore[arg-type]

CASES: dict[str, LayerCase] = {
    "layer_norm()": LayerCase(layer_norm(), (5,)),
    "rms_norm() on (T, D)": LayerCase(rms_norm(), (4, 5)),
    "group_norm(2)": LayerCase(group_norm(2), (3, 2, 4)),
    "batch_norm()": LayerCase(batch_norm(), (2, 3), per_example=False),
    "batch_norm() with statistics": LayerCase(with_statistics(batch_norm(), STATISTICS), (2, 3)),
    "weight_norm(3)": LayerCase(weight_norm(3), (5,)),
    "resnet(2, (2,))": LayerCase(resnet(2, (2,), image=None, norm=group_norm(1)), (3, 2, 1)),
}
