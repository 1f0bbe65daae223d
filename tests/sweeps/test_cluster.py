"""A sweep in four processes that submitit starts, one of them killed."""

import functools
import json
import os
import signal
import time
from pathlib import Path

import jax
import pytest
import sweeping

import bpjax as bp

pytestmark = [pytest.mark.usefixtures("as_a_user_runs_it"), pytest.mark.thorough]


def files(store: Path) -> dict[str, bytes]:
    """The bytes of all arrays of a store."""
    return {str(p.relative_to(store)): p.read_bytes() for p in store.rglob("*/c/**/*") if p.is_file()}


def process_of(store: Path, part: str, seconds: float) -> int:
    """The number of the process that computes a part, as its lock says."""
    deadline = time.time() + seconds
    while time.time() < deadline:
        for path in store.glob(".lock-*"):
            try:
                holder = json.loads(path.read_text())
            except (OSError, ValueError):
                continue
            if holder["part"] == part:
                return holder["process"]
        time.sleep(0.01)
    raise TimeoutError(f"nothing computes {part}")


def test_one_of_four_processes_is_killed_and_started_again(tmp_path, monkeypatch):
    """The bytes of the store are those that one process writes."""
    submitit = pytest.importorskip("submitit")
    folders = [str(Path(sweeping.__file__).parent), str(Path(bp.__file__).parent.parent)]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([*folders, os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("JAX_DEFAULT_MATMUL_PRECISION", str(jax.config.jax_default_matmul_precision or "default"))
    store = tmp_path / "store"
    executor = submitit.LocalExecutor(tmp_path / "logs")
    executor.update_parameters(timeout_min=5)
    jobs = executor.map_array(functools.partial(sweeping.slow_part, store, 4), range(4))
    os.kill(process_of(store, "2/4", 200), signal.SIGKILL)
    for index in (0, 1, 3):
        jobs[index].result()
    with pytest.raises(Exception, match="(?i)job"):
        jobs[2].result()
    missing = bp.open_sweep(store).attrs["missing"]
    executor.submit(sweeping.slow_part, store, 4, 2).result()
    for index in range(4):
        sweeping.slow_part(tmp_path / "one", 4, index)
    assert 0 < missing < 45 and files(store) == files(tmp_path / "one")
    assert bp.open_sweep(store).attrs["missing"] == 0 and not list(store.glob(".lock-*"))
