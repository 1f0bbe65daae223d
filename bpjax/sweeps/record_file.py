"""The record of a store: what identifies the sweep, its axes, and which files describe the arrays.

`record.json` is the one source of truth, in two copies with a checksum inside. Everything else but the results
follows from it and is restored from it where it is damaged.
"""

import hashlib
import json
from pathlib import Path

import numpy as np

from bpjax.results.record import MARK
from bpjax.results.seal import digest_of
from bpjax.sweeps.plan import Plan
from bpjax.sweeps.steps import Axis, Steps
from bpjax.util.extras import require_extra
from bpjax.util.files import write_file

FORMAT = "bpjax sweep, version 3"
READABLE = ("bpjax sweep, version 2", FORMAT)
LONGEST_LIST = 1024
"""Values of an axis that are written out in the record; of longer ones it holds the hash."""
COPY = "record.copy.json"
STORE = "results/xor"
"""A folder of a store, as messages give it for an example."""
ASIDE = ".bpjax-"
"""Prefix of temporary files and folders inside a store."""


def read_record(folder: Path) -> dict | None:
    """The record of a store, from its copy where the file itself is damaged; None where there is no store.

    Raises:
        ValueError: both copies are damaged, or the record is that of something else.
    """
    found = False
    for name in (MARK, COPY):
        try:
            text = (folder / name).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise ValueError(f"{folder / name} cannot be read ({error.strerror}).") from None
        found = True
        record = parsed(text)
        if record is not None:
            return record
    if not found:
        return None
    what = "of version 0.1" if is_older(folder) else "that is damaged, or not that of a sweep"
    raise ValueError(
        f"{folder} holds a record {what}: sweeps are stored as {FORMAT!r}. Choose another folder, or restore {MARK} "
        "from a backup; the results in the folder can be read by `xarray.open_zarr`."
    )


def parsed(text: bytes) -> dict | None:
    """A record whose checksum is right, or None."""
    try:
        record = json.loads(text)
        given = record.pop("sha256")
        is_ours = record["format"] in READABLE and given == digest_of(record)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return record if is_ours else None


def is_older(folder: Path) -> bool:
    """Whether a folder holds a sweep of an earlier format."""
    try:
        return "sweep" in json.loads((folder / MARK).read_bytes())
    except (OSError, ValueError, TypeError, RecursionError):
        return False


def write_record_file(folder: Path, record: dict) -> None:
    """Write both copies, one after the other."""
    text = json.dumps({**record, "sha256": digest_of(record)}, indent=1).encode() + b"\n"
    for name in (MARK, COPY):
        write_file(folder / name, text)


def plan_data(points: Plan) -> dict:
    """A plan as data for JSON, of a few kilobytes whatever its size."""
    return {
        "dims": points.dims,
        "coords": {name: [dim, axis_data(values)] for name, (dim, values) in points.coords.items()},
        "hyperparameters": list(points.hyperparameters),
        "drawn": points.drawn,
    }


def axis_data(values: Axis) -> list | dict:
    """An axis: its values, start, step and count, or a hash of the values, which then are in the Zarr array."""
    if isinstance(values, Steps):
        return {"start": values.start, "step": values.step, "count": values.count}
    if len(values) <= LONGEST_LIST:
        return values.tolist()
    return {"sha256": hashlib.sha256(values.tobytes()).hexdigest(), "count": len(values)}


def plan_of(data: dict, folder: Path, points: Plan | None = None) -> Plan:
    """The plan that `plan_data` wrote.

    Args:
        data: the axes of a record.
        folder: of the store, where long axes are.
        points: of a sweep, whose values stand in for a long axis that is damaged there.

    Raises:
        ValueError: a long axis is damaged.
    """
    coords = {}
    for name, (dim, values) in data["coords"].items():
        given = None if points is None or name not in points.coords else points.coords[name][1]
        coords[name] = (dim, axis_of(values, folder / name, given))
    return Plan(dict(data["dims"]), coords, tuple(data["hyperparameters"]), dict(data["drawn"]))


def axis_of(data: list | dict, path: Path, given: Axis | None) -> Axis:
    """The axis that `axis_data` wrote; see `plan_of`."""
    if isinstance(data, list):
        return np.asarray(data)
    if "start" in data:
        return Steps(**data)
    if given is not None and axis_data(given) == data:
        return given
    try:
        values = np.array(import_zarr().open_array(path, mode="r")[...])
    except Exception:  # whatever a codec raises on bytes that it did not write
        values = np.zeros(0)
    if axis_data(values) != data:
        raise ValueError(f"{path} is damaged; no results are lost: the same `bp.sweep(..., store=...)` restores it.")
    return values


def import_zarr():
    """The module zarr, or a `ModuleNotFoundError` that names the extra to install."""
    with require_extra("A sweep is stored by zarr"):
        import zarr
    return zarr
