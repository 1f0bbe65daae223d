"""A sweep on disk: a Zarr group that grows, with a checksum for every run.

- record.json, record.copy.json: what identifies the sweep, and its axes (see `record_file`);
- zarr.json, NAME/zarr.json: metadata, and the coordinates, which follow from the record (see `skeleton`);
- NAME/c/...: results, in chunks;
- check/c/...: the checksum of each run, written after its results (see `checksums`);
- writer.lock, writer.json: who writes (see `writer`).
"""

import contextlib
import json
import logging
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from bpjax.results.record import config_data, environment
from bpjax.results.seal import digest_of
from bpjax.sweeps.checksums import MISSING, checksums
from bpjax.sweeps.identity import EXPLANATIONS, differences
from bpjax.sweeps.lanes.layout import Layout
from bpjax.sweeps.plan import Plan, union
from bpjax.sweeps.record_file import (
    ASIDE,
    FORMAT,
    plan_data,
    plan_of,
    read_record,
    write_record_file,
)
from bpjax.sweeps.result import derived
from bpjax.sweeps.skeleton import (
    CHECK,
    DERIVED,
    arrays_in,
    chunks_of,
    fill_of,
    is_sound,
    place_skeleton,
    renew_skeleton,
)
from bpjax.sweeps.writer import HOLDER, LOCK, only_writer

log = logging.getLogger("bpjax.sweeps")


class Stored(NamedTuple):
    """The runs of a store that are valid."""

    values: dict[str, np.ndarray]  # (runs, ...) of each variable; fill values where a run is missing
    done: np.ndarray  # (runs,) booleans
    damaged: int  # runs whose results do not match their checksum


class SweepStore:
    """A store that this process writes; see `open_store`."""

    def __init__(self, folder: Path, record: dict):
        """The store in a folder, whose skeleton is in place."""
        self.folder, self.record = folder, record
        self.points, self.chunks = plan_of(record["axes"]), tuple(record["chunks"])
        self.arrays = arrays_in(folder, "r+")

    def boxes(self, numbers: np.ndarray) -> np.ndarray:
        """The chunk (n,) in which each run lies."""
        if not self.points.dims:
            return np.zeros(len(numbers), int)
        places = np.unravel_index(numbers, self.points.shape)
        counts = [-(-length // chunk) for length, chunk in zip(self.points.shape, self.chunks, strict=True)]
        inside = tuple(place // chunk for place, chunk in zip(places, self.chunks, strict=True))
        return np.asarray(np.ravel_multi_index(inside, counts))

    def region(self, box: int) -> tuple[slice, ...]:
        """The places in the grid that lie in a chunk."""
        counts = [-(-length // chunk) for length, chunk in zip(self.points.shape, self.chunks, strict=True)]
        places = np.unravel_index(box, counts) if counts else ()
        sides = zip(places, self.chunks, self.points.shape, strict=True)
        return tuple(slice(int(k * chunk), int(min((k + 1) * chunk, length))) for k, chunk, length in sides)

    def write_runs(self, numbers: np.ndarray, values: Mapping[str, np.ndarray], done: np.ndarray) -> None:
        """Write the chunks in which runs lie.

        Args:
            numbers: of the runs (n,), maybe none.
            values: as for `write`.
            done: as for `write`.
        """
        for box in np.unique(self.boxes(numbers)) if len(numbers) else ():
            self.write(int(box), values, done)

    def write(self, box: int, values: Mapping[str, np.ndarray], done: np.ndarray) -> None:
        """Write the runs of a chunk: results first, then `reason`, then the checksums.

        Args:
            box: the number of the chunk.
            values: (runs, ...) of each variable, of the whole grid.
            done: (runs,) which runs have results.

        Raises:
            OSError: it cannot be written, for example because the disk is full; runs written before stay valid.
        """
        region, shape = self.region(box), self.points.shape
        part = {name: array.reshape((*shape, *array.shape[1:]))[region] for name, array in values.items()}
        is_done = done.reshape(shape)[region]
        numbers = np.arange(done.size).reshape(shape)[region]
        flat = {name: array.reshape((numbers.size, *values[name].shape[1:])) for name, array in part.items()}
        sums = np.where(is_done, checksums(self.points, numbers.ravel(), flat).reshape(is_done.shape), MISSING)
        part = {name: part[name] for name in sorted(part, key=lambda name: name == "reason")}
        part |= derived(part["reason"], self.record)
        for name, array in {**part, CHECK: sums}.items():
            self.arrays[name][region] = array

    def read(self) -> Stored:
        """The valid runs; damaged ones are logged, to be run again."""
        stored = read_runs(self.folder, self.record)
        if stored.damaged:
            log.warning(
                "%s: %d of %d runs are damaged and will be run again", self.folder, stored.damaged, stored.done.size
            )
        return stored


def read_runs(folder: Path, record: dict) -> Stored:
    """The valid runs of a store, also while another process writes: checksums are read before the results."""
    points = plan_of(record["axes"])
    arrays = arrays_in(folder, "r")
    shapes = {name: (tuple(shape), dtype) for name, (shape, dtype) in record["variables"].items()}
    sums, lost = read_array(arrays[CHECK], points.shape, (), MISSING)
    values = {}
    for name in (*DERIVED, *shapes):
        shape, dtype = shapes.get(name, ((), "bool"))
        values[name], is_lost = read_array(arrays[name], points.shape, shape, fill_of(dtype, name))
        lost |= is_lost
    given = {name: values.pop(name) for name in DERIVED}
    numbers = np.flatnonzero((sums != MISSING) & ~lost)
    there = {name: array[numbers] for name, array in values.items()}
    right = checksums(points, numbers, there) == sums[numbers]
    for name, array in derived(there["reason"], record).items():
        right &= array == given[name][numbers]
    done = np.zeros(points.runs, bool)
    done[numbers[right]] = True
    for name, array in values.items():
        array[~done] = fill_of(array.dtype, name)
    return Stored(values, done, int(lost.sum() + (~right).sum()))


def read_array(array, grid: tuple, shape: tuple, fill) -> tuple[np.ndarray, np.ndarray]:
    """The values (runs, ...) of an array, and which runs (runs,) lie in chunks that cannot be read."""
    runs = int(np.prod(grid, dtype=int))
    try:
        return np.array(array[...]).reshape((runs, *shape)), np.zeros(runs, bool)
    except Exception as error:  # whatever a codec raises on bytes that it did not write
        log.debug("%s: %r", array, error)
    values, lost = np.full(array.shape, fill, array.dtype), np.zeros(grid, bool)
    sides = [range(0, length, chunk) for length, chunk in zip(grid, array.chunks, strict=False)]
    for corner in np.ndindex(*(len(side) for side in sides)):
        region = tuple(
            slice(side[k], side[k] + chunk) for k, side, chunk in zip(corner, sides, array.chunks, strict=False)
        )
        try:
            values[region] = array[region]
        except Exception:
            lost[region] = True
    return values.reshape((runs, *shape)), lost.reshape(runs)


@contextlib.contextmanager
def open_store(folder: str | Path, new: dict, points: Plan) -> Iterator[SweepStore]:
    """The store of this very computation, created or grown so that it contains the runs of `points`.

    Args:
        folder: of the store.
        new: the record of the sweep, see `new_record`.
        points: the runs that will be written.

    Raises:
        ValueError: the folder holds another sweep or something else, cannot be written, or is being written by another
            process.
    """
    folder = Path(folder).absolute()
    check_folder(folder)
    with contextlib.ExitStack() as held:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            held.enter_context(only_writer(folder))
            store = SweepStore(folder, prepare_folder(folder, new, points))
        except OSError as error:
            raise ValueError(
                f"A sweep cannot be written to {folder} ({error.strerror or error}): choose another folder."
            ) from None
        yield store


def check_folder(folder: Path) -> None:
    """Raise a `ValueError` where a folder holds something that is not a store."""
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file, and a store is a folder: choose another name for `store`.")
    if folder.exists() and read_record(folder) is None and any(not is_ours(entry) for entry in folder.iterdir()):
        raise ValueError(f"{folder} holds something that is not a sweep: choose another folder for `store`.")


def is_ours(entry: Path) -> bool:
    """Whether a file or folder is one that `open_store` makes before the first record is complete."""
    return entry.name in (LOCK, HOLDER) or entry.name.startswith((ASIDE, ".clock-"))


def prepare_folder(folder: Path, new: dict, points: Plan) -> dict:
    """The record of a folder that this process has locked, with the skeleton in place."""
    record = read_record(folder)
    for left in folder.glob(f"{ASIDE}*"):
        if record is None or left.name != record["aside"]:
            remove(left)  # of a process that was killed
    if record is None:
        record = {**new, "axes": plan_data(points), "chunks": chunks_of(points, variables_of(new))}
    else:
        check_same(folder, record, new)
    there = plan_of(record["axes"])
    grown = {
        **record,
        "axes": plan_data(union(there, points)),
        "configs": merged([*record["configs"], *new["configs"]]),
    }
    is_new = "files" not in record or digest_of(grown) != digest_of(record)
    if is_new or not is_sound(record, folder):
        record = renew_skeleton(grown, folder)
        write_record_file(folder, record)
        place_skeleton(record, folder)
    return record


def remove(left: Path) -> None:
    """Delete a temporary file or folder of a store."""
    if left.is_dir():
        shutil.rmtree(left, ignore_errors=True)
    else:
        left.unlink(missing_ok=True)


def variables_of(record: dict) -> dict[str, jax.ShapeDtypeStruct]:
    """Shape and dtype of each variable."""
    return {name: jax.ShapeDtypeStruct(tuple(shape), dtype) for name, (shape, dtype) in record["variables"].items()}


def merged(configs: list) -> list:
    """A list of data, each entry once."""
    return list({json.dumps(config, sort_keys=True): config for config in configs}.values())


def new_record(identity: dict, variables: dict, curved: list[str], success: list[int], more: dict) -> dict:
    """The record of a sweep without its axes.

    Args:
        identity: see `bpjax.sweeps.identity`.
        variables: shape and dtype of each variable of a run.
        curved: the variables with the dimension "epoch".
        success: the values of `reason` that are success.
        more: config, receipt, the name of the trial and the reason for the layout.
    """
    reasons = identity["stops"]
    config = json.loads(json.dumps(config_data(more["config"]), default=str))
    shown = {name: value for name, value in identity.items() if name not in EXPLANATIONS}
    record = {"trial": more["trial"], **shown, "layout_reason": more["why"], **environment(), "config": config}
    return {
        "format": FORMAT,
        "trial": more["trial"],
        "identity": identity,
        "layout_reason": more["why"],
        "reasons": reasons,
        "success": success,
        "variables": {name: [list(one.shape), np.dtype(one.dtype).name] for name, one in variables.items()},
        "curved": curved,
        "configs": [config],
        "attributes": {
            "record": json.dumps(record, default=str),
            "layout": f"{Layout(**identity['layout']).text}: {more['why']}",
            "receipt": str(more["receipt"]) if more["receipt"] is not None else "none was given",
        },
    }


def check_same(folder: Path, stored: dict, new: dict) -> None:
    """Raise a `ValueError` that names in what two sweeps differ."""
    found = differences(stored["identity"], new["identity"])
    if found:
        raise ValueError(
            f"{folder} holds another sweep, and the two are not mixed. They differ in {'; '.join(found)}. "
            "Choose another `store`, or delete this one."
        )
