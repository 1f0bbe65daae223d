"""A sweep on disk: a Zarr group, written block by block as runs stop, continued after an interruption.

A block is written first, then its checksum. A block whose checksum is missing or does not match its bytes is run again.
"""

import json
import logging
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np

from bpjax.results.record import MARK, config_data, environment
from bpjax.sweeps.axes import Plan
from bpjax.util.extras import require_extra

log = logging.getLogger("bpjax.sweeps")

CHECKSUM = "checksum"
"""The array with the checksum of each block, −1 where the block is not written yet."""
UNFINISHED = "record.aside"
"""The record while it is being written."""


class SweepStore:
    """The folder of a sweep that is being written."""

    def __init__(self, folder, points: Plan, shapes, block: int, record: dict, config, receipt):
        """Open the folder of this very sweep, or create it.

        Args:
            folder: of the sweep.
            points: the runs.
            shapes: shape and dtype of each variable of a run.
            block: runs that are written together.
            record: what identifies the sweep.
            config: of the caller.
            receipt: the gradient receipt, or None.

        Raises:
            ValueError: the folder holds another sweep or something else, or cannot be written.
        """
        self.folder, self.runs, self.block = Path(folder).absolute(), points.runs, block
        identity = json.loads(json.dumps(identity_of(points, shapes, block, record, config), default=str))
        if (self.folder / MARK).is_file():
            check_same(self.folder, json.loads((self.folder / MARK).read_text()).get("sweep", {}), identity)
            self.arrays = arrays_in(self.folder, "r+")
            return
        if self.folder.exists() and any(entry.name not in ("runs", UNFINISHED) for entry in self.folder.iterdir()):
            raise ValueError(f"{self.folder} holds something that is not a sweep: choose another folder for `store`.")
        try:
            self._create(shapes)
            self.arrays = arrays_in(self.folder, "r+")
            text = json.dumps({"sweep": identity, **environment(), "receipt": str(receipt)}, indent=2)
            (self.folder / UNFINISHED).write_text(text + "\n")
            (self.folder / UNFINISHED).rename(self.folder / MARK)  # last: this file makes the folder a valid sweep
        except OSError as error:
            raise ValueError(
                f"A sweep cannot be written to {self.folder} ({error.strerror}): choose another folder."
            ) from None

    def _create(self, shapes) -> None:
        zarr = import_zarr()
        self.folder.mkdir(parents=True, exist_ok=True)
        group = zarr.create_group(self.folder / "runs", overwrite=True)
        for name, one in shapes.items():
            shape, chunks = (self.runs, *one.shape), (self.block, *one.shape)
            group.create_array(name, shape=shape, chunks=chunks, dtype=np.dtype(one.dtype))
        blocks = -(-self.runs // self.block)
        group.create_array(CHECKSUM, shape=(blocks,), chunks=(1,), dtype="int64", fill_value=-1)

    def write(self, index: int, values: dict[str, np.ndarray]) -> None:
        """Write a block of results.

        Raises:
            OSError: it cannot be written, for example because the disk is full; earlier blocks stay valid.
        """
        rows = slice(index * self.block, min((index + 1) * self.block, self.runs))
        try:
            for name, array in values.items():
                self.arrays[name][rows] = array
            self.arrays[CHECKSUM][index] = checksum(values)
        except OSError as error:
            raise OSError(
                error.errno,
                f"{self.folder} could not be written ({error.strerror}). Results written before are kept: "
                "free some space and start again, and the sweep continues from there",
            ) from error

    def blocks(self) -> Iterator[tuple[np.ndarray, dict[str, np.ndarray]]]:
        """(run numbers, results) of each valid block."""
        return read_blocks(self.folder)


def read_blocks(folder: Path) -> Iterator[tuple[np.ndarray, dict[str, np.ndarray]]]:
    """(run numbers, results) of each valid block; damaged blocks are logged and skipped."""
    arrays = arrays_in(folder, "r")
    sums = np.asarray(arrays.pop(CHECKSUM)[:])
    reason = arrays["reason"]
    block, runs = reason.chunks[0], reason.shape[0]
    for index in np.flatnonzero(sums >= 0):
        rows = np.arange(index * block, min((index + 1) * block, runs))
        try:
            values = {name: np.asarray(array[rows[0] : rows[-1] + 1]) for name, array in arrays.items()}
            is_valid = checksum(values) == sums[index]
        except Exception as error:  # whatever a codec raises on bytes that it did not write
            log.debug("block %d: %r", index, error)
            values, is_valid = {}, False
        if is_valid:
            yield rows, values
        else:
            log.warning("%s: runs %d to %d are damaged and will be run again", folder, rows[0], rows[-1])


def arrays_in(folder: Path, mode: Literal["r", "r+"]) -> dict[str, Any]:
    """The Zarr arrays of a sweep, by name."""
    return dict(import_zarr().open_group(folder / "runs", mode=mode).arrays())


def checksum(values: dict[str, np.ndarray]) -> int:
    """CRC-32 of the bytes of all arrays, in the order of their names."""
    total = 0
    for name in sorted(values):
        total = zlib.crc32(np.ascontiguousarray(values[name]).tobytes(), total)
    return total


def identity_of(points: Plan, shapes, block: int, record: dict, config) -> dict:
    """What identifies a sweep: fields that must be equal for two sessions to write into one store.

    Args:
        points: the runs.
        shapes: shape and dtype of each variable of a run.
        block: runs that are written together.
        record: trial, key, curves and layout.
        config: of the caller.
    """
    here = environment()
    return {
        "axes": {name: [dim, np.asarray(values).tolist()] for name, (dim, values) in points.coords.items()},
        "variables": {name: [list(shape.shape), str(np.dtype(shape.dtype))] for name, shape in shapes.items()},
        "block": block,
        **record,
        "config": config_data(config),
        "versions": {name: here["versions"][name] for name in ("jax", "jaxlib")},
        "precision": here["precision"],
    }


def check_same(folder: Path, stored: dict, new: dict) -> None:
    """Raise a `ValueError` that names the fields in which two sweeps differ.

    Args:
        folder: of the stored sweep.
        stored: its identity.
        new: the identity of the sweep that is to be written.
    """
    different = [name for name in sorted({*stored, *new}) if stored.get(name) != new.get(name)]
    if different:
        fields = "; ".join(
            f"{name}: {brief(stored.get(name))} there, {brief(new.get(name))} here" for name in different
        )
        raise ValueError(
            f"{folder} holds another sweep, and the two are not mixed. They differ in {fields}. "
            "Choose another `store`, or delete this one."
        )


def brief(value) -> str:
    """A value in at most 60 characters."""
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else text[:57] + "..."


def import_zarr():
    """The module zarr, or a `ModuleNotFoundError` that names the extra to install."""
    with require_extra("A sweep is stored by zarr"):
        import zarr
    return zarr
