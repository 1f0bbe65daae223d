"""A stable weighted log-sum-exp with a temperature, as a custom_jvp would not do it."""
import jax
import jax.numpy as jnp


@jax.custom_vjp
def soft_maximum(x, weights, temperature):
    scaled = x / temperature
    top = jax.lax.stop_gradient(jnp.max(scaled, axis=1))
    shifted = scaled - top[:, None]
    terms = weights * jnp.exp(shifted)
    total = jnp.sum(terms, axis=1)
    lse = jnp.log(total) + top
    return temperature * lse


def forward(x, weights, temperature):
    y = soft_maximum(x, weights, temperature)
    return y, (x, weights, temperature, y / temperature)


def backward(residuals, dy):
    x, weights, temperature, lse = residuals
    dlse = dy * temperature
    e = jnp.exp(x / temperature - lse[:, None])
    dscaled = dlse[:, None] * weights * e
    dweights = jnp.sum(dlse[:, None] * e, axis=0)
    dx = dscaled / temperature
    direct = jnp.sum(dy * lse)
    through_scaled = -jnp.sum(dscaled * x) / temperature**2
    dtemperature = direct + through_scaled
    return dx, dweights, dtemperature


soft_maximum.defvjp(forward, backward)
keys = jax.random.split(jax.random.key(10), 2)
function = soft_maximum
arguments = (jax.random.normal(keys[0], (4, 6)), 0.5 + jax.random.uniform(keys[1], (6,)), jnp.asarray(0.7))
