"""JAX's settings that decide about numbers, taken along into a thread: a new thread begins with the defaults."""

import contextlib
from collections.abc import Iterator
from typing import Any

import jax


def jax_settings() -> tuple:
    """What holds in this thread: float64 or not, the precision of matrix products, promotion of ranks."""
    config: Any = jax.config
    return config.jax_enable_x64, config.jax_default_matmul_precision, config.jax_numpy_rank_promotion


@contextlib.contextmanager
def under(settings: tuple) -> Iterator[None]:
    """What `jax_settings` gave in one thread holds in this one, for the block."""
    x64, precision, promotion = settings
    with jax.enable_x64(x64), jax.default_matmul_precision(precision), jax.numpy_rank_promotion(promotion):
        yield
