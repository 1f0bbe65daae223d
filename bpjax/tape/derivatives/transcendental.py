"""Exponentials, logarithms, trigonometric and hyperbolic functions: the derivative beside the operation.

They serve a complex x as well: these functions are holomorphic, and JAX's cotangent dx = dy f′(x) has no conjugate.
"""

import math

import jax.numpy as jnp
from jax import lax

from bpjax.tape.derivatives.registry import Reciprocal, elementwise


@elementwise("exp")
def exp(x, y):
    """y = eˣ      dy/dx = y."""
    return y


@elementwise("exp2")
def exp2(x, y):
    """y = 2ˣ      dy/dx = y log 2."""
    return lambda: y * math.log(2)


@elementwise("expm1")
def expm1(x, y, *, accuracy=None):
    """y = eˣ − 1      dy/dx = eˣ."""
    return lambda: lax.exp(x, accuracy=accuracy)  # y + 1 has no correct digit where y is close to −1


@elementwise("log")
def log(x, y):
    """y = log x      dy/dx = 1 / x."""
    return Reciprocal(x)


@elementwise("log2")
def log2(x, y):
    """y = log₂ x      dy/dx = 1 / (x log 2)."""
    return lambda: Reciprocal(x * math.log(2))


@elementwise("log1p")
def log1p(x, y):
    """y = log(1 + x)      dy/dx = 1 / (1 + x)."""
    return lambda: Reciprocal(1 + x)


@elementwise("logistic")
def logistic(x, y):
    """y = 1 / (1 + e⁻ˣ)      dy/dx = y (1 − y)."""
    return lambda: y * (1 - y)


@elementwise("sin")
def sin(x, y, *, accuracy=None):
    """y = sin x      dy/dx = cos x."""
    return lambda: lax.cos(x, accuracy=accuracy)


@elementwise("cos")
def cos(x, y, *, accuracy=None):
    """y = cos x      dy/dx = −sin x."""
    return lambda: -lax.sin(x, accuracy=accuracy)


@elementwise("tan")
def tan(x, y):
    """y = tan x      dy/dx = 1 + y²."""
    return lambda: 1 + y * y


@elementwise("asin")
def asin(x, y):
    """y = arcsin x      dy/dx = 1 / √(1 − x²)."""
    return lambda: lax.rsqrt((1 - x) * (1 + x))


@elementwise("acos")
def acos(x, y):
    """y = arccos x      dy/dx = −1 / √(1 − x²)."""
    return lambda: -lax.rsqrt((1 - x) * (1 + x))


@elementwise("atan")
def atan(x, y):
    """y = arctan x      dy/dx = 1 / (1 + x²)."""
    return lambda: Reciprocal(1 + x * x)


@elementwise("atan2")
def atan2(x, y, z):
    """z = arctan(x / y) in its quadrant      ∂z/∂x = y / (x² + y²)      ∂z/∂y = −x / (x² + y²)."""
    return lambda: y / (x * x + y * y), lambda: -x / (x * x + y * y)


@elementwise("sinh")
def sinh(x, y):
    """y = sinh x      dy/dx = cosh x."""
    return lambda: lax.cosh(x)


@elementwise("cosh")
def cosh(x, y):
    """y = cosh x      dy/dx = sinh x."""
    return lambda: lax.sinh(x)


@elementwise("tanh")
def tanh(x, y):
    """y = tanh x      dy/dx = 1 − y²."""
    return lambda: (1 - y) * (1 + y)  # the difference is exact where y is close to 1


@elementwise("asinh")
def asinh(x, y):
    """y = arsinh x      dy/dx = 1 / √(1 + x²)."""
    if jnp.iscomplexobj(x):
        return lambda: lax.rsqrt(1 + x * x)

    def slope():  # x² overflows long before x: divided by s = max(1, |x|) it is at most 1
        s = lax.clamp(jnp.ones_like(x), abs(x), jnp.full_like(x, jnp.finfo(jnp.result_type(x)).max))
        s = lax.stop_gradient(s)  # the slope does not depend on it
        return lax.rsqrt((x / s) * (x / s) + (1 / s) * (1 / s)) / s

    return slope


@elementwise("acosh")
def acosh(x, y):
    """y = arcosh x      dy/dx = 1 / √(x² − 1)."""
    return lambda: lax.rsqrt(x - 1) * lax.rsqrt(x + 1)  # in two factors: no overflow, and NaN for x < −1, where y is


@elementwise("atanh")
def atanh(x, y):
    """y = artanh x      dy/dx = 1 / (1 − x²)."""
    return lambda: Reciprocal((1 - x) * (1 + x))
