"""How a run lies in memory: as a separate row, and beside others in the vectors of a pool.

    row     [8-byte entries][4-byte entries][curves]                       one run after another
    lanes   the same entries, each W times                                 entry k of all W runs side by side

An entry at byte o of a row is at byte W · o of the lanes.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bpjax.sweeps.lanes.llvm.dtypes import in_memory_dtype, stored_size
from bpjax.sweeps.lanes.llvm.emitter import ALIGNED

THREEFRY = "key<fry>"
"""The dtype of JAX's default keys."""


class Field(NamedTuple):
    """An array in a row."""

    shape: tuple[int, ...]
    dtype: np.dtype
    offset: int  # bytes from the start of the row
    is_key: bool = False  # keys are stored as uint32 (2, ...)

    @property
    def size(self) -> int:
        """The number of entries."""
        return int(np.prod(self.shape, dtype=int))


class Rows(NamedTuple):
    """The fields of a row, None for keys of other generators than Threefry, which are not stored."""

    fields: tuple[Field | None, ...]
    doubles: int  # number of 8-byte entries, which come first
    singles: int  # number of 4-byte entries
    stride: int  # bytes from one row to the next

    @property
    def bytes(self) -> int:
        """Bytes of the entries."""
        return 8 * self.doubles + 4 * self.singles

    def lanes_bytes(self, width: int) -> int:
        """Bytes from one group of W rows as lanes to the next."""
        return -(-self.bytes * width // ALIGNED) * ALIGNED

    def buffer(self, count: int) -> np.ndarray:
        """Memory for so many rows (count, stride)."""
        return np.zeros((count, self.stride), np.uint8)

    def view(self, rows: np.ndarray, field: Field) -> np.ndarray:
        """An array of all rows (count, ...); small dtypes as int32."""
        dtype = np.dtype(in_memory_dtype(field.dtype))
        part = rows[:, field.offset : field.offset + field.size * dtype.itemsize]
        return part.view(dtype).reshape(len(rows), *field.shape)

    def write(self, rows: np.ndarray, leaves) -> None:
        """Copy arrays (count, ...), one for each field, into rows."""
        for field, leaf in zip(self.fields, leaves, strict=True):
            if field is not None and field.size:
                self.view(rows, field)[...] = np.asarray(leaf)

    def read(self, rows: np.ndarray) -> list:
        """A copy of the arrays of all rows, None for keys."""
        return [
            None if field is None else self.view(rows, field).astype(field.dtype) if field.size
            else np.zeros((len(rows), *field.shape), field.dtype)
            for field in self.fields
        ]  # fmt: skip


class StoredForm(NamedTuple):
    """How an array is stored."""

    shape: tuple[int, ...]
    dtype: np.dtype
    is_key: bool


def stored_form(leaf) -> StoredForm | None:
    """How an array is stored; None for keys that cannot be stored."""
    if not jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return StoredForm(leaf.shape, leaf.dtype, False)
    return StoredForm((2, *leaf.shape), np.dtype(np.uint32), True) if str(leaf.dtype) == THREEFRY else None


def words_of(keys):
    """Keys (n, ...) as they are stored, uint32 (n, 2, ...)."""
    return jnp.moveaxis(jax.random.key_data(keys), -1, 1)


def keys_of(words):
    """Keys (n, ...) from uint32 (n, 2, ...)."""
    return jax.random.wrap_key_data(jnp.moveaxis(jnp.asarray(words), 1, -1), impl="threefry2x32")


def rows_of(leaves, behind: int = 0) -> Rows:
    """The rows of runs.

    Args:
        leaves: shapes and dtypes of the arrays of a run.
        behind: bytes that are needed behind the entries.
    """
    leaves = [stored_form(leaf) for leaf in leaves]
    fields: list[Field | None] = [None] * len(leaves)
    offset, counts = 0, {}
    for size in (8, 4):
        start = offset
        for k, leaf in enumerate(leaves):
            if leaf is not None and stored_size(leaf.dtype) == size:
                fields[k] = Field(tuple(leaf.shape), np.dtype(leaf.dtype), offset, leaf.is_key)
                offset += fields[k].size * size  # type: ignore[union-attr]
        counts[size] = (offset - start) // size
    return Rows(tuple(fields), counts[8], counts[4], -(-(offset + behind) // 8) * 8)
