"""A small sweep that tests also run in another process, to kill it or to vary the devices: `python sweeping.py`."""

import hashlib
import time
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import bpjax as bp

NETWORK = bp.mlp((2, 2, 1), bp.sigmoid, bp.sigmoid, bp.uniform(1.0), bp.uniform(1.0))
RULE = bp.backprop(NETWORK, bp.squared_error)
AXES = {"learning_rate": [0.5, 2.0, 8.0], "momentum": [0.0, 0.9], "seed": range(120)}
RUNS = 720


def xor(key, learning_rate, momentum):
    params, _ = NETWORK.init(key, (2,))
    optimizer = bp.momentum(learning_rate, momentum)
    return bp.trial(
        RULE, optimizer, params, bp.xor().present(), key=key, epochs=600, stops=bp.outputs_within(0.4)
    )  # fmt: skip


def swept(store=None, **options):
    return bp.sweep(xor, AXES, key=jax.random.key(3), store=store, curves=[1, 50, 600], **options)


class Countdown(NamedTuple):
    """A process of a given number of epochs: the simplest run of all."""

    epoch: jax.Array
    reason: jax.Array
    left: jax.Array
    draw: jax.Array


class Record(NamedTuple):
    error: jax.Array


def countdown(key, length, **hyperparameters):
    """Stops after `length` epochs; its error is the number of epochs left."""

    def epoch(run):
        left = run.left - 1
        after = Countdown(run.epoch + 1, jnp.where(left <= 0, 1, 0).astype(jnp.int32), left, run.draw)
        running = run.reason == 0
        after = jax.tree.map(lambda new, old: jnp.where(running, new, old), after, run)
        return after, Record(after.left.astype(jnp.result_type(float)))

    def outcome(run):
        return {
            "epochs": run.epoch,
            "draw": run.draw,
            **{f"given_{name}": value for name, value in hyperparameters.items()},
        }

    zero = jnp.zeros((), jnp.int32)
    start = Countdown(zero, zero, jnp.asarray(length, jnp.int32), jax.random.uniform(key))
    return bp.training.Trial(start, bp.training.Program(epoch, outcome, ("running", "done")))


SMALL = {"length": [3, 9], "rate": [0.5], "seed": range(3)}
LARGE = {"rate": [0.25, 0.5, 1.0], "seed": [7, 0, 1, 2, 9], "length": [9, 4, 3]}


def counted(axes, store=None, **options):
    """A sweep of countdowns."""
    return bp.sweep(countdown, axes, key=jax.random.key(5), store=store, curves=[1, 3, 8], **options)


def slow_part(store, count, index):
    """A part of the large sweep of countdowns, in chunks of two runs, slow enough to be killed."""
    from bpjax.sweeps import grid
    from bpjax.sweeps.part_results import PartResults

    add = PartResults.add

    def slow(self, new):
        add(self, new)
        time.sleep(0.05)

    PartResults.add, grid.RUNS_A_CHUNK = slow, 2
    try:
        counted(LARGE, store, part=(index, count))
    finally:
        PartResults.add, grid.RUNS_A_CHUNK = add, 4096


def digest(result) -> str:
    """A hash of the bits of a result."""
    parts = [np.ascontiguousarray(result[name].values).tobytes() for name in sorted(result.data_vars)]
    return hashlib.sha256(b"".join(parts)).hexdigest()


if __name__ == "__main__":
    print(len(jax.devices()), digest(swept()))
