"""Causal attention of one head; the gradient by all three arguments."""
import jax
import jax.numpy as jnp


def scores(q, k):
    causal = jnp.tril(jnp.ones((len(q), len(k)), bool))
    products = q @ k.T
    scaled = products / jnp.sqrt(q.shape[-1])
    return jnp.where(causal, scaled, -1e9)


def function(q, k, v):
    weights = jax.nn.softmax(scores(q, k), axis=-1)
    mixed = weights @ v
    return jnp.sum(jnp.tanh(mixed) ** 2)


def gradient(q, k, v):
    weights = jax.nn.softmax(scores(q, k), axis=-1)
    y = jnp.tanh(weights @ v)
    dy = 2 * y
    dmixed = dy * (1 - y**2)
    dv = weights.T @ dmixed
    dweights = dmixed @ v.T
    total = jnp.sum(dweights * weights, axis=-1, keepdims=True)
    dscores = weights * (dweights - total)
    allowed = jnp.tril(jnp.ones_like(dscores))
    dproducts = allowed * dscores / jnp.sqrt(q.shape[-1])
    dq = dproducts @ k
    dk = dproducts.T @ q
    return dq, dk, dv


keys = jax.random.split(jax.random.key(1), 3)
arguments = tuple(jax.random.normal(key, (5, 5)) for key in keys)
