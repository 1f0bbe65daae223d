"""Folders that replace others in one step, and what stands at a path."""

import ctypes
import errno
import os
import secrets
import stat
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

_KINDS = {
    stat.S_IFREG: "a file",
    stat.S_IFDIR: "a folder",
    stat.S_IFLNK: "a symbolic link that leads nowhere",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a character device",
    stat.S_IFBLK: "a block device",
}
_AT_THE_WORKING_FOLDER, _EXCHANGE = -100, 2  # AT_FDCWD and RENAME_EXCHANGE of Linux; RENAME_SWAP of macOS is 2 too


def kind_of(path: str | Path) -> str | None:
    """What stands at `path`, links followed: "a folder", "a FIFO" and so on; None for nothing."""
    try:
        mode = os.stat(path).st_mode
    except OSError:
        if not os.path.lexists(path):
            return None
        mode = os.lstat(path).st_mode
    return _KINDS.get(stat.S_IFMT(mode), "neither a file nor a folder")


def hidden_name(path: Path, word: str, token: str = "") -> Path:
    """A hidden path beside `path`: its name (at most 40 characters and a checksum), `word`, and `token`.

    The checksum keeps apart the hidden names of long names that begin alike.
    """
    name = f".{path.name[:40]}-{zlib.crc32(os.fsencode(path.name)):08x}-{word}"
    return path.with_name(f"{name}-{token}" if token else name)


def new_folder(path: Path, word: str) -> tuple[Path, str]:
    """A new empty folder beside `path`, with the permissions that the umask leaves, and the token in its name."""
    token = secrets.token_hex(8)
    folder = hidden_name(path, word, token)
    folder.mkdir()
    return folder, token


def hidden_folders(path: Path, word: str) -> Iterator[tuple[Path, str]]:
    """The folders that `new_folder(path, word)` has made and that still exist, with their tokens."""
    start = hidden_name(path, word).name + "-"
    for entry in sorted(path.parent.iterdir()):
        token = entry.name.removeprefix(start)
        is_ours = entry.name.startswith(start) and len(token) == 16 and set(token) <= set("0123456789abcdef")
        if is_ours and entry.is_dir() and not entry.is_symlink():
            yield entry, token


def exchange(one: Path, other: Path) -> bool:
    """Exchange two paths in one step, so that each name stands for one or the other at every moment.

    Returns:
        Whether it was done; False where the system or the file system cannot do it.

    Raises:
        OSError: the system can do it, and refuses these paths.
    """
    function = _exchange_of_system()
    if function is None:
        return False
    ctypes.set_errno(0)
    if function(os.fsencode(one), os.fsencode(other)) == 0:
        return True
    number = ctypes.get_errno()
    if number in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP):
        return False
    raise OSError(number, os.strerror(number), str(one), None, str(other))


def _exchange_of_system() -> Callable[[bytes, bytes], int] | None:
    """renameat2 of Linux or renamex_np of macOS as a function of two paths; None where neither exists."""
    try:
        library = ctypes.CDLL(None, use_errno=True)
    except (OSError, TypeError):  # TypeError: Windows has no library without a name
        return None
    if sys.platform == "darwin" and hasattr(library, "renamex_np"):
        return lambda one, other: library.renamex_np(one, other, ctypes.c_uint(_EXCHANGE))
    if sys.platform == "linux" and hasattr(library, "renameat2"):
        here = ctypes.c_int(_AT_THE_WORKING_FOLDER)
        return lambda one, other: library.renameat2(here, one, here, other, ctypes.c_uint(_EXCHANGE))
    return None
