"""Locks of single chunks of a store, on one machine or on a file system that several share.

A lock is a file that only one process can create (O_EXCL, which NFS has since version 3). One whose process is dead is
not removed, which two could do at once, but superseded: whoever creates the file of the next generation holds the lock.
A holder that was taken for dead, because it was suspended, sees that file and writes nothing.
"""

import contextlib
import json
import os
import secrets
from pathlib import Path
from typing import NamedTuple

from bpjax.sweeps.holder import SignsOfLife, lives, read_holder, this_process
from bpjax.sweeps.writer import CHUNK_LOCK


class Held(NamedTuple):
    """A lock that this process holds."""

    generation: int
    token: str


class ChunkLocks:
    """The locks of chunks that this process holds; a context that releases them."""

    def __init__(self, folder: Path, about: dict):
        """None yet.

        Args:
            folder: of the store.
            about: what to write into the files, for messages.
        """
        self.folder, self.about = folder, about
        self.held: dict[str, Held] = {}
        self.signs: SignsOfLife | None = None

    def __enter__(self) -> "ChunkLocks":
        self.signs = SignsOfLife(lambda: [self.path(name, one.generation) for name, one in list(self.held.items())])
        return self

    def __exit__(self, *error) -> None:
        for name in list(self.held):
            self.release(name)
        if self.signs is not None:
            self.signs.stop()

    def path(self, name: str, generation: int) -> Path:
        """The file of a lock."""
        return self.folder / f"{CHUNK_LOCK}{name}-{generation}"

    def claim(self, name: str) -> Path | None:
        """Take the lock of a chunk; the file of the process that has it, or None where this one has it now.

        Raises:
            OSError: the folder cannot be written.
        """
        token = secrets.token_hex(8)
        text = json.dumps({**this_process(), **self.about, "token": token}).encode()
        generation, created = 0, []
        while True:
            path = self.path(name, generation)
            holder = None if create(path, text) else read_holder(path) or {}
            if holder is None:
                created.append(path)
                if not self.path(name, generation + 1).exists():
                    self.held[name] = Held(generation, token)
                    return None
            elif lives(holder, path):
                for own in created:
                    own.unlink(missing_ok=True)
                return path
            generation += 1

    def is_mine(self, name: str) -> bool:
        """Whether this process still has the lock of a chunk, and no other has taken it for dead."""
        if name not in self.held:
            return False
        generation, token = self.held[name]
        holder = read_holder(self.path(name, generation)) or {}
        return holder.get("token") == token and not self.path(name, generation + 1).exists()

    def release(self, name: str) -> None:
        """Give the lock of a chunk back, and remove the files of dead processes before it."""
        is_mine, held = self.is_mine(name), self.held.pop(name)
        for generation in range(held.generation + 1) if is_mine else ():
            with contextlib.suppress(OSError):
                self.path(name, generation).unlink()


def create(path: Path, text: bytes) -> bool:
    """Write a file that does not exist yet; whether this process has created it."""
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    except FileExistsError:
        return False
    with open(handle, "wb") as file:
        file.write(text)
    return True
