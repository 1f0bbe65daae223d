"""Operations that choose between values or copy them: the cotangent goes to the value that was chosen."""

import jax.numpy as jnp
from jax import lax

from bpjax.tape.derivatives.registry import derivative, elementwise, sum_to, zero_derivative


@elementwise("max")
def max_(x, y, z):
    """z = max(x, y)      ∂z/∂x = 1 where x > y, 1/2 where x = y, else 0."""
    return lambda: _share(x > y, x == y, z), lambda: _share(y > x, x == y, z)


@elementwise("min")
def min_(x, y, z):
    """z = min(x, y)      ∂z/∂x = 1 where x < y, 1/2 where x = y, else 0."""
    return lambda: _share(x < y, x == y, z), lambda: _share(y < x, x == y, z)


def _share(chosen, tie, z):
    """1 where chosen, 1/2 at ties, else 0."""
    return jnp.where(chosen, jnp.ones_like(z), jnp.where(tie, jnp.full_like(z, 0.5), jnp.zeros_like(z)))


@derivative("clamp")
def clamp(low, x, high, y, dy):
    """y = min(max(x, low), high)     dx = dy where low < x < high     dlow where x < low     dhigh where x > high."""
    where = lambda mask, argument: sum_to(jnp.where(mask, dy, jnp.zeros_like(dy)), jnp.shape(argument))
    return (
        lambda: where((x < low) & (low < high), low),
        lambda: where((low < x) & (x < high), x),
        lambda: where(high < x, high),
    )


@derivative("select_n")
def select_n(which, *rest):
    """y = cases[which]      dcaseₖ = dy where which = k, else 0."""
    *cases, y, dy = rest
    if jnp.result_type(which) != jnp.bool_:
        which = jnp.clip(which, 0, len(cases) - 1)
    zeros = jnp.zeros_like(dy)
    return None, *(lambda k=k: jnp.where(which == k, dy, zeros) for k in range(len(cases)))


@derivative("convert_element_type")
def convert_element_type(x, y, dy):
    """y = x in another dtype      dx = dy in the dtype of x."""
    return lambda: lax.convert_element_type(_real_if(x, dy), jnp.result_type(x))


def _real_if(x, dy):
    """The real part of dy where x is real."""
    return lax.real(dy) if jnp.iscomplexobj(dy) and not jnp.iscomplexobj(x) else dy


@derivative("reduce_precision")
def reduce_precision(x, y, dy, *, exponent_bits, mantissa_bits):
    """y = x, rounded to fewer bits      dx = dy, rounded likewise."""
    return lambda: lax.reduce_precision(dy, exponent_bits, mantissa_bits)


@elementwise("copy")
def copy(x, y):
    """y = x      dy/dx = 1."""
    return 1


@elementwise("nextafter")
def nextafter(x, y, z):
    """z = the number after x towards y      ∂z/∂x = 1      ∂z/∂y = 0."""
    return 1, None


@derivative("optimization_barrier")
def optimization_barrier(*arguments):
    """y = x, not reordered by the compiler      dx = dy, likewise."""
    dys = arguments[-1]
    alone = not isinstance(dys, tuple)
    dys = (dys,) if alone else dys
    given = [k for k, dy in enumerate(dys) if dy is not None]
    found = dict(zip(given, lax.optimization_barrier([dys[k] for k in given]), strict=True))
    return tuple(found.get(k) for k in range(len(dys)))


zero_derivative("stop_gradient", "floor", "ceil", "round", "sign", "bitcast_convert_type")
