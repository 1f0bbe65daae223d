"""A sweep on disk: a Zarr group, written block by block as runs end, gone on with after an interruption.

A block is first written whole, then its checksum: a block without its checksum, or whose bytes do not match it, is as
if it had never been run, and is run again.
"""

import json
import logging
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np

from bpjax.results.record import MARK, environment, plain
from bpjax.sweeps.axes import Plan
from bpjax.util.extras import require_extra

log = logging.getLogger("bpjax.sweeps")

CHECKSUM = "checksum"
"""The array with a number for each block, −1 where it is not there yet."""


class SweepStore:
    """The folder of a sweep that is being written."""

    def __init__(self, folder, points: Plan, kinds, block: int, record: dict, config, receipt):
        """Open the folder of this very sweep, or make it.

        Raises:
            ValueError: the folder holds another sweep, or something that is none, or cannot be written.
        """
        self.folder, self.runs, self.block = Path(folder).absolute(), points.runs, block
        identity = json.loads(json.dumps(identity_of(points, kinds, block, record, config), default=str))
        if (self.folder / MARK).is_file():
            check_same(self.folder, json.loads((self.folder / MARK).read_text()).get("sweep", {}), identity)
            self.arrays = arrays_in(self.folder, "r+")
            return
        if self.folder.exists() and any(entry.name not in ("runs", PREPARED) for entry in self.folder.iterdir()):
            raise ValueError(f"{self.folder} holds something that is no sweep: choose another folder for `store`.")
        try:
            self._create(kinds)
            self.arrays = arrays_in(self.folder, "r+")
            (self.folder / PREPARED).write_text(
                json.dumps({"sweep": identity, **environment(), "receipt": str(receipt)}, indent=2) + "\n"
            )
            (self.folder / PREPARED).rename(
                self.folder / MARK
            )  # last: with this file the folder is a whole, empty sweep
        except OSError as error:
            raise ValueError(
                f"A sweep cannot be written to {self.folder} ({error.strerror}): choose another."
            ) from None

    def _create(self, kinds) -> None:
        zarr = import_zarr()
        self.folder.mkdir(parents=True, exist_ok=True)
        group = zarr.create_group(self.folder / "runs", overwrite=True)
        for name, kind in kinds.items():
            shape, chunks = (self.runs, *kind.shape), (self.block, *kind.shape)
            group.create_array(name, shape=shape, chunks=chunks, dtype=np.dtype(kind.dtype))
        blocks = -(-self.runs // self.block)
        group.create_array(CHECKSUM, shape=(blocks,), chunks=(1,), dtype="int64", fill_value=-1)

    def write(self, index: int, values: dict[str, np.ndarray]) -> None:
        """A block of results.

        Raises:
            OSError: the disk is full, say; what was written before is kept.
        """
        rows = slice(index * self.block, min((index + 1) * self.block, self.runs))
        try:
            for name, array in values.items():
                self.arrays[name][rows] = array
            self.arrays[CHECKSUM][index] = checksum(values)
        except OSError as error:
            raise OSError(
                error.errno,
                f"{self.folder} could not be written ({error.strerror}). What was finished before is kept: "
                "make room and start again, and the sweep goes on from there",
            ) from error

    def blocks(self) -> Iterator[tuple[np.ndarray, dict[str, np.ndarray]]]:
        """(run numbers, results) of each block that is whole."""
        return read_blocks(self.folder)


PREPARED = "record.aside"
"""The record while it is being written."""


def read_blocks(folder: Path) -> Iterator[tuple[np.ndarray, dict[str, np.ndarray]]]:
    """(run numbers, results) of each block that is whole; damaged ones are reported and left out."""
    arrays = arrays_in(folder, "r")
    sums = np.asarray(arrays.pop(CHECKSUM)[:])
    reason = arrays["reason"]
    block, runs = reason.chunks[0], reason.shape[0]
    for index in np.flatnonzero(sums >= 0):
        rows = np.arange(index * block, min((index + 1) * block, runs))
        try:
            values = {name: np.asarray(array[rows[0] : rows[-1] + 1]) for name, array in arrays.items()}
            whole = checksum(values) == sums[index]
        except Exception as error:  # whatever a codec raises on bytes that are not its own
            log.debug("block %d: %r", index, error)
            values, whole = {}, False
        if whole:
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


def identity_of(points: Plan, kinds, block: int, record: dict, config) -> dict:
    """What makes a sweep this one: fields that must be equal for two sessions to write into one store."""
    there = environment()
    return {
        "axes": {name: [dim, np.asarray(values).tolist()] for name, (dim, values) in points.coords.items()},
        "kept": {name: [list(kind.shape), str(np.dtype(kind.dtype))] for name, kind in kinds.items()},
        "block": block,
        **record,
        "config": plain(config),
        "versions": {name: there["versions"][name] for name in ("jax", "jaxlib")},
        "precision": there["precision"],
    }


def check_same(folder: Path, theirs: dict, mine: dict) -> None:
    """Raise a `ValueError` that names the fields in which two sweeps differ."""
    different = [name for name in sorted({*theirs, *mine}) if theirs.get(name) != mine.get(name)]
    if different:
        shown = "; ".join(
            f"{name}: {brief(theirs.get(name))} there, {brief(mine.get(name))} here" for name in different
        )
        raise ValueError(
            f"{folder} holds another sweep, and the two are not mixed. They differ in {shown}. "
            "Choose another `store`, or delete this one."
        )


def brief(value) -> str:
    """A value in at most 60 characters."""
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else text[:57] + "..."


def import_zarr():
    """The module zarr, or a `ModuleNotFoundError` that says what to install."""
    with require_extra("A sweep is stored by zarr"):
        import zarr
    return zarr
