"""Copy the JAX settings that affect numerical results to another thread: a new thread starts with the defaults."""

import contextlib
from collections.abc import Iterator
from typing import Any

import jax


def jax_settings() -> tuple:
    """The settings of this thread: float64 or not, precision of matrix products, promotion of ranks."""
    config: Any = jax.config
    return config.jax_enable_x64, config.jax_default_matmul_precision, config.jax_numpy_rank_promotion


@contextlib.contextmanager
def under(settings: tuple) -> Iterator[None]:
    """A context with the settings that `jax_settings` returned in another thread."""
    x64, precision, promotion = settings
    with jax.enable_x64(x64), jax.default_matmul_precision(precision), jax.numpy_rank_promotion(promotion):
        yield
