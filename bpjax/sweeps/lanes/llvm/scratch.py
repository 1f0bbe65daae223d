"""Scratch memory: where it is free, while code is being written."""

import weakref
from collections.abc import Callable


class Scratch:
    """Offsets in the scratch memory of a function. What no array refers to any more is given to the next one."""

    def __init__(self, alignment: int):
        """All free.

        Args:
            alignment: bytes at a multiple of which every piece begins.
        """
        self.alignment = alignment
        self.taken: dict[int, int] = {}  # offset -> bytes
        self.most = 0  # bytes that were taken at once, up to the last one

    def take(self, size: int) -> int:
        """The offset of the first gap of so many bytes."""
        size = -(-size // self.alignment) * self.alignment
        offset = 0
        for start in sorted(self.taken):
            if start - offset >= size:
                break
            offset = start + self.taken[start]
        self.taken[offset] = size
        self.most = max(self.most, offset + size)
        return offset

    def give_back(self, offset: int) -> None:
        """A piece is free."""
        self.taken.pop(offset, None)

    def keep_for(self, owner, offset: int) -> Callable:
        """Give a piece back when `owner` is forgotten: then no code that reads it can be written any more."""
        return weakref.finalize(owner, self.give_back, offset)
