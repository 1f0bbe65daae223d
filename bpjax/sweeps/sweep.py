"""Many trainings at once: every point of a grid and every seed in one compiled program, on all cores and devices."""

import functools
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bpjax.sweeps.axes import SAMPLE, SEED, Plan, arguments, plan
from bpjax.sweeps.lanes.layout import choose_layout, power_of_two
from bpjax.sweeps.progress import Progress, progress_report
from bpjax.sweeps.replay import KNOWN_TRIALS
from bpjax.sweeps.result import Results, dataset
from bpjax.sweeps.store import SweepStore
from bpjax.sweeps.workers import run_all
from bpjax.training.trial import Trial
from bpjax.types import Key
from bpjax.util.checks import check_count
from bpjax.util.jax_settings import jax_settings
from bpjax.util.jaxprs import opened

PARTS = 8
"""Parts of a small sweep that are stored one by one; those of a large sweep are as large as a worker prepares."""


def sweep(
    trial: Callable[..., Trial],
    axes: Mapping[str, Any],
    *,
    key: Key,
    curves: Iterable[int] = (),
    layout: str = "auto",
    store: str | Path | None = None,
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

    The trial is traced once, with every hyperparameter as a tracer: a sweep is one compiled program per device, and a
    second sweep of the same function does not compile. A run that stops makes room for the next. A run that diverges is
    recorded with its epoch and affects no other run. Results do not depend on the number of cores and devices, nor on
    interruptions.

    Args:
        trial: (key, **hyperparameters) -> Trial, a pure function; usually a few lines around `bp.trial`.
        axes: values of each hyperparameter: a list or array of numbers, `bp.sweeps.draws(...)` or `bp.log_draws(...)`.
            Every axis is traced; Python numbers, NumPy and JAX arrays of the same values give the same results. The
            axis `seed` is not an argument of the trial: its values are folded into the key.
        key: root of all random numbers.
        curves: epochs, from 1, at which the error is stored.
        layout: "auto" by size, or "lanes", "vmap", "single"; see `bpjax.sweeps.lanes.layout`.
        store: a folder for the result, written as runs stop. If it holds this very sweep, the sweep continues there.
        config: what else to record of how the result was made: a dataclass or plain data.
        receipt: the gradient receipt to record: a `Report` of `bp.compare`, or text.
        devices: where to run; all local devices by default.
        progress: True for a bar, or a function that is called with a `Progress`.

    Returns:
        A dataset with a dimension for each axis: `reason` (int8, its attribute `flag_meanings` names the values),
        `solved`, `diverged`, `epochs` (epochs done), `error` (of the last epoch), `refused` (steps not taken), the
        other entries of the trial's outcome, and `curve` with the dimension `epoch`, NaN after a run's end.

    Raises:
        ValueError: axes that do not fit the trial, a trial whose shapes depend on its hyperparameters, an unknown
            layout, a store that holds another sweep.
        ModuleNotFoundError: xarray or zarr is missing; the message names the extra to install.
    """
    check_key(key)
    points = plan(trial, axes, key)
    curve_epochs = tuple(sorted({int(epoch) for epoch in curves}))
    for epoch in curve_epochs:
        check_count("sweep", "curves", epoch)
    traced = trace(trial, points, key)
    chosen, why = choose_layout(layout, traced.start, traced.epoch)
    shapes = stored_shapes(traced.outcome, curve_epochs)
    record = {
        "trial": f"{trial.__module__}:{trial.__qualname__}",
        "key": np.asarray(jax.random.key_data(key)).tolist(),
        "key_impl": str(jax.random.key_impl(key)),
        "curves": list(curve_epochs),
        "layout": chosen._asdict(),
        "layout_why": why,
    }
    together, stored = min(chosen.feed, power_of_two(points.runs // PARTS)), None
    if store is not None:
        stored = SweepStore(store, points, shapes, together, record, config, receipt)
        KNOWN_TRIALS[str(stored.folder)] = trial
    results = Results(points.runs, together, shapes, stored)
    devices = jax.local_devices() if devices is None else devices
    with progress_report(progress, points.runs, results.finished) as report:
        run_all(trial, chosen, curve_epochs, points, key, results, devices, report)
    return dataset(points, results, traced.reasons, curve_epochs, record, config, receipt)


def check_key(key) -> None:
    """Raise a `ValueError` unless `key` is one of JAX's typed keys."""
    if not (isinstance(key, jax.Array) and key.shape == () and jnp.issubdtype(key.dtype, jax.dtypes.prng_key)):
        raise ValueError(f"`sweep` expected `key` to be a single key such as `jax.random.key(0)`, got {key!r}.")


class Traced(NamedTuple):
    """What tracing a trial finds; arrays as shapes and dtypes."""

    start: Any
    outcome: dict[str, jax.ShapeDtypeStruct]
    reasons: tuple[str, ...]
    epoch: Any  # the jaxpr of one epoch of one run


def trace(trial: Callable, points: Plan, key: Key) -> Traced:
    """Trace a trial; a `ValueError` where it cannot be traced."""
    _, hyperparameters = arguments(points.values(np.zeros(1, int)))
    dtypes = tuple((name, value.dtype) for name, value in hyperparameters.items())
    return trace_cached(trial, jax.random.key_impl(key), dtypes, jax_settings())


@functools.lru_cache(maxsize=64)
def trace_cached(trial: Callable, key_impl, dtypes: tuple, settings: tuple) -> Traced:
    """See `trace`; cached, as tracing takes longer than a short sweep."""
    reasons: list[str] = []
    epochs: list = []

    def first_epoch(key, hyperparameters):
        made = trial(key, **hyperparameters)
        if not isinstance(made, Trial):
            raise ValueError(f"`sweep` expected the trial to return `bp.trial(...)`, got {type(made).__name__}.")
        start, program = made
        reasons[:] = program.reasons
        epochs.append(opened(jax.make_jaxpr(program.epoch)(start)))
        return start, program.outcome(start)

    one = {name: jax.ShapeDtypeStruct((), dtype) for name, dtype in dtypes}
    try:
        start, outcome = jax.eval_shape(first_epoch, jax.random.key(0, impl=key_impl), one)
    except TypeError as error:  # JAX has several for a value that is not known while tracing
        if not any(word in str(error) for word in ("concrete", "Tracer", "traced")):
            raise
        names = ", ".join(one) or "the key"
        raise ValueError(
            f"`sweep` expected a trial of one shape for all runs, got one that reads a value ({names}) while it is "
            f"traced: {str(error).splitlines()[0]} Make one sweep per value of what changes shapes or Python's control "
            "flow, and bind it in the trial."
        ) from None
    reserved = {"number", "reason", "curve", SEED, SAMPLE, *one} & set(outcome)
    if reserved:
        raise ValueError(
            f"`sweep` expected other names for outcomes than {', '.join(sorted(reserved))}: its result has those."
        )
    return Traced(start, outcome, tuple(reasons), epochs[0])


def stored_shapes(outcome: dict, curve_epochs: tuple[int, ...]) -> dict[str, jax.ShapeDtypeStruct]:
    """Shape and dtype of each variable that is stored of a run."""
    shapes = {"reason": jax.ShapeDtypeStruct((), jnp.int8), **outcome}
    if curve_epochs:
        shapes["curve"] = jax.ShapeDtypeStruct((len(curve_epochs),), jnp.result_type(float))
    return shapes
