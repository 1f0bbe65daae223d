"""The damping λ of a Levenberg–Marquardt step: Nielsen's rule (1999), as an optimistix search."""

import functools

import jax.numpy as jnp

from bpjax.types import Array
from bpjax.util.extras import require_extra


@functools.cache
def nielsen():
    """Nielsen's rule for λ as an optimistix search, whose "step size" is 1 / λ and whose state is (λ, ν)."""
    optimistix, _, _ = packages()
    results = optimistix.RESULTS

    class Nielsen(optimistix.AbstractSearch):
        damping: Array

        def init(self, y, f_info_struct):
            return self.damping, jnp.full_like(self.damping, 2)

        def step(self, first_step, y, y_eval, f_info, f_eval_info, state):
            damping, growth = state
            error, new_error = f_info.as_min(), f_eval_info.as_min()
            predicted = error - 0.5 * jnp.sum((f_info.residual + f_info.jac.mv(y_eval - y)) ** 2)
            ratio = (error - new_error) / jnp.where(predicted > 0, predicted, 1)
            accept = first_step | (new_error <= error)  # false where it is NaN
            tuned = damping * jnp.where(accept, jnp.maximum(1 / 3, 1 - (2 * ratio - 1) ** 3), growth)
            eps = jnp.finfo(damping.dtype).eps
            least, most = eps, 0.5 / eps  # beyond these bounds rounding of JᵀJ hides λ, or rounding of w hides the step
            result = results.where(~accept & (damping >= most), results.nonlinear_divergence, results.successful)
            new_damping = jnp.where(first_step, damping, jnp.clip(tuned, least, most))
            new_growth = jnp.where(accept, jnp.full_like(growth, 2), 2 * growth)
            return 1 / new_damping, accept, result, (new_damping, new_growth)

    return Nielsen


def packages():
    """The modules optimistix, lineax and equinox."""
    with require_extra("`least_squares` needs optimistix with lineax", extra="second-order"):
        import equinox
        import lineax
        import optimistix
    return optimistix, lineax, equinox
