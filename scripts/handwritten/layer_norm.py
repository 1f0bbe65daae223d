"""LayerNorm with the usual fused backward pass."""
import jax
import jax.numpy as jnp


@jax.custom_vjp
def layer_norm(x, gamma, beta):
    mean = jnp.mean(x, axis=-1, keepdims=True)
    centred = x - mean
    variance = jnp.mean(centred**2, axis=-1, keepdims=True)
    inverse_std = jax.lax.rsqrt(variance + 1e-5)
    hat = centred * inverse_std
    return hat * gamma + beta


def forward(x, gamma, beta):
    return layer_norm(x, gamma, beta), (x, gamma)


def backward(residuals, dy):
    x, gamma = residuals
    centred = x - jnp.mean(x, axis=-1, keepdims=True)
    inverse_std = jax.lax.rsqrt(jnp.mean(centred**2, axis=-1, keepdims=True) + 1e-5)
    hat = centred * inverse_std
    dgamma = jnp.sum(dy * hat, axis=0)
    dbeta = jnp.sum(dy, axis=0)
    dhat = dy * gamma
    from_mean = jnp.mean(dhat, axis=-1, keepdims=True)
    from_variance = hat * jnp.mean(dhat * hat, axis=-1, keepdims=True)
    dx = inverse_std * (dhat - from_mean - from_variance)
    return dx, dgamma, dbeta


layer_norm.defvjp(forward, backward)
keys = jax.random.split(jax.random.key(0), 3)
function = layer_norm
arguments = (jax.random.normal(keys[0], (6, 6)), 1 + 0.3 * jax.random.normal(keys[1], (6,)), jax.random.normal(keys[2], (6,)))
