"""A quadratic error over a pytree of weights, and plain optax loops on it."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

import bpjax as bp

CURVATURE = jnp.array([1.0, 3.0, 8.0])


def start(dtype="float64"):
    return bp.util.cast(
        {"w": bp.layers.Affine(jnp.array([[1.0, -1.0], [0.5, 2.0], [-0.3, 0.8]]), jnp.array([0.2, -0.4]))}, dtype
    )


def error(params):
    """A quadratic with three curvatures and a coupling."""
    w, b = params["w"]
    return 0.5 * jnp.sum(CURVATURE[:, None].astype(w.dtype) * w * w) + 0.5 * jnp.sum((b - w[0]) ** 2)


def plain_step(optimizer):
    """One step as in any optax loop."""

    def step(carry, _):
        params, state = carry
        value, grads = jax.value_and_grad(error)(params)
        updates, state = optimizer.update(grads, state, params, value=value)
        return (optax.apply_updates(params, updates), state), value

    return step


def run(optimizer, steps=12, params=None):
    """((params, state), values of the error) after some steps."""
    params = start() if params is None else params
    return jax.lax.scan(plain_step(optimizer), (params, optimizer.init(params)), None, length=steps)


def path(optimizer, steps):
    """((params, state) after every step, values of the error)."""
    step = plain_step(optimizer)

    def recorded(carry, _):
        carry, value = step(carry, None)
        return carry, (carry, value)

    params = start()
    return jax.lax.scan(recorded, (params, optimizer.init(params)), None, length=steps)[1]


def close(a, b, tolerance=1e-12):
    return all(
        np.allclose(x, y, rtol=tolerance, atol=tolerance)
        for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    )


def at(tree, i):
    """Entry i along the first axis of every array."""
    return jax.tree.map(lambda a: a[i], tree)
