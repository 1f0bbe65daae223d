"""Arithmetic, powers and roots: the local derivative ∂z/∂x beside the operation."""

import jax.numpy as jnp
from jax import lax

from bpjax.tape.derivatives.registry import derivative, elementwise, sum_to


@elementwise("add", "add_any")
def add(x, y, z):
    """z = x + y      ∂z/∂x = 1      ∂z/∂y = 1."""
    return 1, 1


@elementwise("sub")
def sub(x, y, z):
    """z = x − y      ∂z/∂x = 1      ∂z/∂y = −1."""
    return 1, -1


@elementwise("mul")
def mul(x, y, z):
    """z = x y      ∂z/∂x = y      ∂z/∂y = x."""
    return y, x


@derivative("div")
def div(x, y, z, dz):
    """z = x / y      dx = dz / y      dy = −dx z, or −(Σ dz z) / y where y was repeated, with fewer quotients."""
    dx = dz / y
    if jnp.shape(y) == z.shape:
        return lambda: sum_to(dx, jnp.shape(x)), lambda: -dx * z
    return lambda: sum_to(dx, jnp.shape(x)), lambda: -sum_to(dz * z, jnp.shape(y)) / y


@elementwise("rem")
def rem(x, y, z):
    """z = x − y trunc(x / y)      ∂z/∂x = 1      ∂z/∂y = −trunc(x / y)."""
    return 1, lambda: -lax.sign(x / y) * lax.floor(abs(x / y))


@elementwise("neg")
def neg(x, y):
    """y = −x      dy/dx = −1."""
    return -1


@elementwise("abs")
def abs_(x, y):
    """y = |x|      dy/dx = 1 for x ≥ 0, −1 for x < 0, and x* / |x| for a complex x (0 at 0)."""
    if jnp.iscomplexobj(x):
        return lambda: lax.conj(x) / nonzero(y)
    return lambda: jnp.where(x >= 0, jnp.ones_like(x), -jnp.ones_like(x))


@elementwise("square")
def square(x, y):
    """y = x²      dy/dx = 2 x."""
    return lambda: 2 * x


@elementwise("one_minus_square")
def one_minus_square(x, y):
    """y = 1 − x²      dy/dx = −2 x."""
    return lambda: -2 * x


@elementwise("integer_pow")
def integer_pow(x, z, *, y):
    """z = xʸ, y an integer      dz/dx = y xʸ⁻¹."""
    if y == 0:
        return None
    return 1 if y == 1 else lambda: y * lax.integer_pow(x, y - 1)


@elementwise("pow")
def pow_(x, y, z):
    """z = xʸ      ∂z/∂x = y xʸ⁻¹      ∂z/∂y = z log x (0 at x = 0, y > 0)."""
    if jnp.issubdtype(jnp.result_type(y), jnp.integer):
        return lambda: _integer_slope(x, y, z), None
    return lambda: y * lax.pow(x, y - 1), lambda: z * lax.log(nonzero(x))


def _integer_slope(x, y, z):
    """Y xʸ⁻¹ for an array of integers y, 0 where y = 0."""
    exponent = jnp.broadcast_to(jnp.asarray(y, z.dtype), z.shape)
    slope = nonzero(exponent) * lax.pow(jnp.broadcast_to(x, z.shape), exponent - 1)
    return jnp.where(exponent == 0, jnp.zeros_like(z), slope)


@elementwise("sqrt")
def sqrt(x, y):
    """y = √x      dy/dx = 1 / (2 y)."""
    return lambda: 0.5 / y


@elementwise("rsqrt")
def rsqrt(x, y):
    """y = 1 / √x      dy/dx = −y / (2 x)."""
    return lambda: -0.5 * (y / x)


@elementwise("cbrt")
def cbrt(x, y):
    """y = ∛x      dy/dx = 1 / (3 y²)."""
    return lambda: (1 / 3) * lax.integer_pow(y, -2)


@elementwise("polynomial")
def polynomial(x, *rest):
    """y = Σₖ cₖ xᵏ      ∂y/∂x = Σₖ k cₖ xᵏ⁻¹      ∂y/∂cₖ = xᵏ."""
    *coefficients, y = rest

    def slope():
        total = jnp.zeros_like(y)
        for k in reversed(range(1, len(coefficients))):
            total = total * x + k * coefficients[k]
        return total

    powers = [1, x, *(lambda k=k: lax.integer_pow(x, k) for k in range(2, len(coefficients)))]
    return slope, *powers[: len(coefficients)]


def nonzero(x):
    """X with 1 in place of 0, for a factor that is multiplied by 0 there."""
    return jnp.where(x == 0, jnp.ones_like(x), x)
