"""The record of a store: what identifies the sweep, its axes, and which files describe the arrays.

`record.json` is the one source of truth, in two copies with a checksum inside. Everything else but the results
follows from it and is restored from it where it is damaged.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from bpjax.results.record import MARK
from bpjax.results.seal import digest_of
from bpjax.sweeps.plan import Plan
from bpjax.util.files import write_file

FORMAT = "bpjax sweep, version 2"
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
        is_ours = record["format"] == FORMAT and given == digest_of(record)
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
    """A plan as data for JSON."""
    return {
        "dims": points.dims,
        "coords": {name: [dim, values.tolist()] for name, (dim, values) in points.coords.items()},
        "hyperparameters": list(points.hyperparameters),
        "drawn": points.drawn,
    }


def plan_of(data: dict) -> Plan:
    """The plan that `plan_data` wrote."""
    coords: dict[str, Any] = {name: (dim, np.asarray(values)) for name, (dim, values) in data["coords"].items()}
    return Plan(dict(data["dims"]), coords, tuple(data["hyperparameters"]), dict(data["drawn"]))
