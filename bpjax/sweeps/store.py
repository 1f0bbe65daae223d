"""A sweep on disk: a Zarr group that grows, with a checksum for every run.

- record.json, record.copy.json: what identifies the sweep, and its axes (see `record_file`);
- zarr.json, NAME/zarr.json: metadata, and the coordinates, which follow from the record (see `skeleton`);
- NAME/c/...: results, in chunks;
- check/c/...: the checksums, written after the results (see `checksums`);
- device/c/...: the kind of device on which each chunk was computed;
- writer.lock, writer.json: who writes (see `writer`).
"""

import contextlib
import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import jax
import numpy as np

from bpjax.results.record import config_data, environment
from bpjax.results.seal import digest_of
from bpjax.sweeps.checksums import MISSING, checksums
from bpjax.sweeps.device_kind import decoded, encoded
from bpjax.sweeps.grid import chunks_of
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
    DEVICE,
    arrays_in,
    grid_of,
    is_sound,
    place_skeleton,
    renew_skeleton,
)
from bpjax.sweeps.stored_runs import Stored, device_texts, log, read_region
from bpjax.sweeps.writer import HOLDER, LOCK, only_writer
from bpjax.util.trees import bytes_of


class SweepStore:
    """A store that this process writes; see `open_store` and `bpjax.sweeps.part_store`."""

    def __init__(self, folder: Path, record: dict, device: str = ""):
        """The store in a folder, whose skeleton is in place.

        Args:
            folder: of the store.
            record: of the store.
            device: the kind of device on which runs will be computed.
        """
        self.folder, self.record, self.device = folder, record, device
        self.points = plan_of(record["axes"], folder)
        self.grid, self.arrays = grid_of(record, self.points), arrays_in(folder, "r+")

    def write_runs(self, numbers: np.ndarray, values: Mapping[str, np.ndarray], done: np.ndarray) -> None:
        """Write the chunks in which runs lie.

        Args:
            numbers: of the runs (n,), maybe none.
            values: (runs, ...) of each variable, of the whole grid.
            done: (runs,) which runs of the whole grid have results.
        """
        for box in np.unique(self.grid.boxes_of(numbers)) if len(numbers) else ():
            inside = self.grid.numbers(self.grid.region(int(box)))
            self.write(int(box), {name: array[inside] for name, array in values.items()}, done[inside])

    def write(self, box: int, values: Mapping[str, np.ndarray], done: np.ndarray) -> None:
        """Write the runs of a chunk: results first, then `reason`, then the checksums.

        Args:
            box: the number of the chunk.
            values: (n, ...) of each variable, of the runs of the chunk.
            done: (n,) which of them have results.

        Raises:
            OSError: it cannot be written, for example because the disk is full; runs written before stay valid.
        """
        grid, region = self.grid, self.grid.region(box)
        shape = tuple(side.stop - side.start for side in region)
        groups, numbers, there = grid.groups_in(region), grid.numbers(region), np.flatnonzero(done)
        part = {name: values[name] for name in sorted(values, key=lambda name: name == "reason")}
        part |= derived(part["reason"], self.record)
        sums = np.full(grid.group_counts(region), MISSING)
        found = {name: array[there] for name, array in values.items()}
        sums.reshape(-1)[np.unique(groups[there])] = checksums(self.points, numbers[there], found, groups[there])
        for name, array in part.items():
            self.arrays[name][region] = array.reshape((*shape, *array.shape[1:]))
        place = grid.place_of(box)
        (earlier,) = device_texts(self.arrays, tuple(slice(at, at + 1) for at in place))
        self.arrays[DEVICE][place] = encoded(self.device, decoded(earlier))
        self.arrays[CHECK][grid.group_region(region)] = sums

    def read(self) -> Stored:
        """All valid runs; damaged ones are logged, to be run again."""
        return self.noticed(read_region(self.arrays, self.record, self.points, self.grid.everything))

    def read_box(self, box: int) -> Stored:
        """The valid runs of a chunk; damaged ones are logged, to be run again."""
        return self.noticed(read_region(self.arrays, self.record, self.points, self.grid.region(box)))

    def noticed(self, stored: Stored) -> Stored:
        """What was read; damaged runs are logged."""
        if stored.damaged:
            log.warning(
                "%s: %d of %d runs are damaged and will be run again", self.folder, stored.damaged, stored.done.size
            )
        return stored


@contextlib.contextmanager
def open_store(folder: str | Path, new: dict, points: Plan, device: str = "") -> Iterator[SweepStore]:
    """The store of this very computation, created or grown so that it contains the runs of `points`.

    Args:
        folder: of the store.
        new: the record of the sweep, see `new_record`.
        points: the runs that will be written.
        device: the kind of device on which they are computed.

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
            store = SweepStore(folder, prepare_folder(folder, new, points), device)
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


def prepare_folder(folder: Path, new: dict, points: Plan, parts: int = 1) -> dict:
    """The record of a folder that this process has locked, with the skeleton in place.

    Args:
        folder: of the store.
        new: the record of the sweep, see `new_record`.
        points: the runs that will be written.
        parts: into how many a new sweep is divided.
    """
    record = read_record(folder)
    for left in folder.glob(f"{ASIDE}*"):
        if record is None or left.name != record["aside"]:
            remove(left)  # of a process that was killed
    if record is None:
        chunks, groups = chunks_of(points.shape, bytes_of(variables_of(new)), parts)
        record = {**new, "axes": plan_data(points), "chunks": chunks, "groups": groups}
    else:
        check_same(folder, record, new)
    there = union(plan_of(record["axes"], folder, points), points)
    grown = {
        **record,
        "format": FORMAT,
        "axes": plan_data(there),
        "groups": list(grid_of(record, there).groups),
        "configs": merged([*record["configs"], *new["configs"]]),
    }
    is_new = "files" not in record or digest_of(grown) != digest_of(record)
    if is_new or not is_sound(record, folder):
        record = renew_skeleton(grown, there, folder)
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
