"""Weights of classes or outputs, the same for every example."""

import jax.numpy as jnp
import numpy as np

from bpjax.types import Array
from bpjax.util.call_text import shown
from bpjax.util.checks import as_real_numbers, check_number, is_concrete


def check_weights(who: str, name: str, weights):
    """One weight, or an array (K,) of them, finite and at least 0, or a `ValueError`; traced ones pass."""
    if not is_concrete(weights):
        return weights
    if jnp.ndim(weights) == 0 and not isinstance(weights, str | bool):
        check_number(who, name, weights, least=0.0)
        return weights
    given = as_real_numbers(who, name, weights)
    if given.ndim != 1 or not given.size or not (np.isfinite(given) & (given >= 0)).all():
        raise ValueError(f"`{who}` expected `{name}` to be an array (K,) of finite numbers ≥ 0, got {shown(weights)}.")
    return given


def weights_like(who: str, weights, o: Array) -> Array:
    """Weights in the dtype of the outputs o (N, ..., K), with as many axes, or a `ValueError` where K differs."""
    w = jnp.asarray(weights, o.dtype)
    if w.ndim and w.shape != o.shape[-1:]:
        raise ValueError(f"`{who}` expected one weight for each of {o.shape[-1]} outputs, got {len(w)}.")
    return w.reshape(*[1] * (o.ndim - 1), -1)
