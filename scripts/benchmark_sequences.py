"""Networks over sequences for `benchmark_layers.py`, each in `bpjax`, in ordinary JAX and in PyTorch.

The ordinary forward passes are written in plain `jax.numpy` and `jax.lax`: cells in a `scan`, attention by softmax.
"""

import math

import jax
import jax.numpy as jnp
from benchmark_networks import Case, cross_entropy, labels, normal, plain_cross_entropy, plain_squared_error

import bpjax as bp

TIME, WIDTH, SEQUENCES = 100, 64, 32


def recurrent_case(network, ordinary, kind: str, gates: int) -> Case:
    """A recurrent net of 64 units over 100 steps, 32 sequences, squared error at every step."""

    def torch(torch):
        class Outputs(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.net = getattr(torch.nn, kind)(WIDTH, WIDTH, batch_first=True)

            def forward(self, x):
                return self.net(x)[0]

        return Outputs()

    count = TIME * SEQUENCES * WIDTH * WIDTH * gates
    data = normal(1, SEQUENCES, TIME, WIDTH), normal(2, SEQUENCES, TIME, WIDTH)
    products = [(count, False), (count, True)]
    return Case(
        network, bp.squared_error, ordinary, plain_squared_error, torch, (TIME, WIDTH), *data, products
    )  # fmt: skip


def elman() -> Case:
    """Elman net."""

    def ordinary(p, x):
        def step(h, x):
            h = jnp.tanh(x @ p.wx + h @ p.wh + p.b)
            return h, h

        start = jnp.zeros((len(x), WIDTH), x.dtype)
        return jax.lax.scan(step, start, x.swapaxes(0, 1))[1].swapaxes(0, 1)

    return recurrent_case(bp.unroll(bp.layers.elman(WIDTH)), ordinary, "RNN", gates=1)


def plain_lstm(p, x):
    """The outputs of an LSTM, as anybody would write it."""

    def step(state, x):
        h, c = state
        i, f, g, o = jnp.split(x @ p.wx + h @ p.wh + p.b, 4, axis=-1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return (h, c), h

    start = (jnp.zeros((len(x), len(p.wh)), x.dtype),) * 2
    return jax.lax.scan(step, start, x.swapaxes(0, 1))[1].swapaxes(0, 1)


def lstm() -> Case:
    """LSTM."""
    return recurrent_case(bp.unroll(bp.lstm(WIDTH)), plain_lstm, "LSTM", gates=4)


def characters() -> Case:
    """Char-RNN: 64 characters, an embedding of 32 features, an LSTM of 128 units, 32 sequences of 64 steps."""
    vocabulary, features, units, examples, time = 64, 32, 128, 32, 64

    def ordinary(params, x):
        y = plain_lstm(params[1], params[0].w[x])
        return y @ params[2].w + params[2].b

    def torch(torch):
        class CharRnn(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.embedding = torch.nn.Embedding(vocabulary, features)
                self.lstm = torch.nn.LSTM(features, units, batch_first=True)
                self.output = torch.nn.Linear(units, vocabulary)

            def forward(self, x):
                return self.output(self.lstm(self.embedding(x))[0]).movedim(-1, 1)  # classes second, for its loss

        return CharRnn()

    network = bp.networks.char_rnn(vocabulary, features, (bp.lstm(units),))
    places = examples * time
    products = [(places * n, True) for n in (features * 4 * units, units * 4 * units, units * vocabulary)]
    data = labels(1, vocabulary, examples, time), labels(2, vocabulary, examples, time)
    return Case(network, cross_entropy, ordinary, plain_cross_entropy, torch, (time,), *data, products)


def plain_layer_norm(p, x):
    """Layer normalization, as anybody would write it."""
    mean = x.mean(axis=-1, keepdims=True)
    variance = ((x - mean) ** 2).mean(axis=-1, keepdims=True)
    return (x - mean) / jnp.sqrt(variance + 1e-5) * p.gain + p.bias


def plain_attention(p, x, memory, heads: int, causal: bool):
    """Softmax attention from x to the memory with the whole T × S matrix."""
    in_heads = lambda a: a.reshape(*a.shape[:2], heads, -1)
    q, k, v = in_heads(x @ p.w_q + p.b_q), in_heads(memory @ p.w_k), in_heads(memory @ p.w_v + p.b_v)
    scores = jnp.einsum("nqhd,nkhd->nhqk", q, k) / math.sqrt(q.shape[-1])
    if causal:
        scores = jnp.where(jnp.tril(jnp.ones(scores.shape[2:], bool)), scores, -jnp.inf)
    y = jnp.einsum("nhqk,nkhd->nqhd", jax.nn.softmax(scores), v).reshape(*x.shape[:2], -1)
    return y @ p.w_o + p.b_o


def plain_mlp(params, x):
    """The second half of a transformer block."""
    norm, up, _, down = params
    hidden = jax.nn.gelu(plain_layer_norm(norm, x) @ up.w + up.b, approximate=False)
    return x + hidden @ down.w + down.b


def transformer() -> Case:
    """Two causal transformer blocks, d = T = 128, 4 heads, 8 sequences."""
    width, time, heads, examples, blocks = 128, 128, 4, 8, 2

    def ordinary(params, x):
        for (norm, attention), mlp in params:
            y = plain_layer_norm(norm, x)
            x = plain_mlp(mlp, x + plain_attention(attention, y, y, heads, causal=True))
        return x

    def torch(torch):
        class Blocks(torch.nn.Module):
            def __init__(self):
                super().__init__()
                layer = lambda: torch.nn.TransformerEncoderLayer(width, heads, 4 * width, **TORCH_BLOCK)
                self.layers = torch.nn.ModuleList([layer() for _ in range(blocks)])
                self.mask = torch.nn.Transformer.generate_square_subsequent_mask(time)

            def forward(self, x):
                for layer in self.layers:
                    x = layer(x, src_mask=self.mask, is_causal=True)
                return x

        return Blocks()

    network = bp.layers.repeat(bp.networks.transformer_block(width, heads, causal=True), blocks)
    places = examples * time
    block = [3 * places * width * width, examples * time * (time + 1) * width, 9 * places * width * width]
    products = [(count, i > 0) for i, count in enumerate(block * blocks)]
    data = normal(1, examples, time, width), normal(2, examples, time, width)
    return Case(
        network, bp.squared_error, ordinary, plain_squared_error, torch, (time, width), *data, products,
        lambda p: bp.layers.unstack(p, blocks),
    )  # fmt: skip


TORCH_BLOCK = {"dropout": 0.0, "activation": "gelu", "batch_first": True, "norm_first": True}


def decoder() -> Case:
    """A decoder block with attention to a memory, d = T = S = 128, 4 heads, 8 sequences."""
    width, time, heads, examples = 128, 128, 4, 8

    def ordinary(params, inputs):
        ((norm, attention), (second, cross), mlp), (x, memory) = params, inputs
        y = plain_layer_norm(norm, x)
        x = x + plain_attention(attention, y, y, heads, causal=True)
        x = x + plain_attention(cross, plain_layer_norm(second, x), memory, heads, causal=False)
        return plain_mlp(mlp, x)

    def torch(torch):
        class Block(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.layer = torch.nn.TransformerDecoderLayer(width, heads, 4 * width, **TORCH_BLOCK)
                self.mask = torch.nn.Transformer.generate_square_subsequent_mask(time)

            def forward(self, inputs):
                return self.layer(*inputs, tgt_mask=self.mask, tgt_is_causal=True)

        return Block()

    square, scores = examples * time * width * width, examples * time * time * width
    products = [(3 * square, True), (scores, True), (square, True), (square, True), (2 * square, False)]
    products += [(2 * scores, True), (square, True), (8 * square, True)]
    data = (normal(1, examples, time, width), normal(3, examples, time, width)), normal(2, examples, time, width)
    in_shape = (time, width), (time, width)
    network = decoder_block(width, heads)
    return Case(network, bp.squared_error, ordinary, plain_squared_error, torch, in_shape, *data, products)


def decoder_block(features: int, heads: int) -> bp.Layer:
    """Causal self-attention, attention to the memory and an MLP, each after a norm and with a residual connection.

    forward    a = x + attention(norm(x))     h = a + cross_attention(norm(a), m)     y = h + mlp(norm(h))
    """
    itself, mlp = bp.networks.transformer_block(features, heads, causal=True).layers
    norm, cross = bp.layers.layer_norm(), bp.layers.cross_attention(heads)

    def init(key, in_shape):
        shape, keys = in_shape[0], jax.random.split(key, 4)
        across = norm.init(keys[1], shape)[0], cross.init(keys[2], in_shape)[0]
        return (itself.init(keys[0], shape)[0], across, mlp.init(keys[3], shape)[0]), shape

    def forward(params, inputs):
        x, memory = inputs
        a, itself_residuals = itself.forward(params[0], x)
        normed, norm_residuals = norm.forward(params[1][0], a)
        c, cross_residuals = cross.forward(params[1][1], (normed, memory))
        y, mlp_residuals = mlp.forward(params[2], a + c)
        return y, (itself_residuals, norm_residuals, cross_residuals, mlp_residuals)

    def backward(params, residuals, dy):
        dmlp, dh = mlp.backward(params[2], residuals[3], dy)
        dcross, (dnormed, dmemory) = cross.backward(params[1][1], residuals[2], dh)
        dnorm, da = norm.backward(params[1][0], residuals[1], dnormed)
        ditself, dx = itself.backward(params[0], residuals[0], dh + da)
        return (ditself, (dnorm, dcross), dmlp), (dx, dmemory)

    return bp.Layer("decoder block", init, forward, backward)
