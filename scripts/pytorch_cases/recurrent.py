"""Recurrent networks and embeddings: `nn.RNN`, `nn.GRU`, `nn.LSTM`, packed sequences, `F.embedding`."""

# ruff: noqa: E501  (a table)

import jax.numpy as jnp
import numpy as np
import torch
import torch.nn.functional as F

from bpjax.layers.activations import relu
from bpjax.layers.embedding import Embedding, embedding
from bpjax.layers.layer import Context
from bpjax.layers.recurrent.cells import elman
from bpjax.layers.recurrent.gated import Gru, gru, lstm
from bpjax.layers.recurrent.net_inputs import Recurrent
from bpjax.layers.recurrent.peephole import PeepholeLstm, peephole_lstm
from bpjax.layers.recurrent.recurrent import bidirectional, unroll
from pytorch_cases.case import Case, gradients, random, tensor

N, T, D, H, P = 3, 5, 4, 6, 2
LENGTHS = torch.tensor([5, 3, 1])
MASK = np.arange(T)[None, :] < LENGTHS.numpy()[:, None]
X = random(N, T, D)


def direction(module, suffix: str):
    """The weights of one direction as our params; PyTorch has two biases and transposed weights."""
    get = lambda name: getattr(module, f"{name}_l0{suffix}").detach().numpy()
    wx, wh = jnp.asarray(get("weight_ih").T), jnp.asarray(get("weight_hh").T)
    b, c = (get("bias_ih"), get("bias_hh")) if module.bias else (None, None)
    if isinstance(module, torch.nn.GRU):
        if b is None:
            return Gru(wx, wh, None, None)
        return Gru(wx, wh, jnp.asarray(b + np.concatenate([c[: 2 * H], np.zeros(H)])), jnp.asarray(c[2 * H :]))
    b = None if b is None else jnp.asarray(b + c)
    if getattr(module, "proj_size", 0):
        return PeepholeLstm(wx, wh, b, None, jnp.asarray(get("weight_hr").T))
    return Recurrent(wx, wh, b)


def network(name: str, kind, cell, new=False, packed=False, last=False, **options):
    """The outputs, the gradient by x and that by the input weights of a network in one or both directions."""
    torch.manual_seed(0)
    module = kind(D, H, batch_first=True, dtype=torch.float64, **options)
    both = module.bidirectional
    layer = bidirectional(cell, last=last) if both else unroll(cell, last=last)
    params = tuple(direction(module, s) for s in ("", "_reverse")) if both else direction(module, "")
    width = (2 if both else 1) * (getattr(module, "proj_size", 0) or H)
    dy = random(N, *([] if last else [T]), width, seed=1)

    def theirs():
        x = tensor(X)
        given = torch.nn.utils.rnn.pack_padded_sequence(x, LENGTHS, batch_first=True) if packed else x
        y, state = module(given)
        if last:
            final = state[0] if isinstance(state, tuple) else state
            y = torch.cat(list(final), dim=1)
        elif packed:
            y = torch.nn.utils.rnn.pad_packed_sequence(y, batch_first=True)[0]
        return gradients(y, x, module.weight_ih_l0, cotangent=dy)

    def ours():
        y, residuals = layer.forward_in(Context(mask=MASK if packed else None), params, jnp.asarray(X))
        dparams, dx = layer.backward(params, residuals, jnp.asarray(dy))
        return [y, dx, np.asarray((dparams[0] if both else dparams).wx).T]

    return Case(name, theirs, ours, new)


TOKENS = np.array([[0, 1, 2], [2, 0, 3]])
W = random(4, D, seed=2)
W[0] = 0


def embedded(padding):
    """An embedding with or without a padding token, whose row is 0."""
    dy = random(2, 3, D, seed=3)

    def theirs():
        w = tensor(W)
        return gradients(F.embedding(torch.tensor(TOKENS), w, padding_idx=padding), w, cotangent=dy)

    def ours():
        layer, params = embedding(4, D, padding=padding), Embedding(jnp.asarray(W))
        y, residuals = layer.forward(params, TOKENS)
        return [y, layer.backward(params, residuals, jnp.asarray(dy))[0].w]

    return Case(f"embedding(padding_idx={padding})", theirs, ours, padding is not None)


RNN, GRU, LSTM = torch.nn.RNN, torch.nn.GRU, torch.nn.LSTM
CASES = [
    network("RNN", RNN, elman(H)),
    network("RNN(nonlinearity='relu')", RNN, elman(H, relu), nonlinearity="relu"),
    network("GRU", GRU, gru(H)),
    network("LSTM", LSTM, lstm(H)),
    network("LSTM, bidirectional", LSTM, lstm(H), bidirectional=True),
    network("LSTM, last state", LSTM, lstm(H), last=True),
    *(
        network(f"{kind.__name__}(bias=False)", kind, cell, True, bias=False)
        for kind, cell in (
            (RNN, elman(H, use_bias=False)),
            (GRU, gru(H, use_bias=False)),
            (LSTM, lstm(H, use_bias=False)),
        )
    ),
    network("LSTM(proj_size)", LSTM, peephole_lstm(H, P, peepholes=False), True, proj_size=P),
    network(
        "LSTM(proj_size, bias=False), bidirectional",
        LSTM,
        peephole_lstm(H, P, peepholes=False, use_bias=False),
        True,
        proj_size=P,
        bias=False,
        bidirectional=True,
    ),
    *(
        network(f"{kind.__name__}, packed", kind, cell, True, packed=True)
        for kind, cell in ((RNN, elman(H)), (GRU, gru(H)), (LSTM, lstm(H)))
    ),
    *(
        network(f"{kind.__name__}, packed, bidirectional", kind, cell, True, packed=True, bidirectional=True)
        for kind, cell in ((RNN, elman(H)), (GRU, gru(H)), (LSTM, lstm(H)))
    ),
    *(
        network(
            f"{kind.__name__}, packed, last state, bidirectional",
            kind,
            cell,
            True,
            packed=True,
            last=True,
            bidirectional=True,
        )
        for kind, cell in ((RNN, elman(H)), (GRU, gru(H)), (LSTM, lstm(H)))
    ),
    network(
        "LSTM(proj_size), packed, last state",
        LSTM,
        peephole_lstm(H, P, peepholes=False),
        True,
        packed=True,
        last=True,
        proj_size=P,
    ),
    embedded(None),
    embedded(0),
    Case("embedding(max_norm)", lambda: []),
    Case("embedding(scale_grad_by_freq=True)", lambda: []),
    Case("embedding_bag", lambda: []),
]
