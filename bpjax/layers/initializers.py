"""How weights begin: functions `(key, shape, dtype) -> array`, as in `jax.nn.initializers`."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from bpjax.checks import check_number

Initializer = Callable[..., jax.Array]
"""(key, shape, dtype) -> array."""


def uniform(radius: float) -> Initializer:
    """Weights drawn evenly from (−r, r), the choice of the classics: 0.3 in Nature 1986, 1 in Fahlman 1988.

    Raises:
        ValueError: `radius` is negative or not finite.
    """
    check_number("uniform", "radius", radius, least=0.0)

    def initializer(key, shape, dtype=jnp.float32):
        return jax.random.uniform(key, shape, dtype, minval=-radius, maxval=radius)

    return initializer


lecun_normal: Initializer = jax.nn.initializers.lecun_normal()
"""Normal with variance 1 / D: a unit's net input begins with the variance of its inputs."""

zeros: Initializer = jax.nn.initializers.zeros
"""All zero: the usual start of a bias."""
