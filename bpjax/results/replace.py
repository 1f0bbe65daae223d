"""How a finished folder takes the place of an earlier result: at every moment one of the two is complete.

The new result is written into a hidden folder beside the old one, sealed, and exchanged with it in one step where the
system can do that (Linux, macOS). Elsewhere the old one is renamed first, and a process killed between the two renames
leaves both under hidden names; `recover` then puts the new one in its place. Nothing is replaced or deleted that is
not sealed (see `bpjax.results.seal`).
"""

import contextlib
import logging
import os
import shutil
import stat
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path

from bpjax.results import seal
from bpjax.util.folders import exchange, hidden_folders, hidden_name, kind_of, new_folder
from bpjax.util.locks import locked

log = logging.getLogger("bpjax.results")

WRITING = ".bpjax-writing"
"""The file in a hidden folder that is not complete yet: what a killed process leaves with it may be deleted."""

_claimed: ContextVar[frozenset] = ContextVar("claimed", default=frozenset())


class Misplaced(ValueError):
    """A complete result could not take its place; `folder` says where it is instead."""

    def __init__(self, message: str, folder: Path):
        """Where the result is, and why."""
        super().__init__(message)
        self.folder = folder


def target_of(folder: str | Path) -> Path:
    """The absolute path of a result, symbolic links followed: a link stays, and what it points to is replaced."""
    return Path(os.path.realpath(folder))


@contextlib.contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Keep other processes and threads from writing a result to `folder` while the block runs.

    What a killed process has left is put in order first. A claim within a claim of the same folder is free.

    Raises:
        ValueError: another process or thread writes to it, or its parent cannot be written.
    """
    if folder in _claimed.get():
        yield
        return
    with contextlib.ExitStack() as stack:
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            is_held = stack.enter_context(locked(hidden_name(folder, "lock"), str(folder)))
            if is_held:
                recover(folder)
        except OSError as error:
            raise cannot_be_written(folder, error) from None
        token = _claimed.set(_claimed.get() | {folder})
        try:
            yield
        finally:
            _claimed.reset(token)


def recover(folder: Path) -> None:
    """Put in order what a killed process has left beside `folder`; its lock must be held."""
    new = {token: aside for aside, token in hidden_folders(folder, "new")}
    for former, token in hidden_folders(folder, "former"):
        if not os.path.lexists(folder):
            complete = token in new and not (new[token] / WRITING).exists()
            (new.pop(token) if complete else former).rename(folder)
        if former.exists() and not seal.remove(former):
            log.warning("%s is an earlier result, with other files in it: look at it and delete it.", former)
    for aside in new.values():
        discard(aside)


def discard(aside: Path) -> None:
    """Delete a hidden folder that was being written, or one that holds a sealed result and nothing else."""
    if not (aside / WRITING).is_file():
        if aside.is_dir():
            seal.remove(aside)
        return
    for entry in aside.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry, ignore_errors=True)
        elif entry.name != WRITING:
            entry.unlink(missing_ok=True)
    (aside / WRITING).unlink(missing_ok=True)  # last: until then a killed process leaves the mark
    aside.rmdir()


def check_free(folder: Path) -> None:
    """Raise a `ValueError` unless nothing, an empty folder or a sealed result stands at `folder`."""
    kind = kind_of(folder)
    if kind not in (None, "a folder"):
        raise ValueError(f"{folder} is {kind}, and a result is a folder: choose another place.")
    if kind and os.path.ismount(folder):
        raise ValueError(f"{folder} is a mount point, which cannot be replaced: choose a folder inside it.")
    try:
        reason = seal.foreign(folder) if kind else None
    except OSError as error:
        raise ValueError(f"{folder} cannot be read ({error.strerror}): choose another folder.") from None
    if reason:
        raise ValueError(
            f"{folder} holds something that is not a result, which is never replaced: {reason}. "
            "Choose another folder, or move that one away."
        )


def place(aside: Path, token: str, folder: Path) -> None:
    """Put the sealed folder `aside` at `folder`, and delete the result that stood there.

    Raises:
        Misplaced: something else stands there by now; the new result is complete beside it.
    """
    try:
        check_free(folder)
        if not folder.is_dir() or not any(folder.iterdir()):
            os.rename(aside, folder)  # an empty folder is replaced in one step
            return
        os.chmod(aside, stat.S_IMODE(folder.stat().st_mode))
        former = aside if exchange(aside, folder) else _by_two_renames(aside, token, folder)
    except (ValueError, OSError) as error:
        elsewhere = aside
        with contextlib.suppress(OSError):
            elsewhere = aside.rename(free_name(folder))
        raise Misplaced(f"{error} The new result is complete in {elsewhere}.", elsewhere) from None
    if not seal.remove(former):  # a file was put into it just now
        former.rename(elsewhere := free_name(folder))
        log.warning("The earlier result has other files in it and is now %s.", elsewhere)


def _by_two_renames(aside: Path, token: str, folder: Path) -> Path:
    former = hidden_name(folder, "former", token)
    folder.rename(former)
    try:
        aside.rename(folder)
    except BaseException:
        if not os.path.lexists(folder):
            former.rename(folder)
        raise
    return former


def free_name(folder: Path) -> Path:
    """The first of name-2, name-3, … that does not exist."""
    number = 2
    while os.path.lexists(named := folder.with_name(f"{folder.name}-{number}")):
        number += 1
    return named


def writing_folder(folder: Path) -> tuple[Path, str]:
    """A new hidden folder to write a result into, and its token."""
    aside, token = new_folder(folder, "new")
    try:
        (aside / WRITING).write_text("A result is being written here.\n")
    except BaseException:
        (aside / WRITING).unlink(missing_ok=True)
        aside.rmdir()
        raise
    return aside, token


def cannot_be_written(folder: Path, error: OSError) -> ValueError:
    """The error to raise where the system refuses `folder`."""
    return ValueError(f"Results cannot be written to {folder} ({error.strerror}): choose another folder.")
