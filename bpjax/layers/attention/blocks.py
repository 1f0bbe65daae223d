"""Scaled dot-product attention from queries, keys and values, computed whole or in blocks.

Axes: N examples, T queries, S keys, H heads, F features of a head; q (N, T, H, F), k and v (N, S, H, F).

    forward    S = q kᵀ / √F     P = softmax(S) over the keys     o = P v
    backward   dv = Pᵀ do     dP = do vᵀ     dS = P ⊙ (dP − D)     dq = dS k / √F     dk = dSᵀ q / √F

with D = Σₛ P ⊙ dP, one value per row, which equals Σ_f do ⊙ o and so does not require a whole row of P.
P is T × S. In blocks it is never formed as a whole: forward stores the logarithm of each row's softmax denominator,
L = ln Σₛ exp(S), and backward recomputes P = exp(S − L) block by block from q and k (Dao et al. 2022, FlashAttention,
algorithms 1 and 4; the running maximum and sum are from Milakov & Gimelshein 2018).

A query that sees no key has P = 0: its o is 0, and so are the gradients through it.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np

from bpjax.types import Array
from bpjax.util.precision import widen

HIDDEN = -1e30
"""The score of a key that is hidden from a query: finite, so that ∞ − ∞ cannot occur, and its exp is 0."""


def attend(q: Array, k: Array, v: Array, mask: Array | None, causal: bool, block: int | None) -> tuple[Array, Array]:
    """(o, softmax): the output (N, T, H, F), and the residual of the softmax that `attend_backward` needs.

    The residual is P (N, H, T, S) where queries and keys fit in one block, so that it need not be recomputed, and
    L (N, H, T) otherwise.

    Args:
        q: Queries (N, T, H, F).
        k: Keys (N, S, H, F).
        v: Values (N, S, H, F).
        mask: (N, S), true where a key is visible; None where all are.
        causal: Whether query t sees only the keys 0 … t.
        block: The largest number of queries and keys in a block; None for a single block.
    """
    if _is_whole(q, k, block):
        scores = _scores(q, k, _visible(mask, causal, np.arange(q.shape[1]), np.arange(k.shape[1])))
        top = jax.lax.stop_gradient(scores.max(axis=-1, keepdims=True))
        e = jnp.exp(scores - top)
        p = (e * jnp.where(top == HIDDEN, 0.0, 1 / e.sum(axis=-1, keepdims=True))).astype(q.dtype)
        return _product("nhts,nshf->nthf", p, v).astype(q.dtype), p
    return _attend_in_blocks(q, k, v, mask, causal, block)


def attend_backward(
    q: Array,
    k: Array,
    v: Array,
    o: Array,
    softmax: Array,
    do: Array,
    mask: Array | None,
    causal: bool,
    block: int | None,
) -> tuple[Array, Array, Array]:
    """(dq, dk, dv) from do (N, T, H, F) and the arguments and results of `attend`.

    Args:
        q: Queries (N, T, H, F).
        k: Keys (N, S, H, F).
        v: Values (N, S, H, F).
        o: The output of `attend` (N, T, H, F).
        softmax: The residual that `attend` returned, P or L.
        do: The cotangent of o.
        mask: As in `attend`; likewise `causal` and `block`.
        causal: Whether query t sees only the keys 0 … t.
        block: The largest number of queries and keys in a block; None for a single block.
    """
    d = jnp.sum(widen(do) * widen(o), axis=-1).transpose(0, 2, 1)[..., None]  # (N, H, T, 1)
    if not _is_whole(q, k, block):
        return _attend_in_blocks_backward(q, k, v, softmax, d, do, mask, causal, block)
    dq, dk, dv = _from_probabilities(q, k, v, softmax, d, do)
    return dq.astype(q.dtype), dk.astype(k.dtype), dv.astype(v.dtype)


def _from_probabilities(q, k, v, p, d, do) -> tuple[Array, Array, Array]:
    """(dq, dk, dv) of the queries and keys of a block of P (N, H, t, s), half precision widened to float32."""
    dp = _product("nthf,nshf->nhts", do, v)
    ds = (widen(p) * (dp - d) / math.sqrt(q.shape[-1])).astype(q.dtype)  # the cotangent of q kᵀ
    dq, dk = _product("nhts,nshf->nthf", ds, k), _product("nhts,nthf->nshf", ds, q)
    return dq, dk, _product("nhts,nthf->nshf", p.astype(do.dtype), do)


def _attend_in_blocks(q, k, v, mask, causal, block):
    """Online softmax: each block of keys adds to running sums of a block of queries, scaled by the largest score."""
    tiles = _Tiles(q.shape[1], k.shape[1], causal, block)
    q_blocks, k_blocks, v_blocks = tiles.queries(q), tiles.keys(k), tiles.keys(v)
    mask_blocks = tiles.mask(mask)

    def step(carry, pair):
        (i, j), (o, top, total) = pair, carry
        scores = _scores(q_blocks[i], k_blocks[j], tiles.visible(mask_blocks, i, j))
        now = jax.lax.stop_gradient(jnp.maximum(top[i], scores.max(axis=-1, keepdims=True)))  # o does not depend on it
        e, rescale = jnp.exp(scores - now), jnp.exp(top[i] - now)
        sums = rescale * total[i] + e.sum(axis=-1, keepdims=True)
        means = _as_queries(rescale) * o[i] + _product("nhts,nshf->nthf", e.astype(q.dtype), v_blocks[j])
        return (_put(o, means, i), _put(top, now, i), _put(total, sums, i)), None

    start = jnp.zeros(q_blocks.shape, widen(q[:0]).dtype)
    rows = jnp.swapaxes(start[..., :1], 2, 3)  # (blocks, N, H, t, 1)
    (o, top, total), _ = jax.lax.scan(step, (start, jnp.full_like(rows, HIDDEN), rows), tiles.pairs())
    blind = top == HIDDEN  # rows without a visible key: there exp(HIDDEN − HIDDEN) is 1
    o = o * jnp.swapaxes(jnp.where(blind, 0.0, 1 / total), 2, 3)
    log_sum = jnp.where(blind, 0.0, top + jnp.log(total))[..., 0]
    return _join(o, 1, q.shape[1]).astype(q.dtype), _join(log_sum, 2, q.shape[1])


def _attend_in_blocks_backward(q, k, v, log_sum, d, do, mask, causal, block):
    """Each pair of blocks recomputes its part of P and adds to dq of its queries and dk, dv of its keys."""
    tiles = _Tiles(q.shape[1], k.shape[1], causal, block)
    q_blocks, do_blocks, k_blocks, v_blocks = tiles.queries(q), tiles.queries(do), tiles.keys(k), tiles.keys(v)
    log_sums, ds = tiles.queries(log_sum[..., None], axis=2), tiles.queries(d, axis=2)
    mask_blocks = tiles.mask(mask)

    def step(carry, pair):
        (i, j), (dq, dk, dv) = pair, carry
        qi, kj = q_blocks[i], k_blocks[j]
        p = jnp.exp(_scores(qi, kj, tiles.visible(mask_blocks, i, j)) - log_sums[i])
        dqi, dkj, dvj = _from_probabilities(qi, kj, v_blocks[j], p, ds[i], do_blocks[i])
        return (_put(dq, dq[i] + dqi, i), _put(dk, dk[j] + dkj, j), _put(dv, dv[j] + dvj, j)), None

    start = [jnp.zeros(blocks.shape, widen(q[:0]).dtype) for blocks in (q_blocks, k_blocks, v_blocks)]
    (dq, dk, dv), _ = jax.lax.scan(step, tuple(start), tiles.pairs())
    return (
        _join(dq, 1, q.shape[1]).astype(q.dtype),
        _join(dk, 1, k.shape[1]).astype(k.dtype),
        _join(dv, 1, v.shape[1]).astype(v.dtype),
    )


class _Tiles:
    """T queries and S keys in blocks of nearly equal length, at most `block`; padding of the last block is hidden."""

    def __init__(self, queries: int, keys: int, causal: bool, block: int):
        self.causal, self.n_keys = causal, keys
        self.rows, self.columns = -(-queries // block), -(-keys // block)
        self.t, self.s = -(-queries // self.rows), -(-keys // self.columns)

    def queries(self, x, axis: int = 1):
        return _cut(x, axis, self.rows, self.t)

    def keys(self, x):
        return _cut(x, 1, self.columns, self.s)

    def mask(self, mask):
        """The mask in blocks of keys, (columns, N or 1, s), or None where all keys are visible."""
        if mask is None and self.columns * self.s == self.n_keys:
            return None
        return self.keys(jnp.ones((1, self.n_keys), bool) if mask is None else mask)

    def pairs(self):
        """Indices (i, j) of the pairs of blocks to compute: with `causal` those on and below the diagonal."""
        pairs = [(i, j) for i in range(self.rows) for j in range(self.columns) if j <= i or not self.causal]
        return tuple(jnp.asarray(np.array(pairs, np.int32).T))

    def visible(self, mask_blocks, i, j):
        mask = None if mask_blocks is None else mask_blocks[j]
        return _visible(mask, self.causal, i * self.t + jnp.arange(self.t), j * self.s + jnp.arange(self.s))


def _cut(x, axis: int, blocks: int, size: int):
    """An axis cut into blocks, with the blocks as first axis, (blocks, ..., size, ...); zeros pad the last block."""
    x = jnp.pad(x, [(0, blocks * size - x.shape[a] if a == axis else 0) for a in range(x.ndim)])
    return jnp.moveaxis(x.reshape(*x.shape[:axis], blocks, size, *x.shape[axis + 1 :]), axis, 0)


def _join(x, axis: int, length: int):
    """The inverse of `_cut`."""
    x = jnp.moveaxis(x, 0, axis)
    x = x.reshape(*x.shape[:axis], -1, *x.shape[axis + 2 :])
    return jax.lax.slice_in_dim(x, 0, length, axis=axis)


def _put(blocks, value, i):
    return jax.lax.dynamic_update_index_in_dim(blocks, value, i, 0)


def _as_queries(row):
    """One value per row, (N, H, t, 1), as (N, t, H, 1)."""
    return row.transpose(0, 2, 1, 3)


def _is_whole(q, k, block: int | None) -> bool:
    return block is None or max(q.shape[1], k.shape[1]) <= block


def _product(subscripts: str, a, b):
    return jnp.einsum(subscripts, a, b, preferred_element_type=widen(a[:0]).dtype)


def _scores(q, k, visible):
    """q kᵀ / √F (N, H, t, s), half precision widened to float32, `HIDDEN` where a key is hidden."""
    scores = _product("nthf,nshf->nhts", q, k) / math.sqrt(q.shape[-1])
    return scores if visible is None else jnp.where(visible, scores, HIDDEN)


def _visible(mask, causal: bool, rows, columns):
    """Which keys each query sees, booleans (N or 1, 1, t or 1, s), or None where all see all."""
    visible = None if mask is None else mask[:, None, None, :]
    if not causal:
        return visible
    before = (columns[None, :] <= rows[:, None])[None, None]
    return before if visible is None else visible & before
