"""Locks of chunks: of a living, a dead, a distant and a suspended process."""

import json
import os
import subprocess
import sys
import time

import pytest

from bpjax.sweeps import holder
from bpjax.sweeps.chunk_locks import ChunkLocks


def test_a_lock_of_a_living_process_is_refused_and_of_a_killed_one_superseded(tmp_path):
    with subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(60)"]) as process:
        living = {**holder.this_process(), "process": process.pid, "started": holder.start_of(process.pid)}
        (tmp_path / ".lock-0.0-0").write_text(json.dumps(living))
        with ChunkLocks(tmp_path, {}) as locks:
            assert locks.claim("0.0") == tmp_path / ".lock-0.0-0"
            assert locks.claim("0.1") is None and locks.is_mine("0.1")
            process.kill()
            process.wait()
            assert locks.claim("0.0") is None and locks.is_mine("0.0")
            assert len(list(tmp_path.glob(".lock-0.0-*"))) == 2
    assert not list(tmp_path.iterdir())


def test_a_process_number_that_was_given_again_is_not_the_holder(tmp_path):
    dead = {**holder.this_process(), "started": 1}
    (tmp_path / ".lock-0-0").write_text(json.dumps(dead))
    with ChunkLocks(tmp_path, {}) as locks:
        assert locks.claim("0") is None


def test_a_process_of_another_machine_counts_until_it_is_silent(tmp_path):
    path = tmp_path / ".lock-0-0"
    path.write_text(json.dumps({**holder.this_process(), "machine": "elsewhere", "host": "node7"}))
    with ChunkLocks(tmp_path, {}) as locks:
        assert locks.claim("0") == path
        long_ago = time.time() - 2 * holder.SILENCE
        os.utime(path, (long_ago, long_ago))
        assert locks.claim("0") is None


def test_a_holder_that_was_taken_for_dead_does_not_write(tmp_path, monkeypatch):
    monkeypatch.setattr(holder, "BEAT", 60.0)
    with ChunkLocks(tmp_path, {}) as first, ChunkLocks(tmp_path, {}) as second:
        assert first.claim("0") is None and first.is_mine("0") and second.claim("0") is not None
        with monkeypatch.context() as patch:
            patch.setattr("bpjax.sweeps.chunk_locks.lives", lambda holder, path: False)
            assert second.claim("0") is None
        assert second.is_mine("0") and not first.is_mine("0")
        first.release("0")
        assert second.is_mine("0")
        with ChunkLocks(tmp_path, {}) as third:
            assert third.claim("0") is not None
    assert not list(tmp_path.iterdir())


def test_only_one_of_many_claims_succeeds(tmp_path):
    """Threads race for a lock whose holder is dead, again and again."""
    from concurrent.futures import ThreadPoolExecutor
    from threading import Barrier

    count = 6
    for turn in range(10):
        (tmp_path / f".lock-{turn}-0").write_text(json.dumps({**holder.this_process(), "started": 1}))
        barrier = Barrier(count)

        def claim(locks, turn=turn, barrier=barrier):
            barrier.wait()
            return locks.claim(str(turn)) is None

        all_locks = [ChunkLocks(tmp_path, {}) for _ in range(count)]
        with ThreadPoolExecutor(count) as threads:
            assert sum(threads.map(claim, all_locks)) == 1


def test_a_lock_gives_signs_of_life(tmp_path, monkeypatch):
    monkeypatch.setattr(holder, "BEAT", 0.01)
    with ChunkLocks(tmp_path, {}) as locks:
        locks.claim("0")
        path = locks.path("0", 0)
        os.utime(path, (1, 1))
        deadline = time.time() + 10
        while path.stat().st_mtime < 2 and time.time() < deadline:
            time.sleep(0.01)
        assert path.stat().st_mtime > 2


def test_without_proc_signs_of_life_decide(tmp_path, monkeypatch):
    monkeypatch.setattr(holder, "machine", lambda: "")
    path = tmp_path / ".lock-0-0"
    path.write_text(json.dumps({**holder.this_process(), "process": 1 << 30}))
    with ChunkLocks(tmp_path, {}) as locks:
        assert locks.claim("0") == path
        os.utime(path, (1, 1))
        assert locks.claim("0") is None


@pytest.mark.parametrize("text", ["", "{", "[]"])
def test_a_lock_that_was_not_written_completely_counts_until_it_is_silent(tmp_path, text):
    path = tmp_path / ".lock-0-0"
    path.write_text(text)
    with ChunkLocks(tmp_path, {}) as locks:
        assert locks.claim("0") == path
        os.utime(path, (1, 1))
        assert locks.claim("0") is None
