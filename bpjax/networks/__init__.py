"""Named networks, a few lines each."""

from bpjax.networks.char_rnn import char_rnn
from bpjax.networks.deep_residual import deep_residual
from bpjax.networks.encoder_decoder import decoder_block, encoder_decoder
from bpjax.networks.lenet import lenet
from bpjax.networks.mlp import mlp
from bpjax.networks.resnet import resnet
from bpjax.networks.transformer import transformer, transformer_block
from bpjax.networks.two_spirals import two_spirals_net

__all__ = [
    "char_rnn",
    "decoder_block",
    "deep_residual",
    "encoder_decoder",
    "lenet",
    "mlp",
    "resnet",
    "transformer",
    "transformer_block",
    "two_spirals_net",
]
