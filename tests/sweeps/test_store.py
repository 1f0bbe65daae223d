"""A sweep on disk: killed and continued, damaged, mixed up, and one run of it repeated."""

import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
import sweeping

import bpjax as bp
from bpjax.sweeps import grid
from bpjax.sweeps.store import SweepStore

pytestmark = pytest.mark.usefixtures("as_a_user_runs_it")


@pytest.fixture(scope="module")
def stored(tmp_path_factory, whole):
    """The folder of the small sweep, complete; tests that change it take a copy."""
    folder = tmp_path_factory.mktemp("sweeps") / "store"
    with pytest.MonkeyPatch.context() as patch, jax.enable_x64(False), jax.numpy_rank_promotion("allow"):
        patch.setattr(grid, "RUNS_A_CHUNK", 128)  # six chunks
        assert sweeping.swept(folder).identical(whole)
    return folder


def chunks_of(store, name="error"):
    return sorted(p for p in (store / name / "c").rglob("*") if p.is_file())


def test_stored_and_opened_again(stored, whole):
    reports = []
    assert sweeping.swept(stored, progress=reports.append).identical(whole)
    assert [report.done for report in reports] == [sweeping.RUNS]  # nothing was run again


@pytest.mark.parametrize("layout", ["auto", pytest.param("lanes", marks=pytest.mark.thorough)])
def test_killed_and_started_again_it_ends_with_the_same_bits(tmp_path, whole, layout):
    """The sweep continues from whatever is there."""
    store = tmp_path / "store"
    whole = whole if layout == "auto" else sweeping.swept(layout=layout)
    code = (
        "import sys, time, sweeping, bpjax.sweeps.result as r\n"
        "add = r.Results.add\n"
        "def slow(self, log):\n    add(self, log); time.sleep(0.05)\n"
        "r.Results.add = slow\n"
        "import bpjax.sweeps.grid; bpjax.sweeps.grid.RUNS_A_CHUNK = 128\n"
        "import bpjax.sweeps.workers; bpjax.sweeps.workers.CALL_SECONDS = 1e-3\n"
        "import bpjax.sweeps.llvm_pool as p; p.CALL_SECONDS = p.COLLECT_SECONDS = 1e-4\n"
        f"sweeping.swept({str(store)!r}, layout={layout!r})"
    )
    environment = {
        **os.environ, "PYTHONPATH": str(Path(sweeping.__file__).parent), "JAX_DEFAULT_MATMUL_PRECISION": "highest"
    }  # fmt: skip
    process = subprocess.Popen([sys.executable, "-c", code], env=environment)
    deadline = time.time() + 120
    first = store / "check" / "c" / "0" / "0" / "0"
    while not first.exists() and process.poll() is None and time.time() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    reports = []
    assert sweeping.swept(store, progress=reports.append).identical(whole)
    assert 0 < reports[0].done < sweeping.RUNS


@pytest.mark.parametrize("damage", ["flipped", "cut", "gone"])
def test_a_damaged_chunk_is_run_again_and_reported(tmp_path, stored, whole, caplog, damage):
    shutil.copytree(stored, tmp_path / "store")
    path = chunks_of(tmp_path / "store", "epochs" if damage == "cut" else "error")[1]
    data = bytearray(path.read_bytes())
    if damage == "flipped":
        data[len(data) // 2] ^= 0xFF
    path.write_bytes(data[: len(data) // 2] if damage == "cut" else data)
    if damage == "gone":
        path.unlink()
    reports = []
    assert sweeping.swept(tmp_path / "store", progress=reports.append).identical(whole)
    assert 0 < reports[0].done < sweeping.RUNS
    assert caplog.text.count("are damaged and will be run again") == 1


def test_another_sweep_is_not_mixed_in(tmp_path):
    sweeping.swept(tmp_path / "store", config={"purpose": "one"})
    with pytest.raises(ValueError, match=r"differ in curves: \[1, 50, 600\] there, \[7\] here"):
        bp.sweep(sweeping.xor, sweeping.AXES, key=jax.random.key(3), store=tmp_path / "store", curves=[7])


def test_what_is_not_a_sweep_is_left_alone(tmp_path):
    (tmp_path / "letter").write_text("dear")
    with pytest.raises(ValueError, match="holds something that is not a sweep"):
        sweeping.swept(tmp_path)
    assert (tmp_path / "letter").read_text() == "dear"
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="choose another"):
        sweeping.swept(tmp_path / "file" / "store")


def test_a_full_disk_loses_nothing(tmp_path, whole, monkeypatch):
    """The runs written before are kept, the others are returned with a warning; later the sweep continues."""
    half = {**sweeping.AXES, "learning_rate": [0.5]}
    bp.sweep(sweeping.xor, half, key=jax.random.key(3), store=tmp_path / "store", curves=[1, 50, 600])
    write = SweepStore.write

    class Full:
        def __setitem__(self, rows, array):
            raise OSError(errno.ENOSPC, "No space left on device")

    def on_a_full_disk(self, *arguments):
        monkeypatch.setitem(self.arrays, "error", Full())
        write(self, *arguments)

    monkeypatch.setattr(SweepStore, "write", on_a_full_disk)
    with pytest.warns(RuntimeWarning, match="could not be written .No space left.*only in the returned result"):
        assert sweeping.swept(tmp_path / "store").equals(whole)
    monkeypatch.undo()
    reports = []
    assert sweeping.swept(tmp_path / "store", progress=reports.append).equals(whole)
    assert reports[0].done == 240


def test_a_run_repeated_alone_has_the_same_bits(stored, whole):
    for point in (
        {"learning_rate": 8.0, "momentum": 0.9, "seed": 5},
        {"learning_rate": 2.0, "momentum": 0.0, "seed": 119},
    ):
        again = bp.replay(stored, sweeping.xor, **point)
        at = whole.sel(point)
        assert again.same is True
        assert len(again.history.error) == again.outcome["epochs"] == at.epochs
        assert again.history.error[-1].tobytes() == at.error.values.tobytes()
        assert again.history.error[0] == at.curve.sel(epoch=1)
        assert repr(again).startswith("Replay(reason=") and repr(again).endswith("same=True)") and len(repr(again)) < 80
        assert again.run.state.params[0].w.shape == (2, 2)


def test_replay_knows_a_run_that_differs(stored):
    def other(key, learning_rate, momentum):
        return sweeping.xor(key, 1.01 * learning_rate, momentum)

    assert bp.replay(stored, other, learning_rate=2.0, momentum=0.0, seed=1).same is False


def test_replay_of_what_is_not_there(tmp_path, stored):
    with pytest.raises(ValueError, match="the folder of a stored sweep"):
        bp.replay(tmp_path, seed=1)
    with pytest.raises(ValueError, match="a value for each of learning_rate, momentum, seed"):
        bp.replay(stored, sweeping.xor, seed=1)
    with pytest.raises(ValueError, match="the nearest is 2"):
        bp.replay(stored, sweeping.xor, learning_rate=2.2, momentum=0.0, seed=1)


def test_the_numbers_are_those_of_numpy(whole):
    """Gradient descent by hand: the 50th error of one run, in plain NumPy from its initial weights."""
    key = jax.random.fold_in(jax.random.key(3), 4)
    params, _ = sweeping.NETWORK.init(key, (2,))
    x, t = (np.asarray(a, np.float64) for a in bp.xor().present())
    (w, b), (v, c) = ((np.asarray(p.w, np.float64), np.asarray(p.b, np.float64)) for p in (params[0], params[2]))
    for _ in range(50):
        h = 1 / (1 + np.exp(-(x @ w + b)))
        o = 1 / (1 + np.exp(-(h @ v + c)))
        error = 0.5 * ((t - o) ** 2).sum()
        output = (o - t) * o * (1 - o)
        hidden = (output @ v.T) * h * (1 - h)
        v, c, w, b = v - 0.5 * h.T @ output, c - 0.5 * output.sum(0), w - 0.5 * x.T @ hidden, b - 0.5 * hidden.sum(0)
    at = whole.sel(learning_rate=0.5, momentum=0.0, seed=4, epoch=50)
    assert float(at.curve) == pytest.approx(error, rel=1e-5)
