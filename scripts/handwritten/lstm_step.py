"""One step of an LSTM, gates in the order i, f, g, o."""
import jax
import jax.numpy as jnp


def gates(w, u, b, x, h):
    return jnp.split(x @ w + h @ u + b, 4, axis=-1)


@jax.custom_vjp
def lstm_step(w, u, b, x, h, c):
    zi, zf, zg, zo = gates(w, u, b, x, h)
    i = jax.nn.sigmoid(zi)
    f = jax.nn.sigmoid(zf)
    g = jnp.tanh(zg)
    o = jax.nn.sigmoid(zo)
    kept = f * c
    new = i * g
    c_next = kept + new
    h_next = o * jnp.tanh(c_next)
    return h_next, c_next


def forward(w, u, b, x, h, c):
    return lstm_step(w, u, b, x, h, c), (w, u, b, x, h, c)


def backward(residuals, cotangents):
    w, u, b, x, h, c = residuals
    dh_next, dc_next = cotangents
    zi, zf, zg, zo = gates(w, u, b, x, h)
    i, f, o, g = jax.nn.sigmoid(zi), jax.nn.sigmoid(zf), jax.nn.sigmoid(zo), jnp.tanh(zg)
    tanh_c = jnp.tanh(f * c + i * g)
    do = dh_next * tanh_c
    dc_total = dc_next + dh_next * o * (1 - tanh_c**2)
    df = dc_total * c
    dc = dc_total * f
    di = dc_total * g
    dg = dc_total * i
    dzi = di * i * (1 - i)
    dzf = df * f * (1 - f)
    dzg = dg * (1 - g**2)
    dzo = do * o * (1 - o)
    dz = jnp.concatenate([dzi, dzf, dzg, dzo], axis=-1)
    return x.T @ dz, h.T @ dz, dz.sum(axis=0), dz @ w.T, dz @ u.T, dc


lstm_step.defvjp(forward, backward)
keys = jax.random.split(jax.random.key(2), 6)
function = lstm_step
arguments = tuple(
    jax.random.normal(key, shape) for key, shape in zip(keys, ((2, 12), (3, 12), (12,), (4, 2), (4, 3), (4, 3)))
)
