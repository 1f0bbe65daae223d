"""Wrong arguments of sweeps: one sentence each, before anything is compiled."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sweeping import countdown, xor

import bpjax as bp

AXES = {"learning_rate": [0.5, 4.0], "momentum": [0.0, 0.9], "seed": range(5)}

BAD = {
    "unknown": (xor, {**AXES, "decay": [1]}, "unknown decay"),
    "missing": (xor, {"learning_rate": [1.0]}, "none for momentum"),
    "no axes": (xor, {}, "none for learning_rate, momentum"),
    "no dictionary": (xor, [1.0], "`axes` to be a dictionary"),
    "empty": (xor, {**AXES, "momentum": []}, "a list of numbers, at least one"),
    "text": (xor, {**AXES, "momentum": ["convex"]}, "use `bp.sweep_over`"),
    "not finite": (xor, {**AXES, "momentum": [np.nan]}, "finite numbers"),
    "twice": (xor, {**AXES, "momentum": [0.5, 0.5]}, "different values"),
    "seed": (xor, {**AXES, "seed": [-1]}, "integers from 0 to 4294967295"),
    "large seed": (xor, {**AXES, "seed": [0, 2**32]}, "integers from 0 to 4294967295"),
    "seeds that are no integers": (xor, {**AXES, "seed": [0.5]}, "integers from 0"),
    "drawn seeds": (xor, {**AXES, "seed": bp.sweeps.draws(0, 5, 4)}, "the axis `seed` to hold integers"),
    "large integers": (countdown, {"length": [2**32 + 3]}, "int32"),
    "complex": (xor, {**AXES, "momentum": [0.5 + 1j]}, "a list of numbers"),
    "points": (xor, {"point": bp.points(learning_rate=[1.0, 2.0])}, "none for momentum"),
    "twice in points": (xor, {**AXES, "point": bp.points(momentum=[0.5])}, "each axis once"),
    "not a function": (None, AXES, "expected a trial: a function"),
    "lengths": (xor, {"learning_rate": bp.sweeps.draws(1, 2, 3), "momentum": bp.sweeps.draws(0, 1, 4)}, "one length"),
    "reserved": (lambda key, epochs: countdown(key, epochs), {"epochs": [1]}, "other names of axes than 'epochs'"),
    "no trial": (lambda key, rate: rate, {"rate": [1.0]}, r"return `bp.trial\(...\)`"),
    "shapes": (
        lambda key, hidden: xor(key, jnp.ones(hidden).sum(), 0.0), {"hidden": [2, 3]}, "one shape for all runs",
    ),
    "branches": (
        lambda key, rate: xor(key, 1.0 if rate > 1 else 2.0, 0.0), {"rate": [1.0, 2.0]}, "one shape for all runs",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("trial", "axes", "message"), BAD.values(), ids=BAD)
def test_bad_input(trial, axes, message):
    with pytest.raises(ValueError, match=message):
        bp.sweep(trial, axes, key=jax.random.key(0))


def test_bad_numbers():
    with pytest.raises(ValueError, match="one of auto, lanes, vmap, single"):
        bp.sweep(xor, AXES, key=jax.random.key(0), layout="rows")
    for curves in ([0], [1.7], "21", 5):
        with pytest.raises(ValueError, match="`curves`"):
            bp.sweep(xor, AXES, key=jax.random.key(0), curves=curves)
    with jax.enable_x64(False):
        for rates, message in (([1e39], "within the range of float32"), ([1.0, 1.0 + 1e-12], "differ in float32")):
            with pytest.raises(ValueError, match=message):
                bp.sweep(xor, {**AXES, "learning_rate": rates}, key=jax.random.key(0))
    with pytest.raises(ValueError, match="lists of one length"):
        bp.points(learning_rate=[1, 2], momentum=[0.5])
    with pytest.raises(ValueError, match="every point once"):
        bp.points(learning_rate=[1, 1], momentum=[0.5, 0.5])
    for key in (0, jax.random.PRNGKey(0), jax.random.split(jax.random.key(0), 2)):
        with pytest.raises(ValueError, match="a single key such as"):
            bp.sweep(xor, AXES, key=key)
    with pytest.raises(ValueError, match="`low`"):
        bp.log_draws(0.0, 1.0, 3)
