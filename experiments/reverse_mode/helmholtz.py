"""Griewank's Helmholtz energy of a mixture of gases: what a gradient costs by reverse mode and by forward mode."""

import functools
import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import bpjax as bp
from bpjax.tape import count_operations
from experiments.common.command import Advance
from experiments.reverse_mode.timing import cpu_seconds

ROOT = math.sqrt(2.0)
NUMBERS = 16384
"""The amounts in a batch: as many mixtures of n gases as make up this number."""


class Costs(NamedTuple):
    """The mixture of n gases."""

    n: int
    operations: int  # of the function
    reverse_operations: int  # of value and gradient by reverse mode
    forward_operations: int  # by forward mode, one direction at a time
    seconds: float = math.nan  # processor time of the function
    reverse_ratio: float = math.nan  # time of value and gradient / time of the function
    forward_ratio: float = math.nan

    @property
    def reverse_count(self) -> float:
        """Operations of value and gradient by reverse mode over those of the function."""
        return self.reverse_operations / self.operations

    @property
    def forward_count(self) -> float:
        """The same by forward mode."""
        return self.forward_operations / self.operations


def helmholtz(x, a, b):
    """The Helmholtz energy at R T = 1 (Griewank 1989).

    Σᵢ xᵢ log(xᵢ / (1 − bᵀx)) − xᵀA x / (√8 bᵀx) · log((1 + (1 + √2) bᵀx) / (1 + (1 − √2) bᵀx)).

    Args:
        x: amounts (n,), positive, with bᵀx < 1.
        a: interactions (n, n).
        b: volumes (n,).
    """
    bx = b @ x
    mixing = jnp.sum(x * jnp.log(x / (1 - bx)))
    return mixing - (x @ a) @ x / (math.sqrt(8) * bx) * jnp.log((1 + (1 + ROOT) * bx) / (1 + (1 - ROOT) * bx))


def mixture(n: int, seed: int = 0) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Amounts, interactions and volumes of n gases, bᵀx below 1/2."""
    random = np.random.default_rng((seed, n))
    b = random.uniform(0.1, 1.0, n) / n
    interactions = random.uniform(0.0, 1.0, (n, n))
    return tuple(map(jnp.asarray, (random.uniform(0.1, 0.5, n), (interactions + interactions.T) / 2, b)))  # type: ignore[return-value]


def forward_gradients(xs, a, b):
    """The gradients of a batch of mixtures by forward mode, one direction at a time, (n, mixtures)."""
    energies = jax.vmap(lambda x: helmholtz(x, a, b))

    def derivatives(direction):
        return jax.jvp(energies, (xs,), (jnp.broadcast_to(direction, xs.shape),))[1]

    return jax.lax.map(derivatives, jnp.eye(xs.shape[1], dtype=xs.dtype))


def counted(n: int) -> Costs:
    """The numbers of operations, exact integers."""
    dtype = jnp.result_type(float)
    x, a, b = (jax.ShapeDtypeStruct(shape, dtype) for shape in ((n,), (n, n), (n,)))
    xs = jax.ShapeDtypeStruct((1, n), dtype)
    counts = (
        count_operations(helmholtz, x, a, b), count_operations(bp.reverse(helmholtz), x, a, b),
        count_operations(forward_gradients, xs, a, b),
    )  # fmt: skip
    return Costs(n, *(count.arithmetic for count in counts))


def timed(costs: Costs, rounds: int) -> Costs:
    """The costs with times: the three ways in turn, the fastest round of each.

    Each way runs for a batch of mixtures, so that the time to start an operation counts little.
    """
    x, a, b = mixture(costs.n)
    xs = x[None, :] * jnp.linspace(0.8, 1.0, max(1, NUMBERS // costs.n), dtype=x.dtype)[:, None]
    programs = {
        "function": jax.vmap(lambda x: helmholtz(x, a, b)),
        "reverse": jax.vmap(lambda x: bp.reverse(helmholtz)(x, a, b)),
        "forward": lambda xs: forward_gradients(xs, a, b),
    }
    compiled = {name: jax.jit(program).lower(xs).compile() for name, program in programs.items()}
    calls = {name: functools.partial(program, xs) for name, program in compiled.items()}
    fastest = cpu_seconds(calls, rounds)
    return costs._replace(
        seconds=fastest["function"] / len(xs),
        reverse_ratio=fastest["reverse"] / fastest["function"],
        forward_ratio=fastest["forward"] / fastest["function"],
    )


def costs_of(sizes: Sequence[int], timed_sizes: Sequence[int], rounds: int, advance: Advance) -> list[Costs]:
    """Count at every size, measure time at some."""
    rows = []
    for done, n in enumerate(sizes):
        advance(done, "Helmholtz energy", "sizes")
        costs = counted(n)
        rows.append(timed(costs, rounds) if n in timed_sizes else costs)
    advance(len(sizes), "Helmholtz energy", "sizes")
    return rows


def gradient_difference(n: int) -> float:
    """Largest difference of the gradients by reverse and by forward mode from `jax.grad`, relative, in float64."""
    with jax.enable_x64(True):
        arguments = mixture(n)
        oracle = jax.grad(helmholtz)(*arguments)
        found = (
            jax.jit(bp.reverse(helmholtz))(*arguments)[1],
            jax.jit(forward_gradients)(arguments[0][None], *arguments[1:])[:, 0],
        )
        return max(float(jnp.linalg.norm(g - oracle) / jnp.linalg.norm(oracle)) for g in found)


def exponent(sizes, values) -> float:
    """The slope in a log-log plot."""
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])
