"""Attention: `scaled_dot_product_attention` and `nn.MultiheadAttention`."""

# ruff: noqa: E501  (a table)

import jax
import numpy as np
import torch
import torch.nn.functional as F

from bpjax.layers.attention.attention import attention, cross_attention
from bpjax.layers.attention.blocks import attend, attend_backward
from bpjax.layers.attention.heads import Attention
from bpjax.layers.attention.pattern import Pattern
from bpjax.layers.layer import Context
from pytorch_cases.case import Case, gradients, random, tensor

N, H, T, S, D = 2, 4, 6, 9, 8
VISIBLE = random(N, 1, T, S, seed=9) > -0.5
ADDED = random(1, H, T, S, seed=10)
PADDING = np.arange(S)[None, :] < np.array([S, 5])[:, None]


def product(name: str, pattern: dict, sizes=(T, S), new=True, group=1, **options):
    """The cases of scaled dot-product attention, whole and in blocks of 4."""
    t, s = sizes
    q, k, v = random(N, H, t, 5), random(N, H // group, s, 5, seed=1), random(N, H // group, s, 5, seed=2)
    do = random(N, H, t, 5, seed=3)

    def theirs():
        given = [tensor(a) for a in (q, k, v)]
        return gradients(F.scaled_dot_product_attention(*given, **options), *given, cotangent=do)

    def ours(block):
        arrays = [np.repeat(a, group if i else 1, axis=1) for i, a in enumerate((q, k, v))]
        made = Pattern((t, s), **pattern)
        o, softmax = attend(*map(jax.numpy.asarray, arrays), made, block)
        d = (do * np.asarray(o)).sum(-1)
        dq, *dkv, _ = attend_backward(*map(jax.numpy.asarray, arrays), softmax, d, do, made, block)
        return [o, dq, *(np.asarray(g).reshape(N, H // group, group, s, 5).sum(2) for g in dkv)]

    for block in (4, None):
        yield Case(f"scaled_dot_product_attention({name}), block={block}", theirs, lambda b=block: ours(b), new)


def multihead(name: str, layer, new=True, kdim=None, mask=None, cross=False, **options):
    """`nn.MultiheadAttention` with its weights in our layer; our keys have no bias."""
    torch.manual_seed(0)
    module = torch.nn.MultiheadAttention(D, H, batch_first=True, dtype=torch.float64, kdim=kdim, vdim=kdim)
    x, memory, dy = (
        random(N, S if not cross else T, D),
        random(N, S, kdim or D, seed=1),
        random(N, S if not cross else T, D, seed=2),
    )
    if kdim is None:
        w = module.in_proj_weight.detach().chunk(3)
    else:
        w = [p.detach() for p in (module.q_proj_weight, module.k_proj_weight, module.v_proj_weight)]
    with torch.no_grad():
        module.in_proj_bias.copy_(torch.tensor(random(3 * D, seed=5)))
        module.out_proj.bias.copy_(torch.tensor(random(D, seed=6)))
    bias = module.in_proj_bias.detach().numpy().reshape(3, D)
    params = Attention(
        *(a.numpy().T for a in w), module.out_proj.weight.detach().numpy().T, bias[0], bias[2],
        module.out_proj.bias.detach().numpy(),
    )  # fmt: skip
    params = jax.tree.map(jax.numpy.asarray, params)

    def theirs():
        given = [tensor(x), tensor(memory)] if cross else [tensor(x)]
        source = given[1] if cross else given[0]
        y = module(given[0], source, source, need_weights=False, **options)[0]
        return gradients(y, *given, module.out_proj.weight, cotangent=dy)

    def ours():
        given = (x, memory) if cross else x
        y, residuals = layer.forward_in(Context(mask=mask, memory_mask=mask), params, given)
        dparams, dx = layer.backward(params, residuals, dy)
        return [y, *(dx if cross else [dx]), np.asarray(dparams.w_o).T]

    yield Case(f"MultiheadAttention({name})", theirs, ours, new)


t = torch.tensor
TRIANGLE = np.tri(S, dtype=bool)
CASES = [
    *product("", {}, new=False),
    *product("is_causal=True", {"causal": True}, (T, T), new=False, is_causal=True),
    *product("is_causal=True, T < S", {"causal": True}, is_causal=True),
    *product("is_causal=True, T > S", {"causal": True}, (S, T), is_causal=True),
    *product(
        "causal_lower_right", {"causal": True, "offset": S - T},
        attn_mask=t(np.tri(T, S, S - T, dtype=bool)),
    ),
    *product("boolean attn_mask", {"mask": jax.numpy.asarray(VISIBLE)}, attn_mask=t(VISIBLE)),
    *product("additive attn_mask", {"mask": jax.numpy.asarray(ADDED)}, attn_mask=t(ADDED)),
    *product("enable_gqa=True", {}, group=2, enable_gqa=True),
    *product("enable_gqa=True, one head of keys", {}, group=4, enable_gqa=True),
    *product(
        "sliding window", {"causal": True, "window": 3}, (S, S),
        attn_mask=t(TRIANGLE & ~np.tri(S, k=-3, dtype=bool)),
    ),
    *multihead("", attention(H), new=False),
    *multihead("key_padding_mask", attention(H), new=False, mask=PADDING, key_padding_mask=t(~PADDING)),
    *multihead("boolean attn_mask", attention(H), mask=TRIANGLE[None], attn_mask=t(~TRIANGLE)),
    *multihead("additive attn_mask", attention(H, block=4), mask=random(1, S, S, seed=8), attn_mask=t(random(1, S, S, seed=8)[0])),
    *multihead("cross", cross_attention(H), new=False, cross=True),
    *multihead("cross, kdim=6", cross_attention(H, block=4), new=False, cross=True, kdim=6),
    *multihead("cross, key_padding_mask", cross_attention(H), new=False, cross=True, mask=PADDING, key_padding_mask=t(~PADDING)),
    Case("MultiheadAttention(add_bias_kv=True)", lambda: []),
    Case("MultiheadAttention(add_zero_attn=True)", lambda: []),
    Case("MultiheadAttention(need_weights=True)", lambda: []),
]  # fmt: skip
