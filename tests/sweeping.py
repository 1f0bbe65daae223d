"""A small sweep that tests also run in another process, to kill it or to vary the devices: `python sweeping.py`."""

import hashlib

import jax
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


def digest(result) -> str:
    """A hash of the bits of a result."""
    parts = [np.ascontiguousarray(result[name].values).tobytes() for name in sorted(result.data_vars)]
    return hashlib.sha256(b"".join(parts)).hexdigest()


if __name__ == "__main__":
    print(len(jax.devices()), digest(swept()))
