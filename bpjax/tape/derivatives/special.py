"""Special functions of statistics and physics: the local derivative beside the operation."""

import math

import jax.numpy as jnp
from jax import lax

from bpjax.tape.derivatives.registry import elementwise


@elementwise("erf")
def erf(x, y):
    """y = erf x      dy/dx = 2 / √π e^(−x²)."""
    return lambda: 2 / math.sqrt(math.pi) * lax.exp(-lax.square(x))


@elementwise("erfc")
def erfc(x, y):
    """y = 1 − erf x      dy/dx = −2 / √π e^(−x²)."""
    return lambda: -2 / math.sqrt(math.pi) * lax.exp(-lax.square(x))


@elementwise("erf_inv")
def erf_inv(x, y):
    """y = erf⁻¹ x      dy/dx = √π / 2 e^(y²)."""
    return lambda: math.sqrt(math.pi) / 2 * lax.exp(y * y)


@elementwise("lgamma")
def lgamma(x, y):
    """y = log |Γ(x)|      dy/dx = ψ(x)."""
    return lambda: lax.digamma(x)


@elementwise("digamma")
def digamma(x, y):
    """y = ψ(x)      dy/dx = ψ⁽¹⁾(x)."""
    return lambda: lax.polygamma(jnp.ones_like(x), x)


@elementwise("polygamma")
def polygamma(m, x, z):
    """z = ψ⁽ᵐ⁾(x)      ∂z/∂x = ψ⁽ᵐ⁺¹⁾(x)      no derivative by m."""
    return lambda: no_derivative("polygamma", "its order m"), lambda: lax.polygamma(m + 1, x)


@elementwise("zeta")
def zeta(s, q, z):
    """z = ζ(s, q) = Σₖ (q + k)⁻ˢ      ∂z/∂q = −s ζ(s + 1, q)      no derivative by s."""
    return lambda: no_derivative("zeta", "its exponent s"), lambda: -s * lax.zeta(s + 1, q)


@elementwise("igamma")
def igamma(a, x, z):
    """z = P(a, x) = γ(a, x) / Γ(a)      ∂z/∂a: `lax.igamma_grad_a`      ∂z/∂x = xᵃ⁻¹ e⁻ˣ / Γ(a)."""
    return lambda: lax.igamma_grad_a(a, x), lambda: _gamma_density(a, x)


@elementwise("igammac")
def igammac(a, x, z):
    """z = Q(a, x) = 1 − P(a, x)      ∂z/∂a: −`lax.igamma_grad_a`      ∂z/∂x = −xᵃ⁻¹ e⁻ˣ / Γ(a)."""
    return lambda: -lax.igamma_grad_a(a, x), lambda: -_gamma_density(a, x)


def _gamma_density(a, x):
    """xᵃ⁻¹ e⁻ˣ / Γ(a), by logarithms."""
    return lax.exp((a - 1) * lax.log(x) - x - lax.lgamma(a))


@elementwise("regularized_incomplete_beta")
def regularized_incomplete_beta(a, b, x, z):
    """z = I(x; a, b)      ∂z/∂x = xᵃ⁻¹ (1 − x)ᵇ⁻¹ / B(a, b)      no derivative by a and b."""

    def density():
        log_beta = lax.lgamma(a) + lax.lgamma(b) - lax.lgamma(a + b)
        return lax.exp((b - 1) * lax.log1p(-x) + (a - 1) * lax.log(x) - log_beta)

    name = "regularized_incomplete_beta"
    return lambda: no_derivative(name, "a"), lambda: no_derivative(name, "b"), density


@elementwise("bessel_i0e")
def bessel_i0e(x, y):
    """y = e^(−|x|) I₀(x)      dy/dx = e^(−|x|) I₁(x) − sign(x) y."""
    return lambda: lax.bessel_i1e(x) - lax.sign(x) * y


@elementwise("bessel_i1e")
def bessel_i1e(x, y):
    """y = e^(−|x|) I₁(x)      dy/dx = e^(−|x|) I₀(x) − y (sign(x) + 1 / x), 1/2 at 0."""

    def slope():
        tiny = abs(x) <= jnp.finfo(jnp.result_type(x)).eps
        x_ = jnp.where(tiny, jnp.ones_like(x), x)
        return jnp.where(tiny, jnp.full_like(x, 0.5), lax.bessel_i0e(x_) - y * (lax.sign(x_) + 1 / x_))

    return slope


def no_derivative(function: str, argument: str):
    """Refuse an argument of a special function that has no derivative in closed form."""
    raise NotImplementedError(
        f"`{function}` has no derivative by {argument} here, as in JAX: "
        "pass it as a constant, or wrap it in `jax.lax.stop_gradient`."
    )
