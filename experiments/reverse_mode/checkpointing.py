"""Griewank and Walther's checkpointing: how often steps are repeated, and the memory that this saves."""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

import bpjax as bp
from bpjax.layers import binomial_schedule, repeated_steps
from experiments.common.command import Advance
from experiments.reverse_mode.timing import cpu_seconds

PUBLISHED = {(10, 3): 15, (56, 3): 210, (100, 4): 374, (100, 10): 222, (1000, 10): 3636, (50, 1): 1225}
"""(steps, snapshots) -> repeated steps."""
STATE = 64
"""Units of the recurrent net."""


class Executed(NamedTuple):
    """A compiled gradient, its steps counted while it runs."""

    steps: int
    snapshots: int
    by_formula: int
    repeated: int  # steps that the backward pass executed
    stored: int  # states in the residuals


class Memory(NamedTuple):
    """A compiled gradient of a recurrent net."""

    steps: int
    snapshots: int  # as many as steps: the residuals of all steps are stored, nothing is repeated
    repeated: int
    mebibytes: float  # temporary memory, as XLA allocates it
    seconds: float  # processor time


@functools.cache
def least_repeats(steps: int, snapshots: int) -> int:
    """The fewest repeated steps over all places of the next snapshot, by dynamic programming."""
    if steps == 1 or snapshots == 1:
        return steps * (steps - 1) // 2
    parts = range(1, steps)
    return min(m + least_repeats(steps - m, snapshots - 1) + least_repeats(m, snapshots) for m in parts)


def repeats_of_schedule(steps: int, snapshots: int) -> int:
    """The steps that the schedule computes, less one for each step."""
    actions = binomial_schedule(steps, snapshots)
    return sum(action.kind in ("advance", "reverse") for action in actions) - steps


def optimal_cases(snapshots: int = 7, steps: int = 89) -> tuple[int, int]:
    """(cases in which formula, schedule and brute force give the same integer, all cases)."""
    cases = [(length, s) for s in range(1, snapshots + 1) for length in range(1, steps + 1)]
    same = [least_repeats(*case) == repeated_steps(*case) == repeats_of_schedule(*case) for case in cases]
    return sum(same), len(cases)


def executed(steps: int, snapshots: int) -> Executed:
    """Run a gradient whose cell counts its steps."""
    calls = []
    cell = bp.layers.elman(1)

    def step(params, state, driven):
        jax.debug.callback(lambda: calls.append(1))
        return cell.step(params, state, driven)

    layer = bp.unroll(cell._replace(step=step), snapshots=snapshots)
    params, _ = layer.init(jax.random.key(0), (steps, 1))
    y, residuals = jax.block_until_ready(jax.jit(layer.forward)(params, jnp.ones((1, steps, 1))))
    jax.effects_barrier()
    calls.clear()
    jax.block_until_ready(jax.jit(layer.backward)(params, residuals, y))
    jax.effects_barrier()
    states = jax.tree.leaves(residuals[-1].states)
    return Executed(steps, snapshots, repeated_steps(steps, snapshots), len(calls), len(states[0]) if states else 0)


def gradient_program(steps: int, snapshots: int | None):
    """The compiled gradient of a recurrent net, and its arguments."""
    layer = bp.unroll(bp.layers.elman(STATE), last=True, snapshots=snapshots)

    def gradient(params, x):
        y, residuals = layer.forward(params, x)
        return layer.backward(params, residuals, y)

    arguments = layer.init(jax.random.key(0), (steps, 1))[0], jnp.ones((8, steps, 1))
    return jax.jit(gradient).lower(*arguments).compile(), arguments


def memory(steps: int, snapshots: int | None) -> Memory:
    """Memory and time of a gradient; the residuals of all steps are stored where `snapshots` is None."""
    program, arguments = gradient_program(steps, snapshots)
    analysis = program.memory_analysis()
    if analysis is None:
        raise RuntimeError("This backend reports no memory.")
    seconds = cpu_seconds({"gradient": lambda: program(*arguments)}, rounds=3)["gradient"]
    repeated = repeated_steps(steps, snapshots) if snapshots else 0
    return Memory(steps, snapshots or steps, repeated, analysis.temp_size_in_bytes / 2**20, seconds)


def memories(steps: int, snapshots: Sequence[int | None], advance: Advance) -> list[Memory]:
    """The memory for several numbers of snapshots."""
    rows = []
    for done, s in enumerate(snapshots):
        advance(done, f"checkpointing, {s or 'no'} snapshots", "programs")
        rows.append(memory(steps, s))
    return rows
