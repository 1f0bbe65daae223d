"""Sweeps that LLVM compiles: the same trainings as XLA's lanes, and the same bits however they are arranged."""

import json
import logging
import sys
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sweeping

import bpjax as bp
from bpjax.sweeps import llvm_choice, llvm_pool, workers
from bpjax.sweeps.axes import plan
from bpjax.sweeps.computation import trace
from bpjax.sweeps.lanes.llvm import compiled
from bpjax.sweeps.lanes.llvm.machine import versions

pytestmark = pytest.mark.usefixtures("as_a_user_runs_it")
FEW = {"learning_rate": [0.5, 8.0], "momentum": [0.9], "seed": range(20)}
KEY = jax.random.key(3)


def few(**options):
    return bp.sweep(sweeping.xor, FEW, **{"key": KEY, "curves": [1, 50, 600], "layout": "llvm", **options})


@pytest.fixture
def ours():
    return few()


def test_epochs_and_curves_are_those_of_xla(whole, optimized):
    theirs = sweeping.swept(layout="lanes")
    same = (whole.epochs == theirs.epochs).values
    assert same.mean() >= 0.995 and theirs.epochs.values.std() > 50
    assert abs(float(whole.solved.mean() - theirs.solved.mean())) < 0.005
    np.testing.assert_allclose(whole.curve.values[same], theirs.curve.values[same], rtol=0.02, atol=1e-6)
    assert (np.isnan(whole.curve) == np.isnan(theirs.curve)).values[same].all()


def test_auto_chooses_llvm_for_small_runs(whole, monkeypatch):
    assert whole.attrs["layout"].startswith("llvm: a run is ")
    monkeypatch.setattr(llvm_choice.importlib.metadata, "version", lambda _: "0.43.2")
    assert sweeping.counted(sweeping.SMALL).attrs["layout"].startswith("lanes")


@pytest.mark.parametrize("hidden, is_chosen", [(32, True), (300, False)])  # 19 and 179 kB a run
def test_auto_leaves_large_networks_to_xla(hidden, is_chosen):
    network = bp.mlp((64, hidden, 10), bp.tanh)

    def trial(key):
        params, _ = network.init(key, (64,))
        rule = bp.backprop(network, bp.squared_error)
        return bp.trial(rule, bp.momentum(0.1, 0.9), params, (jnp.ones((3, 64)), jnp.ones((3, 10))), key=key)

    computation, _ = trace(trial, plan(trial, {}, KEY), KEY)
    choice = llvm_choice.llvm_choice("auto", computation, (), "cpu")
    assert (choice is not None) == is_chosen


def test_a_store_goes_on_in_the_lanes_of_xla_that_began_it(tmp_path):
    sweeping.counted(sweeping.SMALL, tmp_path / "store", layout="lanes")
    more = {**sweeping.SMALL, "seed": range(5)}
    assert sweeping.counted(more, tmp_path / "store").attrs["layout"].startswith("lanes")
    with pytest.raises(ValueError, match="llvm"):
        sweeping.counted(more, tmp_path / "store", layout="llvm")


def test_the_bits_depend_on_no_arrangement(ours, monkeypatch):
    digest = sweeping.digest(ours)
    for width, cores, epochs in ((4, 1, 256), (8, 3, 1), (16, 2, 7)):
        monkeypatch.setattr(llvm_pool, "width", lambda _, width=width: width)
        monkeypatch.setattr(workers, "cores", lambda cores=cores: cores)
        monkeypatch.setattr(llvm_pool, "FIRST_EPOCHS", epochs)
        llvm_pool.functions_of.cache_clear()
        assert sweeping.digest(few()) == digest
    llvm_pool.functions_of.cache_clear()


def test_integers_and_draws_equal_those_of_xla():
    ours, theirs = sweeping.counted(sweeping.LARGE, layout="llvm"), sweeping.counted(sweeping.LARGE, layout="vmap")
    assert ours.attrs["layout"].startswith("llvm") and sweeping.digest(ours) == sweeping.digest(theirs)


class Pair(NamedTuple):
    """Two numbers that change places; the process has done three epochs before it starts."""

    epoch: jax.Array
    reason: jax.Array
    a: jax.Array
    b: jax.Array


def pair(key, first):
    def epoch(run):
        after = Pair(run.epoch + 1, (run.epoch + 1 >= 7).astype(jnp.int32), run.b, run.a + 1)
        after = jax.tree.map(lambda new, old: jnp.where(run.reason == 0, new, old), after, run)
        return after, sweeping.Record(after.a)

    outcome = lambda run: {"epochs": run.epoch, "a": run.a, "b": run.b}  # noqa: E731
    start = Pair(jnp.asarray(3, jnp.int32), jnp.zeros((), jnp.int32), first, first * 10)
    return bp.training.Trial(start, bp.training.Program(epoch, outcome, ("running", "done")))


def test_entries_that_change_places_and_a_start_after_some_epochs():
    """(1, 10) -> (10, 2) -> (2, 11) -> (11, 3) -> (3, 12) in epochs 4 to 7."""
    result = bp.sweep(pair, {"first": [1.0, 2.0]}, key=KEY, layout="llvm", curves=[1, 3, 4, 6, 7, 9])
    assert result.attrs["layout"].startswith("llvm") and result.epochs.values.tolist() == [7, 7]
    assert (result.a.values.tolist(), result.b.values.tolist()) == ([3.0, 4.0], [12.0, 22.0])
    np.testing.assert_array_equal(result.curve.values[0], [np.nan, np.nan, 10, 11, 3, np.nan])


def test_many_blocks():
    """More calls than doublings of the epochs of a call fit into an integer."""
    axes = {"length": [1], "rate": np.arange(90.0), "seed": range(128)}
    assert (sweeping.counted(axes, layout="llvm").epochs == 1).all()


def test_watched_values_outcomes_and_divergence():
    def trial(key, learning_rate):
        params, _ = sweeping.NETWORK.init(key, (2,))
        watch = {"largest": lambda run: jnp.abs(run.params[0].w).max(), "bias": lambda run: run.params[0].b}
        outcome = lambda run: {"weights": run.params[2].w, "steps": run.state.optimizer.steps}  # noqa: E731
        optimizer = bp.momentum(learning_rate, 0.5)
        return bp.trial(
            sweeping.RULE, optimizer, params, bp.xor().present(), key=key, epochs=12, watch=watch, outcome=outcome
        )

    axes = {"learning_rate": [0.1, 3.0, 1e30], "seed": range(5)}
    ours, theirs = (
        bp.sweep(trial, axes, key=KEY, curves=[2, 5, 12, 40], layout=name) for name in ("llvm", "vmap")
    )  # fmt: skip
    assert ours.attrs["layout"].startswith("llvm")
    for name in ("reason", "epochs", "steps", "refused"):
        np.testing.assert_array_equal(ours[name], theirs[name])
    for name in ("curve", "largest", "bias", "weights"):
        np.testing.assert_allclose(ours[name][:2], theirs[name][:2], rtol=1e-5, atol=1e-6)
        assert ours[name].dims == theirs[name].dims
    assert bool(np.isnan(ours.largest.values[0, 0, 3])) and not np.isnan(ours.largest.values[0, 0, :3]).any()


def test_a_store_continues_and_every_run_is_repeated_bit_for_bit(ours, tmp_path):
    part = {**FEW, "seed": range(7)}
    bp.sweep(sweeping.xor, part, key=KEY, curves=[1, 50, 600], layout="llvm", store=tmp_path / "store")
    again = few(layout="auto", store=tmp_path / "store")  # a store keeps its layout
    assert sweeping.digest(again) == sweeping.digest(ours)
    record = json.loads(again.attrs["record"])
    assert record["layout"]["name"] == "llvm" and versions() in again.attrs["layout"]
    for rate, seed in ((0.5, 3), (8.0, 19)):
        repeated = bp.replay(tmp_path / "store", sweeping.xor, learning_rate=rate, momentum=0.9, seed=seed)
        epochs = int(ours.epochs.sel(learning_rate=rate, seed=seed).item())
        assert repeated.same and len(repeated.history.error) == epochs
        assert repeated.history.error[-1] == np.float32(ours.error.sel(learning_rate=rate, seed=seed).item())
        assert jnp.issubdtype(repeated.run.key.dtype, jax.dtypes.prng_key)


@pytest.mark.thorough
def test_double_precision():
    """In float64 the order of a sum decides no epoch."""
    with jax.enable_x64(True):
        ours, theirs = (few(layout=name) for name in ("llvm", "lanes"))
    assert ours.error.dtype == np.float64 and ours.attrs["layout"].startswith("llvm")
    np.testing.assert_array_equal(ours.epochs, theirs.epochs)
    np.testing.assert_allclose(ours.curve, theirs.curve, rtol=1e-9)


@pytest.mark.thorough
def test_batches_in_a_random_order(tmp_path):
    """The same order as in XLA; the key of the run changes nothing but the order, and a replay draws it again."""

    def trial(key, learning_rate):
        params, _ = sweeping.NETWORK.init(key, (2,))
        optimizer = bp.momentum(learning_rate, 0.0)
        return bp.trial(sweeping.RULE, optimizer, params, bp.xor().present(), key=key, epochs=4, batch_size=3)

    axes = {"learning_rate": [0.5], "seed": range(5)}
    ours, theirs = (
        bp.sweep(trial, axes, key=KEY, curves=[1, 4], layout=name, store=tmp_path / name) for name in ("llvm", "vmap")
    )
    assert ours.attrs["layout"].startswith("llvm")
    np.testing.assert_allclose(ours.curve, theirs.curve, rtol=1e-5)
    assert bp.replay(tmp_path / "llvm", trial, learning_rate=0.5, seed=4).same


def test_another_version_of_the_compiler_is_another_sweep(tmp_path, monkeypatch):
    few(store=tmp_path / "store")
    monkeypatch.setattr(sys.modules["bpjax.sweeps.lanes.llvm.machine"], "versions", lambda: "1.0")
    with pytest.raises(ValueError, match=r"llvm .* there, 1\.0 here"):
        few(store=tmp_path / "store")


def unruly(key, length):
    """A countdown whose epochs use a primitive that LLVM has no rule for."""
    start, program = sweeping.countdown(key, length)

    def epoch(run):
        after, record = program.epoch(run)
        return after, sweeping.Record(record.error + 0 * jax.lax.lgamma(record.error))

    return bp.training.Trial(start, program._replace(epoch=epoch))


def test_what_has_no_rule_is_left_to_xla_with_one_line(caplog):
    with caplog.at_level(logging.WARNING, "bpjax.sweeps.lanes"):
        result = bp.sweep(unruly, {"length": [3, 9]}, key=KEY, layout="llvm")
    (line,) = [r.getMessage() for r in caplog.records]
    assert line == "LLVM does not compile this sweep, XLA does: lgamma has no rule"
    assert result.attrs["layout"].startswith("lanes") and result.epochs.values.tolist() == [3, 9]


def test_other_devices_and_other_draws_are_left_to_xla(caplog):
    with caplog.at_level(logging.WARNING, "bpjax.sweeps.lanes"):
        assert llvm_choice.llvm_choice("llvm", None, (), "gpu") is None
        with jax.threefry_partitionable(False):
            assert llvm_choice.llvm_choice("llvm", None, (), "cpu") is None
    assert "CPUs alone" in caplog.text and "threefry_partitionable=False" in caplog.text


def test_llvmlite_is_named_where_it_is_missing(monkeypatch):
    for name in list(sys.modules):
        if name.startswith(("llvmlite", "bpjax.sweeps.lanes.llvm", "bpjax.sweeps.llvm_pool")):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "llvmlite", None)
    llvm_choice.unsupported.cache_clear()
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'bpjax\[llvm\]'"):
        few()
    assert llvm_choice.llvm_choice("auto", None, (), "cpu") is None


def test_a_second_sweep_compiles_nothing(monkeypatch, caplog):
    few()
    key = jax.random.key(4)  # outside: after `jax.clear_caches()` it is compiled again
    monkeypatch.setattr(llvm_pool, "Compiled", None)
    with jax.log_compiles(), caplog.at_level("WARNING"):
        few(key=key)
    assert "Finished XLA compilation" not in caplog.text


def test_no_number_is_computed_with_assumptions():
    """LLVM's code has no flag that would let it assume that numbers are finite, or change the order of operations."""
    computation, _ = trace(sweeping.xor, plan(sweeping.xor, FEW, KEY), KEY)
    text = compiled.write(computation, (), 8, False).text
    assert "llvm.fma.v8f32" in text
    assert not [
        flag for flag in ("fast", "nnan", "ninf", "nsz", "arcp", "contract", "reassoc", "afn") if f" {flag} " in text
    ]
