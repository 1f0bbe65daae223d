"""Store parameters as safetensors: arrays with readable names and no code."""

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bpjax.types import Params
from bpjax.util.checks import is_concrete
from bpjax.util.extras import require_extra
from bpjax.util.files import write_file
from bpjax.util.trees import described

DTYPES = (
    *("bool", "uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64"),
    *("float16", "bfloat16", "float32", "float64"),
)
"""The dtypes of a checkpoint: those that safetensors and JAX both restore bit for bit."""


class Checkpoint(NamedTuple):
    """What `load` returns."""

    params: Params  # in the structure of `like`; without one, a dictionary from names to NumPy arrays
    metadata: dict[str, Any]

    def __repr__(self) -> str:
        return f"Checkpoint(params={described(self.params)}, metadata={self.metadata})"


def save(path: str | Path, params: Params, metadata: dict[str, Any] | None = None) -> None:
    """Write a pytree of arrays to a safetensors file.

    The names are the paths in the pytree, "0.w", "2.b": indices, dictionary keys and fields, joined by dots ("params"
    for a single array). Any tool that reads safetensors can read the file. It includes a checksum of names, shapes,
    dtypes, values and metadata. A write that fails or is killed leaves the old file unchanged.

    Args:
        path: of the file.
        params: a pytree of arrays.
        metadata: a dictionary with string keys that JSON can represent; `load` returns it.

    Raises:
        ModuleNotFoundError: safetensors is not installed.
        ValueError: a leaf is not an array or has a dtype that cannot be stored, two leaves have the same name, JSON
            cannot represent the metadata, or the file cannot be written.
    """
    with require_extra("Checkpoints are written by safetensors", "checkpoints"):
        from safetensors.numpy import save as to_bytes
    arrays = {name: _as_numpy(name, leaf) for name, leaf in named("save", params).items()}
    text = _as_json(metadata)
    header = {"bpjax.metadata": text, "bpjax.sha256": _checksum(arrays, text)}
    write_file(path, to_bytes(arrays, header))


def load(path: str | Path, like: Params | None = None) -> Checkpoint:
    """Read a file of `save`: `Checkpoint(params, metadata)`.

        like = jax.eval_shape(lambda key: network.init(key, in_shape)[0], key)
        params = load("net.safetensors", like).params

    With `like`, a pytree of arrays or of `jax.ShapeDtypeStruct`, the params are JAX arrays in its structure, and names,
    shapes and dtypes must match it. Without, they are NumPy arrays in a dictionary by name. No code from the file runs,
    and a damaged file returns nothing.

    Raises:
        ModuleNotFoundError: safetensors is not installed.
        FileNotFoundError: there is no such file.
        ValueError: it is not a file of `save`, is damaged, or does not fit `like`; the message lists all differences.
    """
    expected = None if like is None else named("load", like)
    arrays, metadata = _read(Path(path))
    if expected is None:
        return Checkpoint(arrays, metadata)
    _check_fits(path, arrays, expected)
    leaves = [jnp.asarray(arrays[name]) for name in expected]
    return Checkpoint(jax.tree.unflatten(jax.tree.structure(like), leaves), metadata)


def named(who: str, tree, is_leaf: Callable | None = None) -> dict[str, Any]:
    """The leaves of a pytree by their paths, "0.w", in order; a `ValueError` if two have the same name."""
    found = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree, is_leaf=is_leaf):
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
    if dtype is None or not is_concrete(leaf) or isinstance(leaf, jax.ShapeDtypeStruct):
        raise ValueError(f"`save` expected an array at '{name}', got {type(leaf).__name__}: make it one, outside jit.")
    if dtype.name not in DTYPES:
        raise ValueError(f"`save` expected one of {', '.join(DTYPES)} at '{name}', got {dtype}: cast it.")
    array = np.asarray(leaf)
    return np.array(array, dtype.newbyteorder("="), order="C")  # not ascontiguousarray, which gives () an axis


def _as_json(metadata) -> str:
    metadata = {} if metadata is None else metadata
    if not isinstance(metadata, dict) or not all(isinstance(name, str) for name in metadata):
        raise ValueError(f"`save` expected `metadata` to be a dictionary with strings for names, got {metadata!r}.")
    try:
        return json.dumps(metadata, sort_keys=True)
    except (TypeError, ValueError) as error:
        raise ValueError(f"`save` expected `metadata` that JSON can hold: {error}.") from None


def _checksum(arrays: dict[str, np.ndarray], text: str) -> str:
    """SHA-256 of names, shapes, dtypes, values and metadata."""
    total = hashlib.sha256(text.encode())
    for name in sorted(arrays):
        array = arrays[name]
        total.update(json.dumps([name, array.dtype.name, array.shape]).encode())
        total.update(array.tobytes())
    return total.hexdigest()


def _read(path: Path) -> tuple[dict[str, np.ndarray], dict]:
    """All arrays and the metadata, after the checksum was verified."""
    with require_extra("Checkpoints are read by safetensors", "checkpoints"):
        from safetensors import SafetensorError, safe_open
    if not path.exists():
        raise FileNotFoundError(f"There is no checkpoint at {path}.")
    if not path.is_file():
        raise ValueError(f"{path} is not a file: name the checkpoint itself.")
    if os.path.getsize(path) == 0:
        raise ValueError(f"{path} is empty: it is not a checkpoint.")
    try:
        with safe_open(path, framework="numpy") as file:
            header = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, TypeError, AttributeError, KeyError, MemoryError) as error:
        raise ValueError(f"{path} is not a safetensors file or is damaged ({error}).") from None
    if "bpjax.sha256" not in header or "bpjax.metadata" not in header:
        raise ValueError(
            f"{path} was not written by `bp.save`: it has no checksum. Read it with `safetensors.numpy.load_file`."
        )
    text = header["bpjax.metadata"]
    if header["bpjax.sha256"] != _checksum(arrays, text):
        raise ValueError(f"{path} is damaged: its checksum is not that of its contents. Take another copy.")
    return arrays, json.loads(text)


def _check_fits(path, arrays: dict[str, np.ndarray], expected: dict[str, Any]) -> None:
    """Raise a `ValueError` with all differences between a file and the expected arrays."""
    differing = [f"missing: {name} {described(leaf)}" for name, leaf in expected.items() if name not in arrays]
    differing += [f"unexpected: {name} {described(array)}" for name, array in arrays.items() if name not in expected]
    differing += [
        f"{name}: {described(arrays[name])} in the file, {described(leaf)} expected"
        for name, leaf in expected.items()
        if name in arrays and described(arrays[name]) != described(leaf)
    ]
    if differing:
        raise ValueError(f"The checkpoint {path} does not fit `like`; " + "; ".join(differing) + ".")
