"""Scaled dot-product attention from queries, keys and values, computed whole or in blocks.

Axes: N examples, H heads, T queries, S keys, F features of a head; q (N, H, T, F), k and v (N, H, S, F).

    forward    S = q kᵀ / √F + m + b     P = softmax(S) over the keys     o = P′ v
    backward   dv = P′ᵀ do     dP = r′ ⊙ (do vᵀ)     dS = P ⊙ (dP − D)     dq = dS k / √F     dk = dSᵀ q / √F

with D = Σₛ P ⊙ dP, one value per row, which equals Σ_f do ⊙ o and so does not require a whole row of P. What is added,
m and b, and the dropout r′ = r / (1 − p), P′ = r′ ⊙ P, are those of a `Pattern`.
P is T × S. In blocks it is never formed as a whole: forward stores the logarithm of each row's softmax denominator,
L = ln Σₛ exp(S), and backward recomputes P = exp(S − L) block by block from q and k (Dao et al. 2022, FlashAttention,
algorithms 1 and 4; the running maximum and sum are from Milakov & Gimelshein 2018).

The score of a hidden key is −∞. A query that sees no key has P = 0: its o is 0, and so are the gradients through it.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np

from bpjax.layers.attention.pattern import Pattern, Tiles, join
from bpjax.types import Array
from bpjax.util.precision import widen


def attend(q: Array, k: Array, v: Array, pattern: Pattern, block: int | None) -> tuple[Array, Array]:
    """(o, softmax): the output (N, H, T, F), and the residual of the softmax that `attend_backward` needs.

    The residual is P (N, H, T, S) where queries and keys fit in one block, so that it need not be recomputed, and
    L (N, H, T) otherwise.

    Args:
        q: Queries (N, H, T, F).
        k: Keys (N, H, S, F).
        v: Values (N, H, S, F).
        pattern: Which keys are visible, and what is added to the scores.
        block: The largest number of queries and keys in a block; None for a single block.
    """
    if not _is_whole(q, k, block):
        return _attend_in_blocks(q, k, v, pattern, block)
    places = np.arange(q.shape[2]), np.arange(k.shape[2])
    scores = _scores(q, k, pattern.added(pattern.mask, *places))
    e = jnp.exp(scores - _finite(jax.lax.stop_gradient(scores.max(axis=-1, keepdims=True))))
    p = (e * _inverse(e.sum(axis=-1, keepdims=True))).astype(q.dtype)
    weights = _dropped(p, pattern.kept(q.shape[:2], *places, p.dtype))
    return _product("nhts,nhsf->nhtf", weights, v).astype(q.dtype), p


def attend_backward(
    q: Array, k: Array, v: Array, softmax: Array, d: Array, do: Array, pattern: Pattern, block: int | None
) -> tuple[Array, Array, Array, Array | None]:
    """(dq, dk, dv, dbias) from do (N, H, T, F) and the arguments and results of `attend`; dbias for a pattern with one.

    Args:
        q: Queries (N, H, T, F).
        k: Keys (N, H, S, F).
        v: Values (N, H, S, F).
        softmax: The residual that `attend` returned, P or L.
        d: D (N, H, T), the sum of do ⊙ o over the features.
        do: The cotangent of o.
        pattern: As in `attend`.
        block: The largest number of queries and keys in a block; None for a single block.
    """
    if not _is_whole(q, k, block):
        return _attend_in_blocks_backward(q, k, v, softmax, d[..., None], do, pattern, block)
    places = np.arange(q.shape[2]), np.arange(k.shape[2])
    kept = pattern.kept(q.shape[:2], *places, softmax.dtype)
    dq, dk, dv, ds = _from_probabilities(q, k, v, softmax, d[..., None], do, kept)
    dbias = None if pattern.bias is None else _by_distance(pattern, ds, *places)
    return dq.astype(q.dtype), dk.astype(k.dtype), dv.astype(v.dtype), dbias


def _from_probabilities(q, k, v, p, d, do, kept) -> tuple[Array, Array, Array, Array]:
    """(dq, dk, dv, dS) of the queries and keys of a block of P (N, H, t, s), half precision widened to float32.

    dk and dv are computed as transposed products, dkᵀ = qᵀ dS: a CPU takes 0.6 times as long for them as for dSᵀ q,
    where the larger matrix would have to be transposed.
    """
    dp = _dropped(_product("nhtf,nhsf->nhts", do, v), kept)
    ds = (widen(p) * (dp - d)).astype(q.dtype)  # the cotangent of q kᵀ / √F
    dq = _product("nhts,nhsf->nhtf", ds, k) / math.sqrt(q.shape[-1])
    dk = _product("nhtf,nhts->nhfs", q, ds) / math.sqrt(q.shape[-1])
    dv = _product("nhtf,nhts->nhfs", do, _dropped(p, kept).astype(do.dtype))
    return dq, jnp.swapaxes(dk, 2, 3), jnp.swapaxes(dv, 2, 3), ds


def _by_distance(pattern: Pattern, ds, rows, columns) -> Array:
    """The cotangent of the bias by distance, (H, T + S − 1): the sum of dS over the examples and over each diagonal."""
    of_pairs = widen(ds).sum(axis=0)
    start = jnp.zeros((of_pairs.shape[0], sum(pattern.lengths) - 1), of_pairs.dtype)
    return start.at[:, pattern.distances(rows, columns)].add(of_pairs)


def _attend_in_blocks(q, k, v, pattern, block):
    """Online softmax: each block of keys adds to running sums of a block of queries, scaled by the largest score."""
    tiles = Tiles(pattern, block)
    q_blocks, k_blocks, v_blocks = tiles.queries(q), tiles.keys(k), tiles.keys(v)

    def step(carry, pair):
        (i, j), (o, top, total) = pair, carry
        scores = _scores(q_blocks[i], k_blocks[j], tiles.added(i, j))
        now = jax.lax.stop_gradient(jnp.maximum(top[i], scores.max(axis=-1, keepdims=True)))  # o does not depend on it
        e, rescale = jnp.exp(scores - _finite(now)), jnp.exp(top[i] - _finite(now))
        sums = rescale * total[i] + e.sum(axis=-1, keepdims=True)
        weights = _dropped(e, pattern.kept(q.shape[:2], *tiles.places(i, j), e.dtype)).astype(q.dtype)
        means = rescale * o[i] + _product("nhts,nhsf->nhtf", weights, v_blocks[j])
        return (_put(o, means, i), _put(top, now, i), _put(total, sums, i)), None

    start = jnp.zeros(q_blocks.shape, widen(q[:0]).dtype)
    rows = start[..., :1]
    (o, top, total), _ = jax.lax.scan(step, (start, jnp.full_like(rows, -jnp.inf), rows), tiles.pairs())
    log_sum = _finite(top) + jnp.log(jnp.where(total == 0, 1.0, total))
    return join(o * _inverse(total), q.shape[2]).astype(q.dtype), join(log_sum, q.shape[2])[..., 0]


def _attend_in_blocks_backward(q, k, v, log_sum, d, do, pattern, block):
    """Each pair of blocks recomputes its part of P and adds to dq of its queries and dk, dv of its keys."""
    tiles = Tiles(pattern, block)
    q_blocks, do_blocks, k_blocks, v_blocks = tiles.queries(q), tiles.queries(do), tiles.keys(k), tiles.keys(v)
    log_sums, ds = tiles.queries(log_sum[..., None]), tiles.queries(d)

    def step(carry, pair):
        (i, j), (dq, dk, dv, dbias) = pair, carry
        qi, kj, places = q_blocks[i], k_blocks[j], tiles.places(i, j)
        p = jnp.exp(_scores(qi, kj, tiles.added(i, j)) - log_sums[i])
        kept = pattern.kept(q.shape[:2], *places, p.dtype)
        dqi, dkj, dvj, dsij = _from_probabilities(qi, kj, v_blocks[j], p, ds[i], do_blocks[i], kept)
        if dbias is not None:
            dbias = dbias + _by_distance(pattern, dsij, *places)
        return (_put(dq, dq[i] + dqi, i), _put(dk, dk[j] + dkj, j), _put(dv, dv[j] + dvj, j), dbias), None

    start = [jnp.zeros(blocks.shape, widen(q[:0]).dtype) for blocks in (q_blocks, k_blocks, v_blocks)]
    dbias = None if pattern.bias is None else jnp.zeros(pattern.bias.shape, widen(q[:0]).dtype)
    (dq, dk, dv, dbias), _ = jax.lax.scan(step, (*start, dbias), tiles.pairs())
    return (
        join(dq, q.shape[2]).astype(q.dtype),
        join(dk, k.shape[2]).astype(k.dtype),
        join(dv, v.shape[2]).astype(v.dtype),
        dbias,
    )


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


def _dropped(weights, kept):
    return weights if kept is None else weights * kept


def _scores(q, k, added: list):
    """q kᵀ / √F plus what is added (N, H, t, s), half precision widened to float32.

    −∞ is added, not selected: on a CPU XLA fuses the addition, but no selection, with the product and the softmax.
    """
    scores = _product("nhtf,nhsf->nhts", q, k) / math.sqrt(q.shape[-1])
    for term in added:
        scores = scores + term.astype(scores.dtype)
    return scores
