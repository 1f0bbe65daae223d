"""Files written to a temporary name and renamed, so that an incomplete file never replaces an old one."""

import contextlib
import os
import re
import secrets
import stat
import sys
from pathlib import Path


def write_file(path: str | bytes | os.PathLike, data: bytes) -> None:
    """Write `data` to `path` completely or not at all: a write that fails or is killed leaves the old file.

    The data goes to a temporary file in the same folder, which is renamed when it is complete. Folders that are missing
    are made. A symbolic link is followed: the file that it points to is replaced. An old file keeps its permissions,
    and its owner where the system allows it; a new one gets those that the umask grants. A device, a FIFO or an open
    file such as /dev/stdout is written to directly. A write that is killed can leave a hidden file `.bpjax-…` behind.

    Raises:
        ValueError: `path` is not a path or is a folder, or it cannot be written; no temporary file is left.
    """
    path = as_path("write_file", path)
    try:
        _write(path, data)
    except OSError as error:
        raise ValueError(f"{shown(path)} cannot be written ({error.strerror}): choose another place.") from None


def as_path(who: str, path, example: str = "net.safetensors") -> Path:
    """A path given as text, bytes or a `Path`, or a `ValueError` with an example of one."""
    if not isinstance(path, str | bytes | os.PathLike):
        raise ValueError(f"`{who}` expected a path, such as {example!r}, got {type(path).__name__}.")
    name = os.fsdecode(path)
    if not name or "\0" in name:
        raise ValueError(f"`{who}` expected a path, such as {example!r}, got {name!r}.")
    return Path(name)


def shown(path: Path) -> str:
    """A path for messages; bytes that are not UTF-8 are escaped, so that every terminal can print it."""
    return os.fsencode(path).decode(errors="backslashreplace")


def slug(name: str) -> str:
    """A name as part of a file's name."""
    return re.sub(r"\W+", "_", name.lower())


def _write(path: Path, data: bytes) -> None:
    descriptor = _descriptor(path)
    if descriptor is not None:
        _write_to_descriptor(descriptor, data)
        return
    try:
        old = os.stat(path)
    except FileNotFoundError:
        old = None
    if old is not None and stat.S_ISDIR(old.st_mode):
        raise ValueError(f"{shown(path)} is a folder: name the file to write.")
    if old is not None and not stat.S_ISREG(old.st_mode):
        with open(path, "wb", buffering=0) as file:
            _write_all(file, data)
        return
    if old is not None and not os.access(path, os.W_OK):
        raise PermissionError(0, "the file is read-only")
    _replace(Path(os.path.realpath(path)), old, data)


def _replace(path: Path, old: os.stat_result | None, data: bytes) -> None:
    """Write a file under a temporary name with the permissions of the old one, and rename it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.parent / f".bpjax-{secrets.token_hex(8)}"
    permissions = 0o666 if old is None else 0o600  # until it is complete; the system takes off the umask
    try:
        with open(aside, "xb", opener=lambda name, flags: os.open(name, flags, permissions)) as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if old is not None:
            _give_owner(aside, old)
            os.chmod(aside, stat.S_IMODE(old.st_mode))
        os.replace(aside, path)
    finally:
        with contextlib.suppress(
            OSError
        ):  # after a rename there is none; otherwise the first error is the one to raise
            os.unlink(aside)


def _give_owner(aside: Path, old: os.stat_result) -> None:
    """Give the file the owner of the old one, as far as the system allows."""
    made = os.stat(aside)
    if (made.st_uid, made.st_gid) != (old.st_uid, old.st_gid):
        with contextlib.suppress(OSError):
            os.chown(aside, old.st_uid, old.st_gid)


def _descriptor(path: Path) -> int | None:
    """The number of the open file that a path such as /dev/stdout or /dev/fd/3 names."""
    for _ in range(40):  # symbolic links, followed one at a time: /dev/stdout -> /proc/self/fd/1
        folder = os.path.realpath(path.parent)
        if path.name.isdigit() and re.fullmatch(rf"/dev/fd|/proc/{os.getpid()}(/task/\d+)?/fd", folder):
            return int(path.name)
        if not path.is_symlink():
            return None
        path = path.parent / os.readlink(path)
    return None


def _write_to_descriptor(descriptor: int, data: bytes) -> None:
    for stream in (sys.stdout, sys.stderr):  # what was printed before comes first
        if stream is not None:
            stream.flush()
    with open(descriptor, "wb", buffering=0, closefd=False) as file:
        _write_all(file, data)


def _write_all(file, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) or 0 :]
