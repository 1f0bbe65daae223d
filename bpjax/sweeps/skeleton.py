"""The Zarr files of a store that hold no results: metadata, and the coordinates of the axes.

They follow from the record. `xarray.open_zarr` and `zarr.open_group` read a store without bpjax.
"""

import hashlib
import json
import math
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from bpjax.sweeps.plan import Plan
from bpjax.sweeps.record_file import ASIDE, plan_of
from bpjax.util.extras import require_extra

CHECK = "check"
"""The array with the checksum of each run; −1 where a run is missing."""
DERIVED = ("solved", "diverged")
"""Arrays that follow from `reason`, for readers without bpjax."""
RUNS_A_CHUNK = 4096
BYTES_A_CHUNK = 2**23
LONG_NAMES = {
    "reason": "why the run stopped", "epochs": "epochs done, including the last", "error": "error of the last epoch",
    "curve": "error; NaN after the run's end", "check": "checksum of the run; -1 where it is missing",
}  # fmt: skip


def chunks_of(points: Plan, variables: dict) -> list[int]:
    """The length of a chunk along each dimension: a few thousand runs together, and room to grow along the last."""
    nbytes = sum(math.prod(one.shape) * np.dtype(one.dtype).itemsize for one in variables.values())
    left = max(1, min(RUNS_A_CHUNK, BYTES_A_CHUNK // max(1, nbytes)))
    chunks = []
    for place, length in enumerate(reversed(points.shape)):
        wanted = max(256, length) if place == 0 else length
        chunk = min(1 << (wanted - 1).bit_length(), 1 << (left.bit_length() - 1))
        chunks.append(chunk)
        left = max(1, left // chunk)
    return chunks[::-1]


def fill_of(dtype, name: str = "") -> Any:
    """What stands for the value of a missing run: −1 for `reason`, NaN, False or 0."""
    kind = np.dtype(dtype).kind
    return -1 if name == "reason" else np.nan if kind in "fc" else False if kind == "b" else 0


def flags(reasons: list[str], some_missing: bool = False) -> dict:
    """The attributes that give the values of `reason` their meanings, as the CF conventions have them."""
    words = [word.replace(" ", "_") for word in reasons]
    values = list(range(len(words)))
    more = ([-1], ["missing"]) if some_missing else ([], [])
    return {"flag_values": values + more[0], "flag_meanings": " ".join(words + more[1])}


class ArraySpec(NamedTuple):
    """An array of a store."""

    name: str
    dims: list[str]
    shape: tuple[int, ...]
    chunks: tuple[int, ...]
    dtype: Any
    fill: Any
    attributes: dict
    values: np.ndarray | None = None  # of a coordinate


def array_specs(record: dict) -> Iterator[ArraySpec]:
    """The arrays that a record describes."""
    points, curves = plan_of(record["axes"]), record["identity"]["curves"]
    dims, chunks = list(points.dims), tuple(record["chunks"])
    extra = [name for name, (dim, _) in points.coords.items() if name != dim]
    located = {"coordinates": " ".join(extra)} if extra else {}
    for name, (shape, dtype) in record["variables"].items():
        inner = inner_dims(name, len(shape), name in record["curved"])
        attributes = located | (flags(record["reasons"], True) if name == "reason" else {})
        attributes |= {"long_name": LONG_NAMES[name]} if name in LONG_NAMES else {}
        sizes, inside = (*points.shape, *shape), (*chunks, *(max(1, n) for n in shape))
        yield ArraySpec(name, [*dims, *inner], sizes, inside, dtype, fill_of(dtype, name), attributes)
    for name in DERIVED:
        yield ArraySpec(name, dims, points.shape, chunks, "bool", False, located)
    labels = located | {"long_name": LONG_NAMES[CHECK]}
    yield ArraySpec(CHECK, dims, points.shape, chunks, "int64", -1, labels)
    coords = dict(points.coords) | ({"epoch": ("epoch", np.array(curves))} if curves else {})
    for name, (dim, values) in coords.items():
        yield ArraySpec(name, [dim], values.shape, values.shape, values.dtype, fill_of(values.dtype), {}, values)


def build_skeleton(record: dict, folder: Path) -> None:
    """Write the Zarr files of a store, without results, to an empty folder."""
    zarr = import_zarr()
    from zarr.codecs import Crc32cCodec, ZstdCodec

    group = zarr.create_group(folder, attributes=record["attributes"])
    for one in array_specs(record):
        array = group.create_array(
            one.name, shape=one.shape, chunks=one.chunks, dtype=one.dtype, fill_value=one.fill,
            dimension_names=one.dims, attributes=one.attributes, compressors=[ZstdCodec(), Crc32cCodec()],
        )  # fmt: skip
        if one.values is not None:
            array[:] = one.values
    consolidate(folder, [one.name for one in array_specs(record)])


def consolidate(folder: Path, names: list[str]) -> None:
    """Copy the metadata of all arrays into that of the group, which readers then open with one read.

    As `zarr.consolidate_metadata`, without its warning, which cannot be silenced in one thread alone.
    """
    root = json.loads((folder / "zarr.json").read_text())
    arrays = {name: json.loads((folder / name / "zarr.json").read_text()) for name in names}
    root["consolidated_metadata"] = {"kind": "inline", "must_understand": False, "metadata": arrays}
    (folder / "zarr.json").write_text(json.dumps(root, indent=2))


def inner_dims(name: str, count: int, is_curve: bool) -> list[str]:
    """Names of the dimensions of one run's value."""
    first = ["epoch"] if is_curve else []
    return [*first, *(f"{name}_{axis}" for axis in range(count - len(first)))]


def renew_skeleton(record: dict, folder: Path) -> dict:
    """The record with the digests of the skeleton's files, which are written aside for `place_skeleton`.

    Raises:
        OSError: the folder cannot be written.
    """
    aside = Path(tempfile.mkdtemp(prefix=f"{ASIDE}skeleton-", dir=folder))
    build_skeleton(record, aside)
    files = sorted(path for path in aside.rglob("*") if path.is_file())
    digests = {path.relative_to(aside).as_posix(): sha256(path) for path in files}
    return {**record, "files": digests, "aside": aside.name}


def place_skeleton(record: dict, folder: Path) -> None:
    """Move the skeleton that `renew_skeleton` wrote into place, each file by one rename; the root last."""
    aside = folder / record["aside"]
    for name in sorted(record["files"], key=lambda name: name == "zarr.json"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if (aside / name).exists():
            os.replace(aside / name, folder / name)
    shutil.rmtree(aside, ignore_errors=True)


def is_sound(record: dict, folder: Path) -> bool:
    """Whether the skeleton's files are those of the record."""
    return all((folder / name).is_file() and sha256(folder / name) == one for name, one in record["files"].items())


def sha256(path: Path) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def arrays_in(folder: Path, mode: Literal["r", "r+"]) -> dict[str, Any]:
    """The Zarr arrays of a store, by name, which write chunks even where all values are fill values."""
    zarr = import_zarr()
    with zarr.config.set({"array.write_empty_chunks": True}):
        group = zarr.open_group(folder, mode=mode, use_consolidated=True)
        return dict(group.arrays())


def import_zarr():
    """The module zarr, or a `ModuleNotFoundError` that names the extra to install."""
    with require_extra("A sweep is stored by zarr"):
        import zarr
    return zarr
