"""Store parameters as safetensors: arrays with readable names and no code."""

import hashlib
import json
import os
import reprlib
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bpjax.interop import tensor_file
from bpjax.interop.like import array_text, as_expected, check_fits, converted
from bpjax.interop.tensor_file import Header, Stored, printable
from bpjax.types import Params
from bpjax.util.call_text import shown as text_of
from bpjax.util.checks import check_flag, is_concrete
from bpjax.util.extras import require_extra
from bpjax.util.files import as_path, shown, write_file

NAMES = [dtype.name for dtype in tensor_file.DTYPES.values()]
MAX_DEPTH = 50
"""How deeply metadata may be nested."""


class Checkpoint(NamedTuple):
    """What `load` returns: `checkpoint.params` and `checkpoint.metadata`."""

    params: Params  # JAX arrays in the structure of `like`; without `like` a dictionary from names to NumPy arrays
    metadata: dict[str, Any]  # as passed to `save`; {} if none was

    def __repr__(self) -> str:
        """One line: how many arrays, the first of them, and the metadata, cut where they are long."""
        arrays = [f"{printable(name)} {array_text(leaf)}" for name, leaf in named("repr", self.params).items()]
        more = ", …" if len(arrays) > 3 else ""
        return (
            f"Checkpoint({len(arrays)} arrays: {', '.join(arrays[:3])}{more}; metadata={reprlib.repr(self.metadata)})"
        )


def save(path: str | bytes | os.PathLike, params: Params, metadata: dict[str, Any] | None = None) -> None:
    """Write a pytree of arrays to a safetensors file.

    The names are the paths in the pytree, "0.w", "2.b": indices, dictionary keys and fields, joined by dots ("params"
    for a single array). Any tool that reads safetensors can read the file. It includes a checksum of names, shapes,
    dtypes, values and metadata. A write that fails or is killed leaves the old file unchanged.

    Args:
        path: of the file.
        params: a pytree of arrays.
        metadata: a dictionary with string keys that JSON can represent; `load` returns it, tuples as lists and NumPy
            and JAX numbers as Python numbers.

    Raises:
        ModuleNotFoundError: safetensors is not installed.
        ValueError: a leaf is not an array or has a dtype that cannot be stored, two leaves have the same name, JSON
            cannot represent the metadata, or the file cannot be written.
    """
    with require_extra("Checkpoints are written by safetensors", "checkpoints"):
        from safetensors.numpy import save as to_bytes
    path = as_path("save", path)
    arrays = {name: _as_numpy(name, leaf) for name, leaf in named("save", params).items()}
    text = _as_json(metadata)
    header = {"bpjax.metadata": text, "bpjax.sha256": _checksum(arrays, text)}
    try:
        data = to_bytes(arrays, header)
    except UnicodeEncodeError:
        name = next(name for name in arrays if name != name.encode(errors="ignore").decode())
        raise ValueError(f"`save` expected names that UTF-8 can hold, got {name!r}: rename that key.") from None
    length = int.from_bytes(data[:8], "little")
    if length > tensor_file.MAX_HEADER:
        raise ValueError(
            f"`save` expected names and metadata of at most {tensor_file.MAX_HEADER:,} bytes, got {length:,}: "
            "store long histories as arrays among the params."
        )
    write_file(path, data)


def load(path: str | bytes | os.PathLike, like: Params | None = None, *, cast: bool = False) -> Checkpoint:
    """Read a file of `save`, or of another program that writes safetensors: `Checkpoint(params, metadata)`.

        like = jax.eval_shape(lambda key: network.init(key, in_shape)[0], key)
        params, metadata = load("net.safetensors", like)

    With `like`, the params are JAX arrays in its structure, and names, shapes and dtypes must match it; `cast=True`
    converts dtypes. Without `like`, they are NumPy arrays in a dictionary by name, in the dtypes of the file. Header,
    names and sizes are checked before any array is read. No code from the file runs, and a damaged file returns
    nothing: it is recognised by its checksum, or, for other programs, which write none, as far as the header shows it.

    Args:
        path: of the file.
        like: a pytree of arrays or of `jax.ShapeDtypeStruct`, such as the params of `network.init`.
        cast: convert each array to the dtype that `like` has: integers to floats, and wide types to narrow ones where
            every number fits; floats never become integers.

    Returns:
        `Checkpoint(params, metadata)`; the metadata of other programs are a dictionary of texts.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not a safetensors file, is damaged, or does not fit `like`; the message lists the differences.
    """
    place = as_path("load", path)
    cast = check_flag("load", "cast", cast)
    if like is None and cast:
        raise ValueError("`load` expected `like` beside `cast=True`: its dtypes are those to convert to.")
    expected = None if like is None else {name: as_expected(name, leaf) for name, leaf in named("load", like).items()}
    with _open(place) as file:
        try:
            header = tensor_file.read_header(file)
        except (ValueError, OSError) as error:
            raise ValueError(f"{shown(place)} is not a safetensors file or is damaged: {error}.") from None
        if expected is not None:
            check_fits(place, header.arrays, expected, cast)
        try:
            metadata = _checked_metadata(file, header)
            arrays = {name: tensor_file.read_array(file, name, stored) for name, stored in header.arrays.items()}
        except (ValueError, OSError) as error:
            raise ValueError(f"{shown(place)} is damaged: {error}. Take another copy.") from None
    if expected is None:
        return Checkpoint(arrays, metadata)
    leaves = [jnp.asarray(converted(place, name, arrays.pop(name), leaf.dtype)) for name, leaf in expected.items()]
    return Checkpoint(jax.tree.unflatten(jax.tree.structure(like), leaves), metadata)


def named(who: str, tree) -> dict[str, Any]:
    """The leaves of a pytree by their names in a file."""
    try:
        leaves = jax.tree_util.tree_leaves_with_path(tree)
    except ValueError as error:  # a dictionary whose keys cannot be sorted
        raise ValueError(f"`{who}` expected a pytree whose dictionaries have keys of one type: {error}") from None
    found = {}
    for path, leaf in leaves:
        name = ".".join(_step(step) for step in path) or "params"
        if name in found or name == "__metadata__":
            raise ValueError(
                f"`{who}` expected a name for each array, got '{name}' twice or reserved: "
                "rename the keys of dictionaries that hold a dot."
            )
        found[name] = leaf
    return found


def _step(step) -> str:
    """The text of one step of a path in a pytree: 0, w."""
    for attribute in ("key", "idx", "name"):
        if hasattr(step, attribute):
            return str(getattr(step, attribute))
    return str(step)


def _as_numpy(name: str, leaf) -> np.ndarray:
    """A leaf in C order, or a `ValueError`."""
    dtype = getattr(leaf, "dtype", None)
    if dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key):
        raise ValueError(
            f"`save` expected arrays of numbers, got a random key at '{name}': store `jax.random.key_data(key)`, and "
            "make it a key again with `jax.random.wrap_key_data`."
        )
    if not isinstance(leaf, jax.Array | np.ndarray | np.generic) or not is_concrete(leaf):
        raise ValueError(f"`save` expected an array at '{name}', got {type(leaf).__name__}: make it one, outside jit.")
    if np.dtype(leaf.dtype).name not in NAMES:
        raise ValueError(f"`save` expected one of {', '.join(NAMES)} at '{name}', got {dtype}: cast it.")
    if isinstance(leaf, jax.Array) and leaf.is_deleted():
        raise ValueError(f"`save` expected an array at '{name}', got one that was deleted or donated: save it before.")
    array = np.asarray(leaf)
    return np.array(array, array.dtype.newbyteorder("="), order="C")  # not ascontiguousarray, which gives () an axis


def _as_json(metadata) -> str:
    metadata = {} if metadata is None else metadata
    if not isinstance(metadata, dict) or not all(isinstance(name, str) for name in metadata):
        raise ValueError(
            f"`save` expected `metadata` to be a dictionary with strings for names, got {text_of(metadata)}."
        )
    try:
        return json.dumps(_plain(metadata), sort_keys=True)
    except (TypeError, ValueError) as error:
        raise ValueError(f"`save` expected `metadata` that JSON can hold: {error}.") from None


def _plain(value, depth: int = 0):
    """Metadata in the types of JSON, or a `ValueError`: keys that are not strings would come back as strings."""
    if depth > MAX_DEPTH:
        raise ValueError(f"it is nested more than {MAX_DEPTH} deep")
    if isinstance(value, dict):
        others = [key for key in value if not isinstance(key, str)]
        if others:
            raise ValueError(f"the key {others[0]!r} is not a string")
        return {key: _plain(entry, depth + 1) for key, entry in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(entry, depth + 1) for entry in value]
    if isinstance(value, np.generic | np.ndarray | jax.Array) and value.ndim == 0 and is_concrete(value):
        return value.item()
    return value


def _checksum(arrays: dict[str, np.ndarray], text: str) -> str:
    """SHA-256 of names, shapes, dtypes, values and metadata."""
    total = hashlib.sha256(text.encode())
    for name in sorted(arrays):
        total.update(_identity(name, arrays[name]))
        total.update(arrays[name].reshape(-1).view(np.uint8).data)
    return total.hexdigest()


def _identity(name: str, array: np.ndarray | Stored) -> bytes:
    return json.dumps([name, array.dtype.name, array.shape]).encode()


def _open(place: Path) -> BinaryIO:
    """The file opened for reading, or the error that says why it cannot be."""
    try:
        if not place.exists():
            raise FileNotFoundError(f"There is no checkpoint at {shown(place)}.")
        if not place.is_file():
            raise ValueError(f"{shown(place)} is not a file: name the checkpoint itself.")
        if place.stat().st_size == 0:
            raise ValueError(f"{shown(place)} is empty: it is not a checkpoint.")
        return open(place, "rb")
    except OSError as error:
        if error.strerror is None:
            raise
        raise ValueError(f"{shown(place)} cannot be read ({error.strerror}).") from None


def _checked_metadata(file: BinaryIO, header: Header) -> dict[str, Any]:
    """The metadata, after the checksum was verified; a file that never mentions bpjax has none."""
    if b"bpjax" not in header.text:
        return dict(header.metadata)
    if "bpjax.sha256" not in header.metadata or "bpjax.metadata" not in header.metadata:
        raise ValueError("it has no checksum")
    text = header.metadata["bpjax.metadata"]
    total = hashlib.sha256(text.encode(errors="surrogatepass"))
    for name in sorted(header.arrays):
        total.update(_identity(name, header.arrays[name]))
        for block in tensor_file.blocks(file, header.arrays[name]):
            total.update(block)
    if header.metadata["bpjax.sha256"] != total.hexdigest():
        raise ValueError("its checksum is not that of its contents")
    metadata = _plain(tensor_file.parse_json(text, "its metadata"))
    if not isinstance(metadata, dict):
        raise ValueError("its metadata are not a dictionary")
    return metadata
