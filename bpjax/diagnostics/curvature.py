"""The curvature of the error surface, from Hessian-vector products."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from bpjax.checks import check_count
from bpjax.rules.rule import Rule
from bpjax.types import Array


def hessian_vector_product(rule: Rule, params, batch, rule_state=()) -> Callable:
    """V -> H v, H the Hessian of the error at `params`: the derivative of the rule's gradient along v.

    The rule must give the exact gradient, by hand or not; v has the structure of `params`.
    """

    def gradient(params):
        return rule.grads(params, rule_state, batch)[1]

    return lambda v: jax.jvp(gradient, (params,), (v,))[1]


def largest_curvature(rule: Rule, params, batch, key, steps: int = 24) -> Array:
    """λ_max, the largest eigenvalue of the Hessian of the error, a scalar; jits and vmaps.

    Gradient descent on a quadratic with this curvature converges for learning rates below 2/λ_max and diverges
    above it. By `steps` Lanczos iterations with full reorthogonalisation from a random direction: exact where
    there are no more parameters than steps, from below otherwise.

    Raises:
        ValueError: `steps` is not a positive whole number.
    """
    check_count("largest_curvature", "steps", steps)
    flat, unravel = ravel_pytree(params)
    product = hessian_vector_product(rule, params, batch)
    steps = min(steps, flat.size)
    start = jax.random.normal(key, flat.shape, flat.dtype)

    def iterate(k, carry):
        basis, alphas, betas, q = carry
        basis = basis.at[k].set(q)
        r = ravel_pytree(product(unravel(q)))[0]
        alphas = alphas.at[k].set(jnp.where(q.any(), q @ r, alphas[0]))  # a filler that is no new extreme
        for _ in range(2):  # once leaves rounding of the size that loses orthogonality
            r = r - basis.T @ (basis @ r)
        beta = jnp.linalg.norm(r)
        scale = jnp.maximum(jnp.abs(alphas).max(), betas.max())
        spent = beta <= 10 * jnp.finfo(flat.dtype).eps * scale  # the Krylov space is exhausted: H maps it to itself
        betas = betas.at[k].set(jnp.where(spent, 0.0, beta))
        return basis, alphas, betas, jnp.where(spent, 0.0, r / jnp.where(spent, 1.0, beta))

    zeros = jnp.zeros(steps, flat.dtype)
    carry = (jnp.zeros((steps, flat.size), flat.dtype), zeros, zeros, start / jnp.linalg.norm(start))
    _, alphas, betas, _ = jax.lax.fori_loop(0, steps, iterate, carry)
    tridiagonal = jnp.diag(alphas) + jnp.diag(betas[:-1], 1) + jnp.diag(betas[:-1], -1)
    return jnp.linalg.eigvalsh(tridiagonal)[-1]
