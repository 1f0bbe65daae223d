"""The Zarr files of a store that hold no results: metadata, and the coordinates of the axes.

They follow from the record. `xarray.open_zarr` and `zarr.open_group` read a store without bpjax.
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from bpjax.sweeps.device_kind import DEVICE_BYTES
from bpjax.sweeps.grid import Grid
from bpjax.sweeps.plan import Plan
from bpjax.sweeps.record_file import ASIDE, import_zarr
from bpjax.sweeps.steps import Steps

CHECK = "check"
"""The array with the checksum of each run; −1 where a run is missing."""
DERIVED = ("solved", "diverged")
"""Arrays that follow from `reason`, for readers without bpjax."""
DEVICE = "device"
"""The array with the kind of device on which each chunk was computed, as text."""
LONGEST_COORDINATE = 2**20
"""Evenly spaced coordinates of more values are in the record only."""
LONG_NAMES = {
    "reason": "why the run stopped", "epochs": "epochs done, including the last", "error": "error of the last epoch",
    "curve": "error; NaN after the run's end", "check": "checksum of the runs; -1 where they are missing",
    "device": "device on which the runs of a chunk were computed",
}  # fmt: skip


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


def array_specs(record: dict, points: Plan) -> Iterator[ArraySpec]:
    """The arrays that a record describes."""
    grid, curves = grid_of(record, points), record["identity"]["curves"]
    dims, chunks = list(points.dims), grid.chunks
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
    are_single = all(group == 1 for group in grid.groups)
    labels = (located if are_single else {}) | {"long_name": LONG_NAMES[CHECK]}
    inside = tuple(chunk // group for chunk, group in zip(chunks, grid.groups, strict=True))
    names = dims if are_single else [f"{dim}_group" for dim in dims]
    yield ArraySpec(CHECK, names, grid.group_counts(grid.everything), inside, "int64", -1, labels)
    names, sizes = [*(f"{dim}_chunk" for dim in dims), "device_text"], (*grid.counts, DEVICE_BYTES)
    one_each = (*(1 for _ in dims), DEVICE_BYTES)
    yield ArraySpec(DEVICE, names, sizes, one_each, "uint8", 0, {"long_name": LONG_NAMES[DEVICE]})
    coords = dict(points.coords) | ({"epoch": ("epoch", np.array(curves))} if curves else {})
    for name, (dim, values) in coords.items():
        if isinstance(values, Steps) and len(values) > LONGEST_COORDINATE:
            continue
        array = np.asarray(values)
        yield ArraySpec(name, [dim], array.shape, array.shape, array.dtype, fill_of(array.dtype), {}, array)


def grid_of(record: dict, points: Plan) -> Grid:
    """The chunks and groups of a store; in one of version 2 every run is a group."""
    return Grid(points.shape, tuple(record["chunks"]), tuple(record.get("groups", [1] * len(points.dims))))


def build_skeleton(record: dict, points: Plan, folder: Path) -> None:
    """Write the Zarr files of a store, without results, to an empty folder."""
    zarr = import_zarr()
    from zarr.codecs import Crc32cCodec, ZstdCodec

    group = zarr.create_group(folder, attributes=record["attributes"])
    for one in array_specs(record, points):
        array = group.create_array(
            one.name, shape=one.shape, chunks=one.chunks, dtype=one.dtype, fill_value=one.fill,
            dimension_names=one.dims, attributes=one.attributes, compressors=[ZstdCodec(), Crc32cCodec()],
        )  # fmt: skip
        if one.values is not None:
            array[:] = one.values
    consolidate(folder, [one.name for one in array_specs(record, points)])


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


def renew_skeleton(record: dict, points: Plan, folder: Path) -> dict:
    """The record with the digests of the skeleton's files, which are written aside for `place_skeleton`.

    Raises:
        OSError: the folder cannot be written.
    """
    aside = Path(tempfile.mkdtemp(prefix=f"{ASIDE}skeleton-", dir=folder))
    build_skeleton(record, points, aside)
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
