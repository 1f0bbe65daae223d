"""Many trainings at once: every point of a grid and every seed in one compiled program, on all cores and devices."""

import functools
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bpjax.sweeps.axes import plan
from bpjax.sweeps.computation import Computation, trace
from bpjax.sweeps.identity import identity_of
from bpjax.sweeps.lanes.layout import NAMES, Choice, Layout, choose_layout
from bpjax.sweeps.llvm_choice import llvm_choice
from bpjax.sweeps.part import part_of
from bpjax.sweeps.part_sweep import sweep_part
from bpjax.sweeps.progress import Progress, as_progress
from bpjax.sweeps.record_file import STORE, read_record
from bpjax.sweeps.replay import remember
from bpjax.sweeps.result import curves_of, success_of
from bpjax.sweeps.store import new_record
from bpjax.sweeps.whole_sweep import sweep_in_memory, sweep_into_store
from bpjax.sweeps.workers import Job
from bpjax.training.trial import Trial
from bpjax.types import Key
from bpjax.util.call_text import shown
from bpjax.util.checks import check_choice, check_count
from bpjax.util.files import as_path


def sweep(
    trial: Callable[..., Trial],
    axes: Mapping[str, Any],
    *,
    key: Key,
    curves: Iterable[int] = (),
    layout: str = "auto",
    store: str | Path | None = None,
    part: tuple[int, int] | str | None = None,
    config: Any = None,
    receipt: Any = None,
    devices: list | None = None,
    progress: bool | Callable[[Progress], None] = False,
):
    """Train at every point of a grid and for every seed; returns the results as an `xarray.Dataset`.

        def xor(key, learning_rate, momentum):
            params, _ = network.init(key, (2,))
            return bp.trial(rule, bp.momentum(learning_rate, momentum), params, batch, key=key, epochs=2000)

        result = bp.sweep(xor, {"learning_rate": [0.1, 1, 10], "momentum": [0, 0.9], "seed": range(200)}, key=key)
        result.solved.mean("seed")

    The trial is traced with every hyperparameter as a tracer: a sweep is one compiled program per device, and a second
    sweep of the same computation, with other values, other numbers of runs or other data of the same shapes, does not
    compile. A run that stops makes room for the next. A run that diverges is recorded with its epoch and affects no
    other run. The numbers of a run depend on its own coordinates and the key alone: not on the other runs, the number
    of cores and devices, or interruptions.

    Args:
        trial: (key, **hyperparameters) -> Trial, a pure function; usually a few lines around `bp.trial`.
        axes: values of each hyperparameter: a list or array of numbers, `bp.sweeps.draws(...)` or `bp.log_draws(...)`;
            under any name, `bp.points(...)` of several hyperparameters; {} for a single run. Every axis is traced;
            Python numbers, NumPy and JAX arrays of the same values give the same results. The axis `seed` is not an
            argument of the trial: its values are folded into the key.
        key: root of all random numbers.
        curves: epochs, from 1, at which the error and the values of `watch` of `bp.trial` are stored.
        layout: "auto" by a model of an epoch's time, or "lanes", "vmap", "single"; see `bpjax.sweeps.lanes.layout`.
            "llvm": lanes compiled by LLVM, in vector registers, on CPUs; what has no rule there is left to XLA's lanes.
            "auto" means it for runs of at most 64 KiB where llvmlite is installed. A store keeps its layout.
        store: a folder for the result, written as runs stop. If it holds the same computation, its runs are kept and
            only missing ones are run: after an interruption, for a larger or finer grid, for more seeds or draws.
        part: (index, count) or "index/count", counted from 0: compute this part of the sweep, in a `store` that all
            parts share, on one machine or on many. By default what `BPJAX_PART`, a job array of SLURM or an Indexed
            Job of Kubernetes says (`bpjax.sweeps.part`), if there is a store, else the whole; "whole" in any case.
        config: what else to record of how the result was made: a dataclass or plain data.
        receipt: the gradient receipt to record: a `Report` of `bp.compare`, or text.
        devices: where to run; all local devices by default.
        progress: True for a bar, or a function that is called with a `Progress`.

    Returns:
        A dataset with a dimension for each axis: `reason` (int8, its attribute `flag_meanings` names the values),
        `solved`, `diverged`, `epochs` (epochs done), `error` (of the last epoch), `refused` (steps not taken), the
        other entries of the trial's outcome, and `curve` and the watched values with the dimension `epoch`, NaN after a
        run's end. Its attributes: `record`, how the result was made, as JSON; `layout`, which was chosen and why;
        `receipt`. Of a part, the runs of this part alone: one dimension `run`, with the axes as its coordinates; all
        runs that are stored: `bp.open_sweep`.

    Raises:
        ValueError: axes that do not fit the trial, a trial whose shapes depend on its hyperparameters, an unknown
            layout, a store that holds another computation (the message says in what it differs) or that another
            process is writing, a part without a store, or one of which other processes hold some runs.
        ModuleNotFoundError: xarray, zarr, or llvmlite for "llvm", is missing; the message names the extra to install.
    """
    check_key(key)
    progress = as_progress("sweep", progress)
    check_receipt(receipt)
    devices = devices_of(devices)
    store = None if store is None else as_path("sweep", store, STORE)
    mine = part_of("sweep", part, store is not None)
    points, curve_epochs = plan(trial, axes, key), epochs_of(curves)
    computation, constants = trace(trial, points, key)
    there = None if store is None else read_record(store.absolute())
    chosen = choice_of(layout, computation, there, curve_epochs, devices[0].platform)
    job = Job(computation, constants, chosen.layout, curve_epochs, points, key)
    more = {"trial": name_of(trial), "why": chosen.why, "config": config, "receipt": receipt}
    record = record_of(job, store is not None, more)
    if store is None:
        return sweep_in_memory(job, record, devices, progress)
    remember(store.absolute(), trial)
    if mine is None:
        return sweep_into_store(job, record, store, devices, progress)
    return sweep_part(job, record, store, mine, devices, progress)


def record_of(job: Job, explained: bool, more: dict) -> dict:
    """The record of a sweep without its axes; see `new_record`."""
    computation, curve_epochs = job.computation, job.curve_epochs
    variables = computation.variables(curve_epochs)
    success = success_of(computation.reasons, computation.failures)
    return new_record(identity_of(job, explained), variables, curves_of(computation, curve_epochs), success, more)


def choice_of(
    name: str, computation: Computation, there: dict | None, curve_epochs: tuple[int, ...], platform: str
) -> Choice:
    """The layout called `name`; for "auto" that of the store, if there is one.

    Args:
        name: as for `sweep`.
        computation: the traced trial.
        there: the record of the store, if there is one.
        curve_epochs: of the sweep.
        platform: of the devices.
    """
    check_choice("sweep", "layout", name, NAMES)
    if name == "auto" and there is not None:
        return Choice(Layout(**there["identity"]["layout"]), there["layout_reason"])
    by_llvm = llvm_choice(name, computation, curve_epochs, platform) if name in ("auto", "llvm") else None
    return by_llvm or chosen_layout(name, computation)


@functools.lru_cache(maxsize=64)
def chosen_layout(name: str, computation: Computation) -> Choice:
    """See `choose_layout`; cached by the structure of the computation."""
    return choose_layout(name, computation.run_shape, computation.epoch_jaxpr(), len(computation.constants))


def epochs_of(curves) -> tuple[int, ...]:
    """The epochs of curves, ascending, or a `ValueError`."""
    if isinstance(curves, str | bytes | Mapping) or not np.iterable(curves):
        raise ValueError(f"`sweep` expected `curves` to be a list of epochs such as [1, 10, 100], got {shown(curves)}.")
    epochs = list(curves)
    for epoch in epochs:
        check_count("sweep", "curves", epoch)
    return tuple(sorted({int(epoch) for epoch in epochs}))


def devices_of(devices) -> list:
    """Where to run, or a `ValueError`; None means all local devices."""
    if devices is None:
        return jax.local_devices()
    several = isinstance(devices, tuple | list) or (isinstance(devices, np.ndarray) and devices.ndim == 1)
    if not several or not len(devices) or not all(isinstance(device, jax.Device) for device in devices):
        raise ValueError(
            f"`sweep` expected `devices` to be a list of devices such as `jax.devices()[:1]`, got {shown(devices)}."
        )
    return list(devices)


def check_receipt(receipt) -> None:
    """Raise a `ValueError` unless it is a report that says whether a gradient is `ok` or `exact`, a text or None."""
    if not (receipt is None or isinstance(receipt, str) or hasattr(receipt, "ok") or hasattr(receipt, "exact")):
        raise ValueError(
            f"`sweep` expected `receipt` to be the `Report` of `bp.compare`, or a text, got {shown(receipt)}."
        )


def name_of(trial: Callable) -> str:
    """The name of a trial, to be shown."""
    function = trial
    while isinstance(function, functools.partial):
        function = function.func
    return f"{getattr(function, '__module__', '?')}:{getattr(function, '__qualname__', type(trial).__name__)}"


def check_key(key) -> None:
    """Raise a `ValueError` unless `key` is one of JAX's typed keys."""
    if not (isinstance(key, jax.Array) and key.shape == () and jnp.issubdtype(key.dtype, jax.dtypes.prng_key)):
        raise ValueError(f"`sweep` expected `key` to be a single key such as `jax.random.key(0)`, got {shown(key)}.")
