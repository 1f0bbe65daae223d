"""The safetensors format, read with its header checked before any data.

    8 bytes    n, the length of the header, little-endian
    n bytes    JSON: {"__metadata__": {name: text}, name: {"dtype": "F32", "shape": [3], "data_offsets": [0, 12]}, ...}
    the rest   the arrays in C order; the offsets count from its start and cover it without gaps

The safetensors package reads whole arrays before a caller can compare their sizes and names with what is expected;
this module reads the header alone, and later the arrays block by block.
"""

import json
import math
import os
from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple

import jax.numpy as jnp
import numpy as np

DTYPES = {
    **{"BOOL": np.dtype("bool"), "U8": np.dtype("uint8"), "I8": np.dtype("int8")},
    **{"U16": np.dtype("uint16"), "I16": np.dtype("int16"), "U32": np.dtype("uint32"), "I32": np.dtype("int32")},
    **{"U64": np.dtype("uint64"), "I64": np.dtype("int64"), "F16": np.dtype("float16")},
    **{"BF16": np.dtype(jnp.bfloat16), "F32": np.dtype("float32"), "F64": np.dtype("float64")},
}
"""The dtypes of a checkpoint by their codes in the file: those that the format and JAX both restore bit for bit."""

MAX_HEADER = 32 * 2**20
"""The longest header, in bytes: 200,000 arrays."""

MAX_AXES = 32
BLOCK = 2**20


class Stored(NamedTuple):
    """An array in a file."""

    dtype: np.dtype
    shape: tuple[int, ...]
    start: int  # of its first byte, from the start of the file
    stop: int  # after its last byte


class Header(NamedTuple):
    """What a file says about its contents."""

    arrays: dict[str, Stored]
    metadata: dict[str, str]
    text: bytes


def read_header(file: BinaryIO) -> Header:
    """The header of an open file, checked: sizes before they are read, offsets against the size of the file.

    Raises:
        ValueError: the header is not one, or does not describe the file; the message gives the reason alone.
    """
    size = os.fstat(file.fileno()).st_size
    length = int.from_bytes(file.read(8), "little")
    if size < 8 or length > size - 8:
        raise ValueError(f"its header would take {length:,} bytes, the whole file has {size:,}")
    if length > MAX_HEADER:
        raise ValueError(f"its header takes {length:,} bytes, more than {MAX_HEADER:,}")
    text = file.read(length)
    content = parse_json(text, "its header")
    if not isinstance(content, dict):
        raise ValueError("its header is not a JSON object")
    metadata = content.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(entry, str) for entry in metadata.values()):
        raise ValueError("its metadata are not texts")
    arrays = {name: _stored(name, entry, 8 + length) for name, entry in content.items()}
    end = 8 + length
    for name, stored in sorted(arrays.items(), key=lambda item: item[1][2:]):
        if stored.start != end:
            raise ValueError(f"array {printable(name)} starts at byte {stored.start:,}, not after the one before it")
        end = stored.stop
    if end != size:
        raise ValueError(f"its header describes {end:,} bytes, the file has {size:,}")
    return Header(arrays, metadata, text)


def read_array(file: BinaryIO, name: str, stored: Stored) -> np.ndarray:
    """One array of an open file, or a `ValueError` with the reason."""
    try:
        array = np.empty(stored.shape, stored.dtype)
    except (ValueError, OverflowError, MemoryError):
        size = f"{stored.stop - stored.start:,} bytes in shape {list(stored.shape)}"
        raise ValueError(f"array {printable(name)}, {size}, does not fit into memory") from None
    file.seek(stored.start)
    entries = array.reshape(-1).view(np.uint8).data
    if entries.nbytes and file.readinto(entries) != entries.nbytes:  # type: ignore[attr-defined]
        raise ValueError("it became shorter while it was read")
    if stored.dtype == bool and (array.view(np.uint8) > 1).any():
        raise ValueError(f"array {printable(name)} holds booleans that are neither 0 nor 1")
    return array


def blocks(file: BinaryIO, stored: Stored) -> Iterator[bytes]:
    """The bytes of one array, block by block, so that a file is checked without being held in memory."""
    file.seek(stored.start)
    for start in range(stored.start, stored.stop, BLOCK):
        yield file.read(min(BLOCK, stored.stop - start))


def parse_json(text: bytes | str, what: str):
    """JSON as data, or a `ValueError`: nested too deeply, not UTF-8, or two entries of one name."""
    try:
        return json.loads(text.decode() if isinstance(text, bytes) else text, object_pairs_hook=_unique)
    except RecursionError:
        raise ValueError(f"{what} is nested too deeply") from None
    except ValueError as error:
        raise ValueError(f"{what} is not JSON: {error}") from None


def printable(name: str) -> str:
    """A name from a file for messages: escaped where a terminal would act on it, and cut where it is long."""
    name = name if len(name) <= 80 else name[:77] + "..."
    return name if name.isprintable() and name else repr(name)


def _stored(name: str, entry: Any, data: int) -> Stored:
    """One entry of the header, checked; `data` is where the arrays start."""
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"the entry of array {printable(name)} is not a dtype, a shape and offsets")
    code, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(code, str) or code not in DTYPES:
        raise ValueError(
            f"array {printable(name)} has the dtype {printable(str(code))}, not one of {', '.join(DTYPES)}"
        )
    if not _are_sizes(shape) or len(shape) > MAX_AXES:
        raise ValueError(f"array {printable(name)} has the shape {printable(str(shape))}")
    if not _are_sizes(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise ValueError(f"array {printable(name)} has the offsets {printable(str(offsets))}")
    dtype = DTYPES[code]
    needed = math.prod(shape) * dtype.itemsize
    if offsets[1] - offsets[0] != needed:
        size = f"{needed:,} bytes, its offsets {offsets[1] - offsets[0]:,}" if needed < 2**63 else "too many bytes"
        raise ValueError(f"array {printable(name)} of shape {printable(str(shape))} takes {size}")
    return Stored(dtype, tuple(shape), data + offsets[0], data + offsets[1])


def _are_sizes(numbers) -> bool:
    return isinstance(numbers, list) and all(type(n) is int and 0 <= n < 2**63 for n in numbers)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = {}
    for name, entry in pairs:
        if name in made:
            raise ValueError(f"two entries are named {printable(name)}")
        made[name] = entry
    return made
