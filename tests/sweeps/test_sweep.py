"""A sweep against single trainings, and its promises: one compilation, no idle places, independent runs."""

import functools
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sweeping
from sweeping import countdown

import bpjax as bp
from bpjax.sweeps.axes import plan
from bpjax.sweeps.computation import trace
from bpjax.sweeps.lanes.layout import Layout
from bpjax.sweeps.pool import make_pool

XOR = bp.xor().present()
AXES = {"learning_rate": [0.5, 4.0], "momentum": [0.0, 0.9], "seed": range(5)}
ROOT, CURVES = jax.random.key(1), (1, 7, 100, 300)


def xor(key, learning_rate, momentum):
    params, _ = sweeping.NETWORK.init(key, (2,))
    optimizer = bp.momentum(learning_rate, momentum)
    return bp.trial(sweeping.RULE, optimizer, params, XOR, key=key, epochs=300, stops=bp.outputs_within(0.4))


@functools.cache
def swept(layout):
    return bp.sweep(xor, AXES, key=ROOT, layout=layout, curves=CURVES)


@functools.cache
def fitted(rate, momentum, seed):
    key = jax.random.fold_in(ROOT, seed)
    params, _ = sweeping.NETWORK.init(key, (2,))
    optimizer = bp.momentum(rate, momentum)
    return bp.fit(sweeping.RULE, optimizer, params, XOR, key=key, epochs=300, stops=bp.outputs_within(0.4))


@pytest.mark.parametrize("layout", ["lanes", pytest.param("vmap", marks=pytest.mark.thorough), "single"])
def test_every_run_is_the_training_that_fit_makes(layout):
    result = swept(layout)
    assert dict(result.sizes) == {"learning_rate": 2, "momentum": 2, "seed": 5, "epoch": 4}
    for rate in AXES["learning_rate"]:
        for momentum in AXES["momentum"]:
            for seed in (0, 3):
                fit = fitted(rate, momentum, seed)
                at = result.sel(learning_rate=rate, momentum=momentum, seed=seed)
                meaning = at.reason.attrs["flag_meanings"].split()[int(at.reason)]
                assert (int(at.epochs), meaning.replace("_", " ")) == (fit.epochs, fit.reason)
                assert float(at.error) == pytest.approx(fit.history.error[-1], rel=1e-9)
                shown = [fit.history.error[e - 1] if e <= fit.epochs else np.nan for e in CURVES]
                np.testing.assert_allclose(at.curve, shown, rtol=1e-9)
                assert bool(at.solved) == (fit.reason == "every output right")


@pytest.mark.thorough
def test_layouts_agree():
    lanes, vmap = swept("lanes"), swept("vmap")
    np.testing.assert_array_equal(lanes.epochs, vmap.epochs)
    np.testing.assert_allclose(lanes.error, vmap.error, rtol=1e-9)


def test_one_compilation_for_the_whole_sweep(caplog):
    def one_axis(key, learning_rate):
        return xor(key, learning_rate, 0.5)

    sweep = functools.partial(bp.sweep, one_axis, layout="lanes")
    with jax.log_compiles(), caplog.at_level("WARNING"):
        sweep({"learning_rate": np.geomspace(0.1, 10, 40), "seed": range(40)}, key=jax.random.key(0))
    assert caplog.text.count("module conversion jit(advance)") == 1
    caplog.clear()
    with jax.log_compiles(), caplog.at_level("WARNING"):
        sweep({"learning_rate": np.geomspace(1, 5, 40), "seed": range(40)}, key=jax.random.key(7))
    assert "module conversion" not in caplog.text and "Finished XLA compilation" not in caplog.text


@pytest.mark.parametrize("name", ["lanes", "vmap"])
def test_a_run_that_is_over_makes_room(name):
    """Time follows the sum of the epochs: 64 runs, one of them 64 times as long as the others, in 8 places."""
    lengths = np.where(np.arange(64) == 5, 256, 4)
    layout = Layout(name, width=8, chunk=4, feed=64)
    key = jax.random.key(0)
    points = plan(countdown, {"length": range(64)}, key)
    computation, constants = trace(countdown, points, key)
    inputs = (), jax.eval_shape(lambda: key), {"length": jax.ShapeDtypeStruct((), np.int32)}
    prepare, begin, advance = make_pool(computation, layout, (), inputs, jax.devices()[0])
    numbers = np.arange(64, dtype=np.int32)
    waiting = prepare(constants, key, np.zeros(64, np.uint32), {"length": lengths.astype(np.int32)}, numbers)
    pool, chunks, stopped = begin(waiting, jnp.int32(64)), 0, []
    while int(pool.next) < 64 or (np.asarray(pool.active.number) >= 0).any():
        pool = advance(constants, pool, np.int32(1), np.bool_(True))
        stopped += np.asarray(pool.results["number"])[: int(pool.stopped)].tolist()
        chunks += 1
    assert sorted(stopped) == list(range(64)) and stopped[-1] == 5
    assert chunks == 64  # of 4 epochs: what the long run needs; in lock-step it would be 8 x 64


def test_trials_made_by_hand_and_curves():
    result = bp.sweep(countdown, {"length": [3, 40, 70]}, key=jax.random.key(0), curves=[1, 33, 70])
    assert result.epochs.values.tolist() == [3, 40, 70] and result.solved.all()
    np.testing.assert_array_equal(result.curve, [[2, np.nan, np.nan], [39, 7, np.nan], [69, 37, 0]])
    assert repr(countdown(jax.random.key(0), 3)) == "Trial(Countdown of 4 entries, stops: done)"


def test_a_trial_has_a_short_repr():
    shown = r"Trial\(Run of \d+ entries, stops: diverged, every output right, epoch limit\)"
    assert re.fullmatch(shown, repr(xor(ROOT, 0.5, 0.9)))


def test_keys_of_another_kind():
    keys = (jax.random.key(0, impl=impl) for impl in ("rbg", None))
    one, other = (bp.sweep(countdown, {"length": [1, 2]}, key=key) for key in keys)
    assert (one.draw != other.draw).all()


def test_values_of_axes_are_the_same_however_they_are_given(float32):
    """Python floats, NumPy's, JAX's and arrays of them: the same values in the runs and the same coordinates."""
    values, key = [0.1, 0.25, 3.0], jax.random.key(0)
    expected = bp.sweep(countdown, {"length": [1], "rate": values}, key=key)
    assert expected.rate.dtype == float and expected.rate.values.tolist() == values
    as_others = np.array(values), np.array(values, np.float32), jnp.array(values), [jnp.float32(v) for v in values]
    for given in (*as_others, tuple(np.float64(v) for v in values)):
        result = bp.sweep(countdown, {"length": jnp.array([1]), "rate": given}, key=key)
        assert result.drop_attrs().identical(expected.drop_attrs()), given


def test_a_trial_checks_its_limit_of_epochs_however_it_is_given():
    for limit in (0, np.int64(0), jnp.int32(0), 1.5, True, np.ones(2)):
        with pytest.raises(ValueError, match="`trial` expected `epochs` to be an integer ≥ 1"):
            params, _ = sweeping.NETWORK.init(ROOT, (2,))
            bp.trial(sweeping.RULE, bp.momentum(0.1, 0.9), params, XOR, key=ROOT, epochs=limit)


LINEAR = bp.chain(bp.dense(1))
LINEAR_RULE, LINEAR_BATCH = bp.backprop(LINEAR, bp.squared_error), (jnp.ones((4, 3)), jnp.ones((4, 1)))


def linear(key, learning_rate):
    params, _ = LINEAR.init(key, (3,))
    optimizer, stored = bp.momentum(learning_rate, 0.0), lambda run: {"weights": run.state.params[0].w}
    return bp.trial(LINEAR_RULE, optimizer, params, LINEAR_BATCH, key=key, epochs=60, outcome=stored)


@functools.cache
def with_diverging_rates():
    rates = [0.01, 30.0, 0.02, 1e30, 0.03]
    return bp.sweep(linear, {"learning_rate": rates, "seed": range(3)}, key=jax.random.key(0))


def test_a_diverged_run_is_quarantined():
    """A linear network at rates far too high: recorded with its epoch, and without effect on the other runs."""
    mixed, low = with_diverging_rates(), [0.01, 0.02, 0.03]
    alone = bp.sweep(linear, {"learning_rate": low, "seed": range(3)}, key=jax.random.key(0))
    assert mixed.diverged.values.tolist() == [[False] * 3, [True] * 3, [False] * 3, [True] * 3, [False] * 3]
    assert (mixed.epochs.sel(learning_rate=[30.0, 1e30]) < 10).all()
    for name in ("error", "epochs", "reason", "weights"):
        np.testing.assert_array_equal(mixed[name].sel(learning_rate=low), alone[name])


def test_outcomes_of_the_caller():
    assert with_diverging_rates().weights.shape == (5, 3, 3, 1)


def test_drawn_axes_share_a_dimension():
    axes = {"learning_rate": bp.log_draws(0.1, 10, 50), "momentum": bp.sweeps.draws(0, 0.5, 50), "seed": range(2)}
    result = bp.sweep(countdown, {"length": bp.sweeps.draws(1, 3, 50), **axes}, key=jax.random.key(4))
    assert dict(result.sizes) == {"sample": 50, "seed": 2}
    rates, momenta = result.learning_rate.values, result.momentum.values
    assert rates.min() > 0.1 and rates.max() < 10 and 0.25 < (rates < 1).mean() < 0.75
    assert momenta.max() < 0.5 and abs(np.corrcoef(np.log(rates), momenta)[0, 1]) < 0.5


def test_points_and_a_single_run():
    grid = bp.sweep(xor, AXES, key=ROOT)
    pairs = bp.sweep(xor, {"point": bp.points(learning_rate=[4.0, 0.5], momentum=[0.0, 0.9]), "seed": [4, 1]}, key=ROOT)
    assert dict(pairs.sizes) == {"point": 2, "seed": 2} and pairs.learning_rate.dims == ("point",)
    for point, rate, momentum in ((0, 4.0, 0.0), (1, 0.5, 0.9)):
        for name in ("error", "epochs"):
            there = grid[name].sel(learning_rate=rate, momentum=momentum, seed=[4, 1])
            np.testing.assert_array_equal(pairs[name].isel(point=point), there)

    one = bp.sweep(lambda key: xor(jax.random.fold_in(ROOT, 4), 4.0, 0.0), {}, key=ROOT)
    assert dict(one.sizes) == {} and float(one.error) == float(grid.error.sel(learning_rate=4.0, momentum=0.0, seed=4))


def test_more_draws_keep_the_earlier_ones():
    """A sample depends on the key, the name of its axis and its number alone."""
    axes = {"length": bp.sweeps.draws(1, 9, 3), "a": bp.log_draws(0.1, 10, 3)}
    few = bp.sweep(countdown, axes, key=ROOT)
    many = bp.sweep(countdown, {"a": bp.log_draws(0.1, 10, 7), "length": bp.sweeps.draws(1, 9, 7)}, key=ROOT)
    for name in ("length", "a", "draw", "given_a"):
        np.testing.assert_array_equal(few[name], many[name][:3])


def test_other_data_of_the_same_shapes_do_not_compile(caplog):
    """Another closure with other data, other lengths of the axes: the program is the same."""

    def make(target):
        def trial(key, learning_rate):
            params, _ = sweeping.NETWORK.init(key, (2,))
            batch = XOR[0], jnp.asarray(target, float)[:, None]
            return bp.trial(sweeping.RULE, bp.momentum(learning_rate, 0.5), params, batch, key=key, epochs=30)

        return trial

    first = bp.sweep(make([0, 1, 1, 0]), {"learning_rate": [0.5, 1.0], "seed": range(3)}, key=ROOT)
    with jax.log_compiles(), caplog.at_level("WARNING"):
        other = bp.sweep(make([0, 0, 0, 1]), {"learning_rate": [0.5, 1.0, 2.0, 3.0], "seed": range(70)}, key=ROOT)
    assert "Finished XLA compilation" not in caplog.text
    assert (first.error != other.error.sel(learning_rate=[0.5, 1.0], seed=range(3))).all()


def test_watched_values_along_every_run():
    """The weights at chosen epochs are those of a training of so many epochs."""

    def watching(key, learning_rate, epochs=40):
        params, _ = sweeping.NETWORK.init(key, (2,))
        return bp.trial(
            sweeping.RULE, bp.momentum(learning_rate, 0.5), params, XOR, key=key, epochs=epochs,
            watch={"weights": lambda run: run.params[0].w, "steps": lambda run: run.epoch},
        )  # fmt: skip

    result = bp.sweep(watching, {"learning_rate": [0.5, 2.0], "seed": [0, 1]}, key=ROOT, curves=[1, 7, 40, 50])
    assert result.weights.dims == ("learning_rate", "seed", "epoch", "weights_0", "weights_1")
    assert result.steps.values[0, 0].tolist() == [1, 7, 40, 0] and np.isnan(result.weights[..., 3, :, :]).all()
    key = jax.random.fold_in(ROOT, 1)
    params, _ = sweeping.NETWORK.init(key, (2,))
    after = bp.fit(sweeping.RULE, bp.momentum(2.0, 0.5), params, XOR, key=key, epochs=7)
    np.testing.assert_allclose(result.weights.sel(learning_rate=2.0, seed=1, epoch=7), after.params[0].w, rtol=1e-9)


def test_the_record_says_how_the_result_was_made():
    result = bp.sweep(xor, AXES, key=ROOT, curves=CURVES, config={"purpose": "test"}, receipt="right")
    record = json.loads(result.attrs["record"])
    assert record["config"] == {"purpose": "test"} and result.attrs["receipt"] == "right"
    assert record["versions"]["jax"] == jax.__version__ and record["precision"]["x64"] is True
    assert record["device"]["platform"] == jax.default_backend()


def test_progress_is_reported():
    reports = []
    result = bp.sweep(xor, AXES, key=ROOT, curves=CURVES, progress=reports.append)
    assert reports[0].done == 0 and reports[-1].done == reports[-1].runs == 20
    assert reports[-1].epochs == int(result.epochs.sum()) and reports[-1].rate > 0


@pytest.mark.thorough
def test_the_result_does_not_depend_on_the_number_of_devices(whole):
    """A process with two devices makes the same bits as this one."""
    environment = {
        **os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=2",
        "PYTHONPATH": str(Path(sweeping.__file__).parent), "JAX_DEFAULT_MATMUL_PRECISION": "highest",
    }  # fmt: skip
    command = [sys.executable, str(Path(sweeping.__file__))]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["2", sweeping.digest(whole)] and len(jax.devices()) != 2
