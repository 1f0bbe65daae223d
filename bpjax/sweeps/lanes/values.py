"""The values of an interpreted jaxpr: plain arrays that all runs share, or `PerRun` with one entry per run."""

from typing import NamedTuple

import jax.numpy as jnp

from bpjax.types import Array


class PerRun(NamedTuple):
    """A value that differs between runs. A value that all runs share is a plain array and stays a constant."""

    array: Array  # (*shape of one run, runs)
    recompute_cost: int = 0  # operations XLA repeats per entry for each additional reader; 0 if it is in memory


def array_of(value) -> Array:
    """The array behind a value, shared or `PerRun`."""
    return value.array if isinstance(value, PerRun) else value


def recompute_cost(value) -> int:
    """Operations that XLA repeats per entry for each additional reader of the value."""
    return value.recompute_cost if isinstance(value, PerRun) else 0


def broadcast_to_runs(value, runs: int) -> Array:
    """The array of a value with the run axis last; a shared value is repeated for every run."""
    if isinstance(value, PerRun):
        return value.array
    value = jnp.asarray(value)
    return jnp.broadcast_to(value[..., None], (*value.shape, runs))


def wrap_like(values: list, arrays) -> list:
    """`arrays` as values of the same kinds as `values`, shared or `PerRun`."""
    return [PerRun(a) if isinstance(value, PerRun) else a for value, a in zip(values, arrays, strict=True)]


def unwrap_like(like: list, values: list, runs: int) -> list[Array]:
    """The arrays of `values`, repeated for every run wherever `like` is `PerRun`."""
    return [
        broadcast_to_runs(value, runs) if isinstance(kind, PerRun) else array_of(value)
        for kind, value in zip(like, values, strict=True)
    ]
