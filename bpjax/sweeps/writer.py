"""One writer at a time: the lock of a store, and who holds it.

The lock is the operating system's, which releases it when a process ends, however it ends. Network file systems on
which locks of other machines are not seen are covered by a second file with the host, the process and the start time
of the writer, which touches it every few seconds. Processes that compute parts of a sweep lock chunks instead
(`bpjax.sweeps.chunk_locks`); a writer of the whole store waits for none of them, and is refused while one lives.
"""

import contextlib
import json
import socket
from collections.abc import Iterator
from pathlib import Path

from bpjax.sweeps import holder
from bpjax.sweeps.holder import SignsOfLife, described, lives, read_holder, silence_of, this_process
from bpjax.util.files import write_file
from bpjax.util.locks import locked

LOCK, HOLDER = "writer.lock", "writer.json"
CHUNK_LOCK = ".lock-"
"""How the names of the lock files of chunks begin."""


@contextlib.contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """The right to write into a store, held until the `with` block ends.

    Raises:
        ValueError: another process holds it, or a part; the message says who, and how to take over after a crash.
    """
    with contextlib.ExitStack() as held:
        try:
            is_locked = held.enter_context(locked(folder / LOCK, str(folder)))
        except ValueError:
            raise ValueError(held_by(folder, folder / HOLDER)) from None
        if is_held_elsewhere(folder, is_locked):
            raise ValueError(held_by(folder, folder / HOLDER))
        write_file(folder / HOLDER, json.dumps(this_process(), indent=2).encode() + b"\n")
        try:
            for path in chunk_locks(folder):  # after the own file is written, which a part looks for after its lock
                if lives(read_holder(path) or {}, path):
                    raise ValueError(held_by(folder, path))
            signs = SignsOfLife(lambda: [folder / HOLDER])
            try:
                yield
            finally:
                signs.stop()
        finally:
            (folder / HOLDER).unlink(missing_ok=True)


def chunk_locks(folder: Path) -> list[Path]:
    """The lock files of chunks, of living and dead processes."""
    return sorted(folder.glob(f"{CHUNK_LOCK}*"))


def is_held_elsewhere(folder: Path, is_locked: bool) -> bool:
    """Whether a process whose lock is not seen here still writes: on another machine, or where nothing can be locked.

    Args:
        folder: of the store.
        is_locked: whether this process holds a lock of the operating system.
    """
    host = (read_holder(folder / HOLDER) or {}).get("host")
    may_write = host is not None and (host != socket.gethostname() or not is_locked)
    return may_write and silence_of(folder / HOLDER) < holder.SILENCE


def is_written(folder: Path) -> bool:
    """Whether a process writes the whole store."""
    found = read_holder(folder / HOLDER)
    return found is not None and lives(found, folder / HOLDER)


def held_by(folder: Path, path: Path) -> str:
    """The message for a second writer, where the first holds the file `path`."""
    found = read_holder(path) or {}
    part = f", which computes part {found['part']} of it" if "part" in found else ""
    return (
        f"{folder} is being written by {described(found, path)}{part} and a store has one writer at a time, or several "
        "that compute parts of it. Wait until it has ended, or stop it; a process that was killed holds nothing, and "
        f"one on another machine counts as dead after {holder.SILENCE:g} s without a sign of life. Reading is possible "
        "at any time: `bp.open_sweep`."
    )
