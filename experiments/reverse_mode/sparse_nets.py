"""Sparse nets: the gradient costs as much as the edges, not as the square of the units (Linnainmaa 1970)."""

import time
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import bpjax as bp
from bpjax.tape import count_operations
from experiments.common.command import Advance

BATCH = 4


class SparseCost(NamedTuple):
    """The gradient of one sparse net of two layers, for 4 examples."""

    units: int  # in each layer
    edges: int  # in both layers
    forward_operations: int
    operations: int  # forward and backward
    mebibytes: float  # temporary memory and results, as XLA allocates it
    seconds: float  # of a gradient


def edges_between(random: np.random.Generator, units: int, per_unit: int) -> bp.layers.Edges:
    """Distinct random edges, `per_unit` for each unit on average."""
    target, source = np.divmod(np.unique(random.integers(units * units, size=units * per_unit)), units)
    return bp.layers.Edges(source, target, units, units)


def cost(units: int, per_unit: int, rounds: int = 3) -> SparseCost:
    """Compile the gradient of a net with two sparse layers, count its operations, run it."""
    random = np.random.default_rng((units, per_unit))
    edges = [edges_between(random, units, per_unit) for _ in range(2)]
    first, second = map(bp.layers.sparse, edges)
    network = bp.chain(first, bp.tanh, second)
    params = tuple(
        bp.layers.SparseAffine(jnp.asarray(random.normal(size=len(e.source))), jnp.zeros(units)) for e in edges
    )
    params = (params[0], (), params[1])
    x = jnp.asarray(random.normal(size=(BATCH, units)))

    def forward(params, x):
        return network.forward(params, x)[0]

    def gradient(params, x):
        y, residuals = network.forward(params, x)
        return network.backward(params, residuals, y)[0]

    forward_count, count = (count_operations(f, params, x).arithmetic for f in (forward, gradient))
    program = jax.jit(gradient).lower(params, x).compile()
    analysis = program.memory_analysis()
    if analysis is None:
        raise RuntimeError("This backend reports no memory.")
    taken = []
    for _ in range(rounds + 1):
        begun = time.perf_counter()
        jax.block_until_ready(program(params, x))
        taken.append(time.perf_counter() - begun)
    mebibytes = (analysis.temp_size_in_bytes + analysis.output_size_in_bytes) / 2**20
    num_edges = sum(len(e.source) for e in edges)
    return SparseCost(units, num_edges, forward_count, count, mebibytes, min(taken[1:]))


def costs_of(sizes: Sequence[tuple[int, int]], advance: Advance) -> list[SparseCost]:
    """The cost at several (units, edges per unit)."""
    rows = []
    for done, (units, per_unit) in enumerate(sizes):
        advance(done, f"sparse net, {units:,} units", "nets")
        rows.append(cost(units, per_unit))
    return rows
