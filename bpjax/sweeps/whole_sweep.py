"""A sweep that one process computes: in memory, or into a store that it alone writes."""

import contextlib
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from bpjax.sweeps.device_kind import device_kind
from bpjax.sweeps.plan import numbers_in
from bpjax.sweeps.progress import progress_report
from bpjax.sweeps.result import Results, dataset
from bpjax.sweeps.store import open_store
from bpjax.sweeps.workers import Job, run_all


def sweep_in_memory(job: Job, record: dict, devices: list, progress):
    """The result of a sweep that is not stored."""
    points, variables = job.points, job.computation.variables(job.curve_epochs)
    results = Results(points.runs, np.arange(points.runs), variables)
    with interruptible(results), progress_report(progress, points.runs, results.earlier(), job.computation) as report:
        run_all(job, results, devices, report)
    return dataset(points, results.values, record)


def sweep_into_store(job: Job, record: dict, store: Path, devices: list, progress):
    """The result of a sweep of which this process writes the whole store."""
    points = job.points
    with open_store(store, record, points, device_kind(devices[0])) as stored:
        numbers = numbers_in(stored.points, points)
        results = Results(stored.points.runs, numbers, job.computation.variables(job.curve_epochs), stored)
        with (
            interruptible(results),
            progress_report(progress, numbers.size, results.earlier(), job.computation) as report,
        ):
            run_all(job._replace(points=stored.points), results, devices, report)
    if results.failure:
        warnings.warn(where_stored(results, stored.folder), RuntimeWarning, stacklevel=4)
    values = {name: array[numbers.ravel()] for name, array in results.values.items()}
    return dataset(points, values, record)


@contextlib.contextmanager
def interruptible(results: Results) -> Iterator[None]:
    """A context that writes what has been computed, however it ends, and says after Ctrl-C how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        results.flush()
        where = "" if results.store is None else f"; {where_stored(results, results.store.folder)}"
        raise KeyboardInterrupt(f"{results.finished} of {results.wanted.size} runs have stopped{where}") from None
    finally:
        results.flush()


def where_stored(results: Results, folder: Path) -> str:
    """Where the results are, and how to go on."""
    if results.failure is None:
        return f"they are stored in {folder}: start the same sweep again, and it continues there"
    return (
        f"{folder} could not be written ({results.failure.strerror}): runs written before are kept, and the "
        "others are only in the returned result. Save it elsewhere, or free some space and sweep again"
    )
