"""How far rounding alone can move a gradient: the program with a random error of one rounding on every result.

Monte Carlo arithmetic (Parker 1997): each result y of a floating-point operation becomes y (1 + u ξ), ξ uniform in
[−1, 1]. The spread over a few runs is the rounding error of each entry, cancellations included.
"""

import jax.numpy as jnp
from jax import lax

from bpjax.gradcheck.widen import Widened

EXACT = frozenset(
    "neg abs sign max min select_n clamp reshape squeeze expand_dims transpose broadcast_in_dim concatenate slice rev "
    "pad gather dynamic_slice dynamic_update_slice scatter sort copy real imag conj complex convert_element_type floor "
    "ceil round stop_gradient reduce_max reduce_min iota split while cond scan reduce_window_max cummax cummin stack "
    "unstack tile device_put".split()
)
"""Primitives whose results are not rounded."""


class Noisy(Widened):
    """A float64 program whose every rounded result is perturbed.

    Args:
        closed: its jaxpr.
        scale: () the unit roundoff u of the dtype under test; 0 leaves the program as it is.
        seed: () a float that the random errors depend on.
    """

    def __init__(self, closed, scale, seed):
        """The program, with its perturbation."""
        super().__init__(closed, open_jax=True)
        self.scale, self.seed, self.count = scale, seed, 0

    def _equation(self, equation, inputs: list) -> list:
        results = super()._equation(equation, inputs)
        name = equation.primitive.name
        if name in EXACT or len(results) > 1 or any(hasattr(p, "eqns") for p in equation.params.values()):
            return results
        return [self._perturb(result) for result in results]

    def _perturb(self, array):
        if not jnp.issubdtype(getattr(array, "dtype", jnp.int32), jnp.inexact) or not array.size:
            return array
        self.count += 1
        position = jnp.arange(array.size, dtype=jnp.float64).reshape(array.shape)
        # a cheap hash: XLA compiles one sine per operation in place of a random number generator
        hashed = jnp.sin(self.seed * (1 + 0.618 * self.count) + 12.9898 * position) * 43758.5453
        uniform = 2 * (hashed - lax.floor(hashed)) - 1
        return array * (1 + self.scale * uniform).astype(array.dtype)
