"""Cases of recurrent layers."""

import jax
import jax.numpy as jnp

from bpjax.gradcheck.cases.attention import padded
from bpjax.gradcheck.cases.case import LayerCase
from bpjax.layers.activations import relu, tanh
from bpjax.layers.attention.masked import masked
from bpjax.layers.combinators.chain import chain
from bpjax.layers.dense import dense
from bpjax.layers.recurrent.cells import elman, jordan
from bpjax.layers.recurrent.fir import fir
from bpjax.layers.recurrent.gated import LstmState, gru, lstm
from bpjax.layers.recurrent.normalized import layer_norm_lstm
from bpjax.layers.recurrent.peephole import peephole_lstm
from bpjax.layers.recurrent.recurrent import bidirectional, unroll
from bpjax.layers.recurrent.short_term import tsodyks_markram
from bpjax.layers.recurrent.stage import stage
from bpjax.networks.char_rnn import char_rnn


def _with_lstm_state(key, examples: int, in_shape):
    """A sequence and its initial state."""
    shapes = (in_shape[0], *in_shape[1])
    draws = [jax.random.normal(k, (examples, *s)) for k, s in zip(jax.random.split(key, 3), shapes, strict=True)]
    return draws[0], LstmState(*draws[1:])


def _tokens(key, examples: int, in_shape):
    return jax.random.randint(key, (examples, *in_shape), 0, 4, jnp.int32)


CASES: dict[str, LayerCase] = {
    "unroll(elman(3))": LayerCase(unroll(elman(3)), (4, 2)),
    "unroll(elman(2, relu), reverse=True, last=True)": LayerCase(
        unroll(elman(2, relu), reverse=True, last=True), (3, 2)
    ),
    "unroll(jordan(3, 2, decay=0.5))": LayerCase(unroll(jordan(3, 2, decay=0.5)), (4, 2)),
    "unroll(lstm(2))": LayerCase(unroll(lstm(2)), (4, 3)),
    "unroll(lstm(2), with_state=True)": LayerCase(
        unroll(lstm(2), with_state=True), ((3, 2), LstmState((2,), (2,))), _with_lstm_state, blocked=False
    ),
    "bidirectional(gru(2), last=True)": LayerCase(bidirectional(gru(2), last=True), (3, 2)),
    "unroll(stage(chain(dense(3), tanh, dense(2)), 2))": LayerCase(
        unroll(stage(chain(dense(3), tanh, dense(2)), 2)), (3, 2)
    ),
    "unroll(tsodyks_markram(2))": LayerCase(unroll(tsodyks_markram(2, 0.4, 3.0, 2.0)), (4, 2), blocked=False),
    "unroll(tsodyks_markram(2, order='after'))": LayerCase(
        unroll(tsodyks_markram(2, 0.4, 3.0, 2.0, order="after")), (4, 2), blocked=False
    ),
    "unroll(peephole_lstm(3, 2))": LayerCase(unroll(peephole_lstm(3, 2)), (4, 2)),
    "unroll(layer_norm_lstm(3))": LayerCase(unroll(layer_norm_lstm(3)), (4, 2)),
    "masked(bidirectional(lstm(2), last=True))": LayerCase(
        masked(bidirectional(lstm(2, use_bias=False), last=True)), (4, 2), padded
    ),
    "fir(2, 3)": LayerCase(fir(2, 3), (4, 2)),
    "char_rnn(4, 2, (gru(2),))": LayerCase(char_rnn(4, 2, (gru(2),)), (3,), _tokens),
}
