"""The values of an array in the memory of this process."""

import jax
import numpy as np
from jax.experimental import multihost_utils


def on_host(array) -> np.ndarray:
    """The values; those on devices of other processes are fetched, for which all processes make the same call."""
    if isinstance(array, jax.Array) and not (array.is_fully_addressable or array.is_fully_replicated):
        array = multihost_utils.process_allgather(array, tiled=True)
    return np.asarray(array)
