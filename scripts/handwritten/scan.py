"""A recurrent network over time by `lax.scan`, with backpropagation through time written as a reversed scan."""
import jax
import jax.numpy as jnp


def step(w, u, b, h, x):
    recurrent = h @ u
    a = x @ w + recurrent + b
    return jnp.tanh(a)


@jax.custom_vjp
def final_loss(w, u, b, h0, xs):
    def body(h, x):
        h = step(w, u, b, h, x)
        return h, h

    _, hs = jax.lax.scan(body, h0, xs)
    return jnp.sum(hs**2) / 2


def forward(w, u, b, h0, xs):
    def body(h, x):
        new = step(w, u, b, h, x)
        return new, (h, new)

    _, (before, after) = jax.lax.scan(body, h0, xs)
    return jnp.sum(after**2) / 2, (w, u, xs, before, after)


def backward(residuals, dloss):
    w, u, xs, before, after = residuals

    def body(dh, t):
        x, h, new = t
        dnew = dh + dloss * new
        da = dnew * (1 - new**2)
        dh = da @ u.T
        return dh, (x.T @ da, h.T @ da, da.sum(0), da @ w.T)

    dh0, (dws, dus, dbs, dxs) = jax.lax.scan(body, jnp.zeros_like(after[0]), (xs, before, after), reverse=True)
    return dws.sum(0), dus.sum(0), dbs.sum(0), dh0, dxs


final_loss.defvjp(forward, backward)
keys = jax.random.split(jax.random.key(11), 5)
function = final_loss
arguments = tuple(
    0.6 * jax.random.normal(key, shape) for key, shape in zip(keys, ((2, 3), (3, 3), (3,), (4, 3), (6, 4, 2)))
)
