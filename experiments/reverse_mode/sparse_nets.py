"""Sparse nets: the gradient costs as much as the edges, not as the square of the units (Linnainmaa 1970)."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import bpjax as bp
from bpjax.tape import count_operations
from experiments.common.command import Advance
from experiments.reverse_mode.timing import cpu_seconds

BATCH = 4


class SparseCost(NamedTuple):
    """The gradient of one sparse net of two layers, for 4 examples."""

    units: int  # in each layer
    is_local: bool  # whether the inputs of a unit are neighbours, or drawn from all
    edges: int  # in both layers
    forward_operations: int
    operations: int  # forward and backward
    mebibytes: float  # temporary memory and results, as XLA allocates it
    seconds: float  # processor time of a gradient


def edges_between(random: np.random.Generator, units: int, per_unit: int, is_local: bool) -> bp.layers.Edges:
    """Distinct edges, `per_unit` for each unit: from its neighbours, or random and so many on average."""
    if is_local:
        return bp.layers.banded_edges(units, units, per_unit)
    target, source = np.divmod(np.unique(random.integers(units * units, size=units * per_unit)), units)
    return bp.layers.Edges(source, target, units, units)


def cost(units: int, per_unit: int, is_local: bool = False, rounds: int = 3) -> SparseCost:
    """Compile the gradient of a net with two sparse layers, count its operations, run it."""
    random = np.random.default_rng((units, per_unit))
    edges = [edges_between(random, units, per_unit, is_local) for _ in range(2)]
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
    seconds = cpu_seconds({"gradient": lambda: program(params, x)}, rounds)["gradient"]
    mebibytes = (analysis.temp_size_in_bytes + analysis.output_size_in_bytes) / 2**20
    num_edges = sum(len(e.source) for e in edges)
    return SparseCost(units, is_local, num_edges, forward_count, count, mebibytes, seconds)


def costs_of(sizes: Sequence[tuple[int, int, bool]], advance: Advance) -> list[SparseCost]:
    """The cost at several (units, edges per unit, whether they are local)."""
    rows = []
    for done, (units, per_unit, is_local) in enumerate(sizes):
        advance(done, f"sparse net, {units:,} units", "nets")
        rows.append(cost(units, per_unit, is_local))
    return rows
