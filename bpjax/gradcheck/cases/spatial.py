"""Cases of layers that change the size of an image, and of convolutions that pad with values of x."""

from bpjax.gradcheck.cases.case import LayerCase
from bpjax.layers.convolution.conv import conv
from bpjax.layers.convolution.separable import depthwise_conv, separable_conv
from bpjax.layers.spatial.padding import pad
from bpjax.layers.spatial.pixel_shuffle import pixel_shuffle, pixel_unshuffle
from bpjax.layers.spatial.upsample import upsample

CASES: dict[str, LayerCase] = {
    "pad(((1, 2), (-1, 0)), value=0.5)": LayerCase(pad(((1, 2), (-1, 0)), value=0.5), (2, 3, 1)),
    "pad(((2, 1),), 'reflect')": LayerCase(pad(((2, 1),), "reflect"), (3, 2)),
    "pad(((2, 1), (0, 1)), 'replicate')": LayerCase(pad(((2, 1), (0, 1)), "replicate"), (2, 2, 1)),
    "pad(2, 'circular')": LayerCase(pad(2, "circular"), (3, 2)),
    "upsample(2)": LayerCase(upsample(2), (2, 2, 1)),
    "upsample(size=(3, 5), nearest-exact)": LayerCase(upsample(size=(3, 5), method="nearest-exact"), (2, 3, 1)),
    "upsample(1.5, linear)": LayerCase(upsample(1.5, method="linear"), (3, 2)),
    "upsample(size=(5, 2), linear, align_corners)": LayerCase(
        upsample(size=(5, 2), method="linear", align_corners=True), (2, 3, 1)
    ),
    "pixel_shuffle(2)": LayerCase(pixel_shuffle(2), (1, 2, 4)),
    "pixel_unshuffle(2)": LayerCase(pixel_unshuffle(2), (4, 2)),
    "conv(2, (3, 2), padding_mode='reflect')": LayerCase(conv(2, (3, 2), padding_mode="reflect"), (2, 3, 1)),
    "conv(1, 2, ((2, 1),), padding_mode='circular')": LayerCase(
        conv(1, 2, padding=((2, 1),), padding_mode="circular"), (3, 2)
    ),
    "conv(2, 2, 'CAUSAL', stride 2, dilation 2, groups 2)": LayerCase(
        conv(2, 2, 2, "CAUSAL", dilation=2, groups=2), (4, 4)
    ),
    "depthwise_conv(2, 'CAUSAL', multiplier=2)": LayerCase(depthwise_conv(2, padding="CAUSAL", multiplier=2), (3, 2)),
    "separable_conv(2, (2, 2))": LayerCase(separable_conv(2, (2, 2)), (2, 2, 2)),
}
