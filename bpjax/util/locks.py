"""One writer at a time: a lock that the system releases when its process ends, however it ends."""

import contextlib
import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

try:
    import fcntl
except ModuleNotFoundError:  # Windows: two writers are not kept apart there
    fcntl = None

_MARK = "bpjax lock"


@contextlib.contextmanager
def locked(path: Path, what: str) -> Iterator[bool]:
    """Hold the lock file `path` while the block runs; it is removed afterwards.

    The lock is `flock`'s: a killed process does not hold it any more, and the file that it leaves is taken over.

    Args:
        path: of the lock file; the folder must exist.
        what: is being written, for the message.

    Yields:
        Whether there is a lock: False on Windows and on file systems without locks, where nothing keeps two writers
        apart.

    Raises:
        ValueError: another process or thread holds the lock (the message says who and since when), or `path` is
            something else than a lock file.
        OSError: the lock file cannot be written.
    """
    handle, is_held = _taken(path, what)
    try:
        os.ftruncate(handle, 0)
        since = time.strftime("%Y-%m-%d %H:%M:%S")
        holder = {"format": _MARK, "host": socket.gethostname(), "process": os.getpid(), "since": since}
        os.lseek(handle, 0, os.SEEK_SET)
        os.write(handle, json.dumps(holder).encode())
        yield is_held
    finally:
        with contextlib.suppress(OSError):
            os.unlink(path)  # before it is released: whoever waits for this file sees that it is gone
        os.close(handle)


def _taken(path: Path, what: str) -> tuple[int, bool]:
    """The open file and whether it is locked; opened again where the one that was locked has just been removed."""
    while True:
        careful = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)  # no link, and no waiting for a FIFO
        handle = os.open(path, os.O_RDWR | os.O_CREAT | careful, 0o666)
        try:
            _check_is_lock(handle, path)
            is_held = _lock(handle, what)
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(handle), os.lstat(path)):
                    return handle, is_held
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)


def _lock(handle: int, what: str) -> bool:
    """Lock the open file if the file system has locks; a `ValueError` if another holds it."""
    if fcntl is None:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise ValueError(
            f"{what} is being written by {_holder(handle)}: wait for it to end, or choose another place."
        ) from None
    except OSError:  # a file system without locks, such as some of Lustre
        return False
    return True


def _check_is_lock(handle: int, path: Path) -> None:
    """Raise a `ValueError` unless the file is empty or a lock that this module has written."""
    text = _text(handle)
    if text and f'"format": "{_MARK}"'.encode() not in text:
        raise ValueError(f"{path} is not a lock file of bpjax, but stands where one belongs: move it away.")


def _text(handle: int) -> bytes:
    os.lseek(handle, 0, os.SEEK_SET)
    return os.read(handle, 4096)


def _holder(handle: int) -> str:
    try:
        by = json.loads(_text(handle))
        return f"process {by['process']} on {by['host']} since {by['since']}"
    except (ValueError, KeyError, TypeError):  # it has just taken the lock and not yet written who it is
        return "another process"
