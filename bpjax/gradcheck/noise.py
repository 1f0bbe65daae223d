"""How far rounding alone can move a gradient: the program with a random error of one rounding on every result.

Monte Carlo arithmetic (Parker 1997): each result y of a floating-point operation becomes y (1 + u ξ), ξ uniform in
[−1, 1]. The spread over a few runs is the rounding error of each entry, cancellations included.
"""

import jax.numpy as jnp
import numpy as np
from jax import lax

from bpjax.gradcheck.widen import Widened
from bpjax.util.jaxprs import subjaxprs

EXACT = frozenset(
    "neg abs sign max min select_n clamp reshape squeeze expand_dims transpose broadcast_in_dim concatenate slice rev "
    "pad gather dynamic_slice dynamic_update_slice scatter sort copy real imag conj complex convert_element_type floor "
    "ceil round stop_gradient reduce_max reduce_min iota split while cond scan reduce_window_max cummax cummin stack "
    "unstack tile device_put".split()
)
"""Primitives whose results are not rounded."""


SUMS = frozenset("reduce_sum dot_general conv_general_dilated cumsum reduce_window_sum add_any scatter-add".split())
"""Primitives that add many terms."""

OFFSETS = 4096
"""The random factors of an operation begin at one of so many places in the pool."""


def factors(rounding: float, samples: int, largest: int) -> np.ndarray:
    """Random factors 1 + u ξ (samples, `OFFSETS` + largest): the pool that all operations of a run draw from."""
    uniform = np.random.default_rng(0).uniform(-1, 1, (samples, OFFSETS + largest))
    return 1 + rounding * uniform


class Noisy(Widened):
    """A float64 program in which every rounded result is multiplied by random factors.

    Args:
        closed: its jaxpr.
        pool: (OFFSETS + largest array,) the factors, see `factors`; all 1 leaves the program as it is.
    """

    def __init__(self, closed, pool):
        """The program, with its perturbation."""
        super().__init__(closed, open_jax=True)
        self.pool, self.count = pool, 0

    def _equation(self, equation, inputs: list) -> list:
        if equation.primitive.name in SUMS:
            inputs = [self._perturb(x) for x in inputs]  # every term of a sum is rounded
        results = super()._equation(equation, inputs)
        if equation.primitive.name in EXACT or len(results) > 1 or subjaxprs(equation):
            return results
        return [self._perturb(result) for result in results]

    def _perturb(self, array):
        if not jnp.issubdtype(getattr(array, "dtype", jnp.int32), jnp.inexact):
            return array
        self.count += 1
        start = 997 * self.count % OFFSETS
        factor = lax.slice(self.pool, (start,), (start + array.size,)).reshape(array.shape)
        return array * factor.astype(array.dtype)
