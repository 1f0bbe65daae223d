"""A one-dimensional convolution written with slices, then a bias and a leaky rectifier."""
import jax
import jax.numpy as jnp

WIDTH = 3


@jax.custom_vjp
def convolution(x, kernel, bias):
    length = x.shape[1] - WIDTH + 1
    first = x[:, 0:length] * kernel[0]
    second = x[:, 1 : 1 + length] * kernel[1]
    third = x[:, 2 : 2 + length] * kernel[2]
    total = first + second + third
    shifted = total + bias
    return jnp.where(shifted > 0, shifted, 0.1 * shifted)


def forward(x, kernel, bias):
    return convolution(x, kernel, bias), (x, kernel, bias)


def backward(residuals, dy):
    x, kernel, bias = residuals
    length = x.shape[1] - WIDTH + 1
    windows = [x[:, k : k + length] for k in range(WIDTH)]
    shifted = sum(windows[k] * kernel[k] for k in range(WIDTH)) + bias
    slope = jnp.where(shifted > 0, 1.0, 0.1)
    dz = dy * slope
    dbias = dz.sum()
    dkernel = jnp.stack([(windows[k] * dz).sum() for k in range(WIDTH)])
    dx = jnp.zeros_like(x)
    dx = dx.at[:, 0:length].add(dz * kernel[0])
    dx = dx.at[:, 1 : 1 + length].add(dz * kernel[1])
    dx = dx.at[:, 2 : 2 + length].add(dz * kernel[2])
    return dx, dkernel, dbias


convolution.defvjp(forward, backward)
keys = jax.random.split(jax.random.key(3), 3)
function = convolution
arguments = (jax.random.normal(keys[0], (4, 9)), jax.random.normal(keys[1], (3,)), jnp.asarray(0.2))
