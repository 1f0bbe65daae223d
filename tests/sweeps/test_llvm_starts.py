"""Starts of runs that LLVM compiles: the draws of JAX, and XLA's starts where an operation has no rule."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bpjax as bp
from bpjax.sweeps import llvm_pool

pytestmark = pytest.mark.usefixtures("as_a_user_runs_it")
KEY = jax.random.key(11)
AXES = {"scale": [0.5, 3.0], "seed": [4, 2**31 + 7, 9]}


class Drawn(NamedTuple):
    """A run that stops after an epoch; nothing but its start matters."""

    epoch: jax.Array
    reason: jax.Array
    values: dict
    key: jax.Array


class Record(NamedTuple):
    error: jax.Array


def trial_of(draw):
    def trial(key, scale):
        def epoch(run):
            one = jnp.ones((), jnp.int32)
            return run._replace(epoch=one, reason=one), Record(scale)

        zero = jnp.zeros((), jnp.int32)
        program = bp.training.Program(epoch, lambda run: {"epochs": run.epoch, **run.values}, ("running", "done"))
        return bp.training.Trial(Drawn(zero, zero, draw(key, scale), key), program)

    return trial


def drawn(key, scale):
    keys = jax.random.split(key, 4)
    return {
        "normal": scale * jax.random.normal(keys[0], (2, 20)),
        "truncated": jax.nn.initializers.glorot_normal()(keys[1], (30, 3)),
        "uniform": jax.random.uniform(keys[2], (5,), minval=-0.3, maxval=0.3),
        "order": jax.random.permutation(keys[3], 50),
        "bits": jax.random.bits(keys[3], (3,)),
        "words": jax.random.key_data(keys[0]),
    }


def draws_of(draw, key):
    """The draws of `AXES` by JAX."""
    keys = jax.vmap(lambda seed: jax.random.fold_in(key, seed))(jnp.array(AXES["seed"], jnp.uint32))
    one = jax.vmap(draw, in_axes=(0, None))
    return jax.jit(jax.vmap(one, in_axes=(None, 0)))(keys, jnp.array(AXES["scale"]))


def test_starts_are_those_of_jax(monkeypatch, optimized):
    """Integers and keys bit for bit; floats to four units in the last place of the largest."""
    monkeypatch.setattr(llvm_pool, "starts_by_xla", None)
    ours = bp.sweep(trial_of(drawn), AXES, key=KEY, layout="llvm")
    assert ours.attrs["layout"].startswith("llvm")
    for name, theirs in draws_of(drawn, KEY).items():
        mine, theirs = ours[name].values, np.asarray(theirs)
        assert mine.dtype == theirs.dtype and mine.shape == theirs.shape
        if theirs.dtype.kind == "f":
            assert np.abs(mine - theirs).max() <= 4 * np.spacing(np.abs(theirs).max())
        else:
            np.testing.assert_array_equal(mine, theirs)


def test_a_start_without_a_rule_is_made_by_xla_with_one_line(tmp_path, caplog):
    """A replay starts in the same way."""

    def draw(key, scale):
        return {"draw": jax.lax.lgamma(scale + jax.random.uniform(key, (2,)))}

    with caplog.at_level("INFO", "bpjax.sweeps.lanes"):
        ours = bp.sweep(trial_of(draw), AXES, key=KEY, layout="llvm", store=tmp_path / "store")
    (line,) = [record.getMessage() for record in caplog.records]
    assert line == "LLVM does not compile the starts of these runs, XLA does: lgamma has no rule"
    assert ours.attrs["layout"].startswith("llvm")
    np.testing.assert_allclose(ours.draw, draws_of(draw, KEY)["draw"], rtol=1e-5)
    assert bp.replay(tmp_path / "store", trial_of(draw), scale=3.0, seed=9).same
