"""Cases of pooling with its options, one row an option."""

from bpjax.gradcheck.cases.case import LayerCase
from bpjax.layers.convolution.lp_pool import lp_pool
from bpjax.layers.convolution.pooling import average_pool, max_pool
from bpjax.layers.spatial.adaptive_pool import adaptive_average_pool, adaptive_max_pool

CASES: dict[str, LayerCase] = {
    "max_pool(2, 1, dilation=2)": LayerCase(max_pool(2, 1, dilation=2), (5, 2)),
    "max_pool((3, 2), 2, ceil_mode=True)": LayerCase(max_pool((3, 2), 2, ceil_mode=True), (4, 3, 1)),
    "average_pool((3, 2), 2, ceil_mode=True)": LayerCase(average_pool((3, 2), 2, ceil_mode=True), (4, 3, 1)),
    "average_pool(3, 2, ((1, 1),), count_include_pad=True)": LayerCase(
        average_pool(3, 2, ((1, 1),), count_include_pad=True), (4, 2)
    ),
    "average_pool(2, 1, divisor=3)": LayerCase(average_pool(2, 1, divisor=3), (3, 1)),
    "average_pool((2, 1, 2))": LayerCase(average_pool((2, 1, 2)), (2, 2, 2, 1)),
    "lp_pool(3.0, 2)": LayerCase(lp_pool(3.0, 2), (4, 2)),
    "lp_pool(2.0, (2, 2), 1, 'SAME')": LayerCase(lp_pool(2.0, (2, 2), 1, "SAME"), (2, 3, 1)),
    "lp_pool(1.0, 2)": LayerCase(lp_pool(1.0, 2), (4, 1)),
    "adaptive_average_pool((2, 3))": LayerCase(adaptive_average_pool((2, 3)), (3, 2, 1)),
    "adaptive_max_pool(2)": LayerCase(adaptive_max_pool(2), (5, 2)),
    "adaptive_max_pool((2, None, 1))": LayerCase(adaptive_max_pool((2, None, 1)), (3, 2, 2, 1)),
}
