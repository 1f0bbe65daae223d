"""Wrong arguments of everything around a sweep's axes: one sentence each, on one line."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sweeping import xor

import bpjax as bp
from bpjax.sweeps.progress import as_progress

KEY = jax.random.key(0)
POINT = {"learning_rate": [0.5], "momentum": [0.9], "seed": [0]}


def sweep(**changes):
    return bp.sweep(xor, POINT, **{"key": KEY, **changes})


BAD = {
    "progress": (lambda: sweep(progress=0.7), "`progress` to be True, False, or a function"),
    "progress, empty": (lambda: sweep(progress={}), "`progress` to be True, False, or a function"),
    "receipt": (lambda: sweep(receipt=True), "`Report` of `bp.compare`, or a text"),
    "devices": (lambda: sweep(devices=[]), "a list of devices"),
    "devices as text": (lambda: sweep(devices="cpu"), "a list of devices"),
    "devices of texts": (lambda: sweep(devices=["cpu"]), "a list of devices"),
    "layout": (lambda: sweep(layout=KEY), "one of auto, lanes, vmap, single, llvm"),
    "curves": (lambda: sweep(curves=KEY), "a list of epochs"),
    "curves, a dictionary": (lambda: sweep(curves={1: "a"}), "a list of epochs"),
    "store": (lambda: sweep(store=3), "expected a path, such as 'results/xor'"),
    "flags as seeds": (lambda: bp.sweep(xor, {**POINT, "seed": [False, True]}, key=KEY), "hold integers"),
    "flags among numbers": (lambda: bp.sweep(xor, {**POINT, "momentum": [True, 0.5]}, key=KEY), "a list of numbers"),
    "an array for axes": (lambda: bp.sweep(xor, jnp.ones((2, 3)), key=KEY), r"got float\d\d\[2,3\]"),
    "open": (lambda: bp.open_sweep(True), "`open_sweep` expected a path"),
    "merge": (lambda: bp.merge_sweeps(3), "a list of folders, got 3"),
    "merge, entry": (lambda: bp.merge_sweeps([3]), "`merge_sweeps` expected a path"),
    "merge, target": (lambda: bp.merge_sweeps([], KEY), "`merge_sweeps` expected a path"),
    "delete": (lambda: bp.sweeps.delete_runs(object, seed=0), "`delete_runs` expected a path"),
    "replay": (lambda: bp.replay([], xor, seed=0), "`replay` expected a path"),
    "lanes": (lambda: bp.sweeps.lanes(None), "`f` to be a function"),
    "lanes, in": (lambda: bp.sweeps.lanes(jnp.sin, "word"), "`in_axes` to be an integer or None"),
    "lanes, flag": (lambda: bp.sweeps.lanes(jnp.sin, (True,)), "`in_axes` to be an integer or None"),
    "lanes, out": (lambda: bp.sweeps.lanes(jnp.sin, 0, 2.0), "`out_axes` to be an integer"),
}


@pytest.mark.parametrize(("call", "message"), BAD.values(), ids=BAD)
def test_bad_arguments(call, message):
    with pytest.raises(ValueError, match=message) as raised:
        call()
    assert "\n" not in str(raised.value)


def test_values_of_a_stored_point(tmp_path):
    sweep(store=tmp_path / "xor", progress=np.False_)
    with pytest.raises(ValueError, match="`momentum` to be a finite number"):
        bp.replay(tmp_path / "xor", xor, learning_rate=0.5, momentum="0.9", seed=0)
    with pytest.raises(ValueError, match="`seed` to be a value of the sweep's axis"):
        bp.replay(tmp_path / "xor", xor, learning_rate=0.5, momentum=0.9, seed=10**30)
    with pytest.raises(ValueError, match="`trial` to be a function"):
        bp.replay(tmp_path / "xor", (), learning_rate=0.5, momentum=0.9, seed=0)
    for seed in ("0", ["a"], {}, [[0]], []):
        with pytest.raises(ValueError, match="`delete_runs` expected"):
            bp.sweeps.delete_runs(tmp_path / "xor", seed=seed)
    assert bp.sweeps.delete_runs(tmp_path / "xor", seed=np.array([0])) == 1


def test_rates_are_above_0():
    with pytest.raises(ValueError, match="learning rates above 0"):
        bp.compare_optimizers(lambda key, optimizer: None, {"SGD": bp.momentum}, [-1.0, 0.1], 8, key=KEY)


def test_other_ways_to_write_progress():
    assert as_progress("sweep", np.True_) is True
    assert as_progress("sweep", None) is False
    assert as_progress("sweep", print) is print
