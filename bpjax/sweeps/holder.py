"""Who holds a lock file, and whether that process still lives.

A process of this machine is looked up by its number and start time, so that a killed one holds nothing. One of another
machine gives signs of life: it renews the modification time of its files every few seconds.
"""

import contextlib
import json
import os
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path

BEAT = 10.0
"""Seconds between two signs of life."""
SILENCE = 120.0
"""Seconds without a sign of life after which a process of another machine counts as dead."""


def this_process() -> dict:
    """Machine, process and time, as data for JSON."""
    return {
        "host": socket.gethostname(),
        "machine": machine(),
        "process": os.getpid(),
        "started": start_of(os.getpid()),
        "since": datetime.now().isoformat(" ", "seconds"),
    }


def machine() -> str:
    """What two processes have in common that can see each other: a start of the system and a space of process numbers.

    Containers of one host have the same start and different spaces. It is empty where there is no /proc.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def start_of(process: int) -> int | None:
    """When a process started, in ticks of the system's clock; None where that cannot be read."""
    try:
        text = Path(f"/proc/{process}/stat").read_text()
        return int(text.rpartition(")")[2].split()[19])  # the 22nd field; the second, the name, may hold spaces
    except (OSError, ValueError, IndexError):
        return None


def read_holder(path: Path) -> dict | None:
    """Who has written a lock file: {} where that cannot be read yet, None where there is no file."""
    try:
        holder = json.loads(path.read_bytes())
        return holder if isinstance(holder, dict) else {}
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        return {}


def lives(holder: dict, path: Path) -> bool:
    """Whether the process that holds a lock file is alive, as far as can be told."""
    if holder.get("machine") and holder["machine"] == machine():
        started = start_of(int(holder.get("process", 0)))
        return started is not None and started == holder.get("started")
    return silence_of(path) < SILENCE


def silence_of(path: Path) -> float:
    """Seconds since the last sign of life in a file, by the clock of the file system; infinite without the file."""
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".clock-") as now:
            return os.stat(now.name).st_mtime - path.stat().st_mtime
    except FileNotFoundError:
        return float("inf")
    except OSError:
        return 0.0


def described(holder: dict, path: Path) -> str:
    """A holder for a sentence, with its last sign of life."""
    if not holder:
        return "another process"
    ago = max(0, round(time.time() - path.stat().st_mtime)) if path.exists() else 0
    return (
        f"process {holder.get('process')} on {holder.get('host')}, since {holder.get('since')}, "
        f"with a sign of life {ago} s ago,"
    )


class SignsOfLife:
    """A thread that renews the modification times of files until it is stopped."""

    def __init__(self, paths: Callable[[], Iterable[Path]]):
        """Start it.

        Args:
            paths: the files at a moment.
        """
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self._beat, args=(paths,), daemon=True)
        self.thread.start()

    def _beat(self, paths: Callable[[], Iterable[Path]]) -> None:
        while not self.stopped.wait(BEAT):
            for path in paths():
                with contextlib.suppress(OSError):
                    os.utime(path)

    def stop(self) -> None:
        """End it."""
        self.stopped.set()
        self.thread.join()
