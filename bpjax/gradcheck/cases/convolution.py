"""Cases of convolutions and pooling."""

from bpjax.gradcheck.cases.case import LayerCase
from bpjax.layers.convolution.conv import conv, conv_transpose
from bpjax.layers.convolution.pooling import average_pool, max_pool
from bpjax.networks.lenet import lenet

CASES: dict[str, LayerCase] = {
    "conv(3, 2)": LayerCase(conv(3, 2), (4, 2)),
    "conv(2, (3, 2), stride=2)": LayerCase(conv(2, (3, 2), stride=2), (4, 5, 2)),
    "conv(4, (2, 2), 'VALID', dilation=2, groups=2, use_bias=False)": LayerCase(
        conv(4, (2, 2), padding="VALID", dilation=2, groups=2, use_bias=False), (4, 3, 4)
    ),
    "conv(4, (2, 3), groups=2), depthwise": LayerCase(conv(4, (2, 3), groups=2), (3, 4, 2)),
    "conv(2, (2, 1, 2), 'VALID')": LayerCase(conv(2, (2, 1, 2), padding="VALID"), (2, 2, 3, 2)),
    "conv_transpose(2, (3, 2), stride=(2, 1))": LayerCase(conv_transpose(2, (3, 2), stride=(2, 1)), (2, 3, 2)),
    "max_pool((2, 2))": LayerCase(max_pool((2, 2)), (4, 6, 2)),
    "max_pool((3, 2), stride=2, 'SAME')": LayerCase(max_pool((3, 2), stride=2, padding="SAME"), (5, 4, 2)),
    "average_pool((3, 2), stride=(2, 1), 'SAME')": LayerCase(average_pool((3, 2), (2, 1), "SAME"), (4, 3, 2)),
    "lenet(2, image=(4, 4, 1), ...)": LayerCase(lenet(2, (4, 4, 1), maps=(2, 2), hidden=(3,), kernel=2), (16,)),
}
