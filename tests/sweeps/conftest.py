"""The sweep that the tests of stores and of devices compare with."""

import jax
import pytest
import sweeping

from bpjax.sweeps import grid


@pytest.fixture(scope="session")
def whole():
    """The small sweep of `sweeping`, in one go, as a user runs it."""
    with jax.enable_x64(False), jax.numpy_rank_promotion("allow"):
        return sweeping.swept()


@pytest.fixture
def small_chunks(monkeypatch):
    """Stores with several chunks, although the sweeps are small."""
    monkeypatch.setattr(grid, "RUNS_A_CHUNK", 4)


@pytest.fixture
def store(tmp_path, as_a_user_runs_it, small_chunks):
    """The small sweep of countdowns in a store."""
    sweeping.counted(sweeping.SMALL, tmp_path / "store")
    return tmp_path / "store"
