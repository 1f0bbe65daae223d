"""One writer at a time: the lock of a store, and who holds it.

The lock is the operating system's, which releases it when a process ends, however it ends. Network file systems on
which locks of other machines are not seen are covered by a second file with the host, the process and the start time
of the writer, which touches it every few seconds.
"""

import contextlib
import json
import os
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from bpjax.util.files import write_file
from bpjax.util.locks import locked

LOCK, HOLDER = "writer.lock", "writer.json"
BEAT = 10.0
"""Seconds between two signs of life of a writer."""
SILENCE = 120.0
"""Seconds without a sign of life after which a writer on another machine counts as dead."""


@contextlib.contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """The right to write into a store, held until the `with` block ends.

    Raises:
        ValueError: another process holds it; the message says who, and how to take over after a crash.
    """
    with contextlib.ExitStack() as held:
        try:
            is_locked = held.enter_context(locked(folder / LOCK, str(folder)))
        except ValueError:
            raise ValueError(held_by(folder)) from None
        if is_held_elsewhere(folder, is_locked):
            raise ValueError(held_by(folder))
        write_file(folder / HOLDER, json.dumps(this_process(), indent=2).encode() + b"\n")
        stop = threading.Event()
        beat = threading.Thread(target=touch_until, args=(folder / HOLDER, stop), daemon=True)
        beat.start()
        try:
            yield
        finally:
            stop.set()
            beat.join()
            (folder / HOLDER).unlink(missing_ok=True)


def this_process() -> dict:
    """Host, process and time, as data for JSON."""
    return {"host": socket.gethostname(), "process": os.getpid(), "since": datetime.now().isoformat(" ", "seconds")}


def touch_until(path: Path, stop: threading.Event) -> None:
    """Renew the modification time of a file until `stop` is set."""
    while not stop.wait(BEAT):
        with contextlib.suppress(OSError):
            os.utime(path)


def holder_of(folder: Path) -> dict:
    """Who holds the lock, as far as it is recorded."""
    try:
        holder = json.loads((folder / HOLDER).read_text())
        return holder if isinstance(holder, dict) else {}
    except (OSError, ValueError):
        return {}


def silence_of(folder: Path) -> float:
    """Seconds since the holder's last sign of life, by the clock of the file system."""
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".clock-") as now:
            return os.stat(now.name).st_mtime - (folder / HOLDER).stat().st_mtime
    except OSError:
        return 0.0


def is_held_elsewhere(folder: Path, is_locked: bool) -> bool:
    """Whether a process whose lock is not seen here still writes: on another machine, or where nothing can be locked.

    Args:
        folder: of the store.
        is_locked: whether this process holds a lock of the operating system.
    """
    host = holder_of(folder).get("host")
    may_write = host is not None and (host != socket.gethostname() or not is_locked)
    return may_write and silence_of(folder) < SILENCE


def held_by(folder: Path) -> str:
    """The message for a second writer."""
    holder = holder_of(folder)
    who = "another process"
    if holder:
        ago = max(0, round(time.time() - (folder / HOLDER).stat().st_mtime)) if (folder / HOLDER).exists() else 0
        who = (
            f"process {holder.get('process')} on {holder.get('host')}, since {holder.get('since')}, "
            f"with a sign of life {ago} s ago,"
        )
    return (
        f"{folder} is being written by {who} and a store has one writer at a time. Wait until it has ended, or stop "
        f"it; a process that was killed holds nothing, and one on another machine counts as dead after {SILENCE:g} s "
        "without a sign of life. Reading is possible at any time: `bp.open_sweep`."
    )
