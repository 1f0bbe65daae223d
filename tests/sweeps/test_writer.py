"""One process at a time writes a store."""

import json
import os
import subprocess
import sys
import time

import pytest
from sweeping import LARGE, SMALL
from sweeping import counted as swept

import bpjax as bp
from bpjax.sweeps import holder, writer
from bpjax.util import locks

pytestmark = pytest.mark.usefixtures("as_a_user_runs_it", "small_chunks")

HOLD = """
import sys, time
from pathlib import Path
from bpjax.sweeps.writer import only_writer
with only_writer(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_one_writer_at_a_time(store):
    """A second process is refused in a sentence that says who writes; after SIGKILL nothing is held."""
    with subprocess.Popen([sys.executable, "-c", HOLD, str(store)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        with pytest.raises(ValueError, match=rf"is being written by process {holder.pid} on .*one writer at a time"):
            swept(LARGE, store)
        assert bp.open_sweep(store).attrs["missing"] == 0  # reading is possible
        holder.kill()
    assert (store / writer.HOLDER).exists()
    swept(SMALL, store)
    assert not (store / writer.HOLDER).exists()


def test_a_writer_on_another_machine_counts_until_it_is_silent(store, monkeypatch):
    """There the lock of the operating system may not be seen: its file with signs of life is."""
    (store / writer.HOLDER).write_text(json.dumps({"host": "elsewhere", "process": 7, "since": "2026-01-01 00:00:00"}))
    with pytest.raises(ValueError, match="process 7 on elsewhere, since 2026-01-01.*counts as dead after 120 s"):
        swept(SMALL, store)
    long_ago = time.time() - 2 * holder.SILENCE
    os.utime(store / writer.HOLDER, (long_ago, long_ago))
    swept(SMALL, store)


def test_where_nothing_can_be_locked_signs_of_life_decide(store, monkeypatch):
    monkeypatch.setattr(locks, "fcntl", None)
    (store / writer.HOLDER).write_text(json.dumps(holder.this_process()))
    with pytest.raises(ValueError, match="one writer at a time"):
        swept(SMALL, store)
    os.utime(store / writer.HOLDER, (1, 1))
    swept(SMALL, store)


def test_a_writer_gives_signs_of_life(store, monkeypatch):
    monkeypatch.setattr(holder, "BEAT", 0.01)
    with writer.only_writer(store):
        os.utime(store / writer.HOLDER, (1, 1))
        deadline = time.time() + 10
        while (store / writer.HOLDER).stat().st_mtime < 2 and time.time() < deadline:
            time.sleep(0.01)
        assert (store / writer.HOLDER).stat().st_mtime > 2
