"""Rotary position embedding and the scores between rotated queries and keys."""
import jax
import jax.numpy as jnp

LENGTH, DIM = 5, 6


def tables():
    frequencies = 1.0 / 100.0 ** (jnp.arange(0, DIM, 2) / DIM)
    angles = jnp.arange(LENGTH)[:, None] * frequencies[None, :]
    return jnp.cos(angles), jnp.sin(angles)


def rotate(x):
    cos, sin = tables()
    x1, x2 = x[..., : DIM // 2], x[..., DIM // 2 :]
    y1 = x1 * cos - x2 * sin
    y2 = x1 * sin + x2 * cos
    return jnp.concatenate([y1, y2], axis=-1)


@jax.custom_vjp
def rope_scores(q, k):
    q_rotated = rotate(q)
    k_rotated = rotate(k)
    scores = q_rotated @ k_rotated.T
    return scores / DIM**0.5


def unrotate(dy):
    cos, sin = tables()
    dy1, dy2 = dy[..., : DIM // 2], dy[..., DIM // 2 :]
    dx1 = dy1 * cos + dy2 * sin
    dx2 = dy2 * cos - dy1 * sin
    return jnp.concatenate([dx1, dx2], axis=-1)


def backward(residuals, dscores):
    q, k = residuals
    ds = dscores / DIM**0.5
    dq_rotated = ds @ rotate(k)
    dk_rotated = ds.T @ rotate(q)
    return unrotate(dq_rotated), unrotate(dk_rotated)


rope_scores.defvjp(lambda q, k: (rope_scores(q, k), (q, k)), backward)
keys = jax.random.split(jax.random.key(7), 2)
function = rope_scores
arguments = tuple(jax.random.normal(key, (LENGTH, DIM)) for key in keys)
