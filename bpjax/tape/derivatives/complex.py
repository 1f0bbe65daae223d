"""Real and imaginary parts.

JAX's cotangent of z = x + i y is ∂/∂x − i ∂/∂y of the real result: the pairing with a tangent is Re(dz · ż), without a
conjugate. A holomorphic function then has dz = dw · f′(z), and an imaginary part changes its sign.
"""

import jax.numpy as jnp
from jax import lax

from bpjax.tape.derivatives.arithmetic import nonzero
from bpjax.tape.derivatives.registry import derivative, sum_to


@derivative("complex")
def complex_(x, y, z, dz):
    """z = x + i y      dx = Re dz      dy = −Im dz."""
    return lambda: sum_to(lax.real(dz), jnp.shape(x)), lambda: sum_to(-lax.imag(dz), jnp.shape(y))


@derivative("real")
def real(z, x, dx):
    """x = Re z      dz = dx."""
    return lambda: lax.complex(dx, jnp.zeros_like(dx))


@derivative("imag")
def imag(z, y, dy):
    """y = Im z      dz = −i dy."""
    return lambda: lax.complex(jnp.zeros_like(dy), -dy)


@derivative("conj")
def conj(x, y, dy):
    """y = x*      dx = dy*, its real part for a real x."""
    return lambda: lax.conj(dy) if jnp.iscomplexobj(x) else lax.real(dy)


@derivative("sign")
def sign(x, y, dy):
    """y = x / |x|, 0 at 0      dx = i y* Im(dy y) / |x| for a complex x, 0 for a real one."""
    if not jnp.iscomplexobj(x):
        return None
    # the tangent is ẏ = i y Im(y* ẋ) / |x|, so Re(dy ẏ) = −Im(dy y) Im(y* ẋ) / |x| = Re(dx ẋ)
    return lambda: lax.conj(y) * lax.complex(jnp.zeros_like(abs(x)), lax.imag(dy * y) / nonzero(abs(x)))
