"""Scaled dot-product attention from queries, keys and values, computed whole or in blocks.

Axes: N examples, H heads, T queries, S keys, F features of a head; q (N, H, T, F), k and v (N, H, S, F).

    forward    S = q kᵀ / √F     P = softmax(S) over the keys     o = P v
    backward   dv = Pᵀ do     dP = do vᵀ     dS = P ⊙ (dP − D)     dq = dS k / √F     dk = dSᵀ q / √F

with D = Σₛ P ⊙ dP, one value per row, which equals Σ_f do ⊙ o and so does not require a whole row of P.
P is T × S. In blocks it is never formed as a whole: forward stores the logarithm of each row's softmax denominator,
L = ln Σₛ exp(S), and backward recomputes P = exp(S − L) block by block from q and k (Dao et al. 2022, FlashAttention,
algorithms 1 and 4; the running maximum and sum are from Milakov & Gimelshein 2018).

The score of a hidden key is −∞. A query that sees no key has P = 0: its o is 0, and so are the gradients through it.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np

from bpjax.types import Array
from bpjax.util.precision import widen


def attend(q: Array, k: Array, v: Array, mask: Array | None, causal: bool, block: int | None) -> tuple[Array, Array]:
    """(o, softmax): the output (N, H, T, F), and the residual of the softmax that `attend_backward` needs.

    The residual is P (N, H, T, S) where queries and keys fit in one block, so that it need not be recomputed, and
    L (N, H, T) otherwise.

    Args:
        q: Queries (N, H, T, F).
        k: Keys (N, H, S, F).
        v: Values (N, H, S, F).
        mask: (N, S), true where a key is visible; None where all are.
        causal: Whether query t sees only the keys 0 … t.
        block: The largest number of queries and keys in a block; None for a single block.
    """
    if not _is_whole(q, k, block):
        return _attend_in_blocks(q, k, v, mask, causal, block)
    scores = _scores(q, k, _visible(mask, causal, np.arange(q.shape[2]), np.arange(k.shape[2])))
    e = jnp.exp(scores - _finite(jax.lax.stop_gradient(scores.max(axis=-1, keepdims=True))))
    p = (e * _inverse(e.sum(axis=-1, keepdims=True))).astype(q.dtype)
    return _product("nhts,nhsf->nhtf", p, v).astype(q.dtype), p


def attend_backward(
    q: Array,
    k: Array,
    v: Array,
    softmax: Array,
    d: Array,
    do: Array,
    mask: Array | None,
    causal: bool,
    block: int | None,
) -> tuple[Array, Array, Array]:
    """(dq, dk, dv) from do (N, H, T, F) and the arguments and results of `attend`.

    Args:
        q: Queries (N, H, T, F).
        k: Keys (N, H, S, F).
        v: Values (N, H, S, F).
        softmax: The residual that `attend` returned, P or L.
        d: D (N, H, T), the sum of do ⊙ o over the features.
        do: The cotangent of o.
        mask: As in `attend`; likewise `causal` and `block`.
        causal: Whether query t sees only the keys 0 … t.
        block: The largest number of queries and keys in a block; None for a single block.
    """
    if not _is_whole(q, k, block):
        return _attend_in_blocks_backward(q, k, v, softmax, d[..., None], do, mask, causal, block)
    dq, dk, dv = _from_probabilities(q, k, v, softmax, d[..., None], do)
    return dq.astype(q.dtype), dk.astype(k.dtype), dv.astype(v.dtype)


def _from_probabilities(q, k, v, p, d, do) -> tuple[Array, Array, Array]:
    """(dq, dk, dv) of the queries and keys of a block of P (N, H, t, s), half precision widened to float32.

    dk and dv are computed as transposed products, dkᵀ = qᵀ dS: a CPU takes 0.6 times as long for them as for dSᵀ q,
    where the larger matrix would have to be transposed.
    """
    dp = _product("nhtf,nhsf->nhts", do, v)
    ds = (widen(p) * (dp - d)).astype(q.dtype)  # the cotangent of q kᵀ / √F
    dq = _product("nhts,nhsf->nhtf", ds, k) / math.sqrt(q.shape[-1])
    dk = _product("nhtf,nhts->nhfs", q, ds) / math.sqrt(q.shape[-1])
    dv = _product("nhtf,nhts->nhfs", do, p.astype(do.dtype))
    return dq, jnp.swapaxes(dk, 2, 3), jnp.swapaxes(dv, 2, 3)


def _attend_in_blocks(q, k, v, mask, causal, block):
    """Online softmax: each block of keys adds to running sums of a block of queries, scaled by the largest score."""
    tiles = _Tiles(q.shape[2], k.shape[2], causal, block)
    q_blocks, k_blocks, v_blocks = tiles.queries(q), tiles.keys(k), tiles.keys(v)
    mask_blocks = tiles.mask(mask)

    def step(carry, pair):
        (i, j), (o, top, total) = pair, carry
        scores = _scores(q_blocks[i], k_blocks[j], tiles.visible(mask_blocks, i, j))
        now = jax.lax.stop_gradient(jnp.maximum(top[i], scores.max(axis=-1, keepdims=True)))  # o does not depend on it
        e, rescale = jnp.exp(scores - _finite(now)), jnp.exp(top[i] - _finite(now))
        sums = rescale * total[i] + e.sum(axis=-1, keepdims=True)
        means = rescale * o[i] + _product("nhts,nhsf->nhtf", e.astype(q.dtype), v_blocks[j])
        return (_put(o, means, i), _put(top, now, i), _put(total, sums, i)), None

    start = jnp.zeros(q_blocks.shape, widen(q[:0]).dtype)
    rows = start[..., :1]
    (o, top, total), _ = jax.lax.scan(step, (start, jnp.full_like(rows, -jnp.inf), rows), tiles.pairs())
    log_sum = _finite(top) + jnp.log(jnp.where(total == 0, 1.0, total))
    return _join(o * _inverse(total), q.shape[2]).astype(q.dtype), _join(log_sum, q.shape[2])[..., 0]


def _attend_in_blocks_backward(q, k, v, log_sum, d, do, mask, causal, block):
    """Each pair of blocks recomputes its part of P and adds to dq of its queries and dk, dv of its keys."""
    tiles = _Tiles(q.shape[2], k.shape[2], causal, block)
    q_blocks, do_blocks, k_blocks, v_blocks = tiles.queries(q), tiles.queries(do), tiles.keys(k), tiles.keys(v)
    log_sums, ds = tiles.queries(log_sum[..., None]), tiles.queries(d)
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
        _join(dq, q.shape[2]).astype(q.dtype),
        _join(dk, k.shape[2]).astype(k.dtype),
        _join(dv, v.shape[2]).astype(v.dtype),
    )


class _Tiles:
    """T queries and S keys in blocks of nearly equal length, at most `block`; padding of the last block is hidden."""

    def __init__(self, queries: int, keys: int, causal: bool, block: int):
        self.causal, self.n_keys = causal, keys
        self.rows, self.columns = -(-queries // block), -(-keys // block)
        self.t, self.s = -(-queries // self.rows), -(-keys // self.columns)

    def queries(self, x):
        return _cut(x, 2, self.rows, self.t)

    def keys(self, x):
        return _cut(x, 2, self.columns, self.s)

    def mask(self, mask):
        """The mask in blocks of keys, (columns, N or 1, s), or None where all keys are visible."""
        if mask is None and self.columns * self.s == self.n_keys:
            return None
        return _cut(jnp.ones((1, self.n_keys), bool) if mask is None else mask, 1, self.columns, self.s)

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


def _join(x, length: int):
    """The inverse of `_cut` for the axis of positions: (blocks, N, H, size, ...) to (N, H, length, ...)."""
    x = jnp.moveaxis(x, 0, 2)
    x = x.reshape(*x.shape[:2], -1, *x.shape[4:])
    return jax.lax.slice_in_dim(x, 0, length, axis=2)


def _put(blocks, value, i):
    return jax.lax.dynamic_update_index_in_dim(blocks, value, i, 0)


def _finite(top):
    """The largest score of a row, or 0 where it is −∞ because no key is visible: ∞ − ∞ would be NaN."""
    return jnp.where(top == -jnp.inf, 0.0, top)


def _inverse(total):
    """1 / total, or 0 where total is 0 because no key is visible."""
    return jnp.where(total == 0, 0.0, 1 / jnp.where(total == 0, 1.0, total))


def _is_whole(q, k, block: int | None) -> bool:
    return block is None or max(q.shape[2], k.shape[2]) <= block


def _product(subscripts: str, a, b):
    return jnp.einsum(subscripts, a, b, preferred_element_type=widen(a[:0]).dtype)


def _scores(q, k, visible):
    """q kᵀ / √F (N, H, t, s), half precision widened to float32, −∞ where a key is hidden.

    −∞ is added, not selected: on a CPU XLA fuses the addition, but no selection, with the product and the softmax.
    """
    scores = _product("nhtf,nhsf->nhts", q, k) / math.sqrt(q.shape[-1])
    return scores if visible is None else scores + jnp.where(visible, 0.0, -jnp.inf).astype(scores.dtype)


def _visible(mask, causal: bool, rows, columns):
    """Which keys each query sees, booleans (N or 1, 1, t or 1, s), or None where all see all."""
    visible = None if mask is None else mask[:, None, None, :]
    if not causal:
        return visible
    before = (columns[None, :] <= rows[:, None])[None, None]
    return before if visible is None else visible & before
