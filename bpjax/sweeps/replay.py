"""One run of a stored sweep again, alone, with all that happened on the way."""

import importlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bpjax.results.record import MARK
from bpjax.sweeps.axes import SAMPLE, Plan, arguments
from bpjax.sweeps.lanes.layout import Layout
from bpjax.sweeps.pool import functions
from bpjax.sweeps.store import read_blocks
from bpjax.training.trial import Trial

KNOWN: dict[str, Callable] = {}
"""The trials of the stores that this process has swept into."""


class Replay(NamedTuple):
    """A run, repeated."""

    run: Any  # as it ended: for `bp.trial` a `Run` with its weights in `run.state.params`
    history: Any  # what its epochs told, each entry (epochs,): for `bp.trial` a `History`
    outcome: dict[str, np.ndarray]  # what the sweep kept of it
    same: bool | None  # bit for bit what the store holds; None where the store has no result of it yet


def replay(store: str | Path, trial: Callable[..., Trial] | None = None, **point) -> Replay:
    """Repeat one run of a stored sweep: `bp.replay("results/xor", learning_rate=0.5, momentum=0.9, seed=7)`.

    It is trained in the layout of the sweep, in every lane the same run, so that it takes the same steps: bit for bit
    on the same device and versions, which `Replay.same` confirms by the stored result.

    Args:
        store: the folder of the sweep.
        trial: the sweep's trial. Not needed in the process that has swept, nor where it is a function of a module.
        **point: a value on every axis of the sweep; for drawn axes `sample=`.

    Raises:
        ValueError: no sweep is there, the point is not one of it, the trial cannot be found.
    """
    folder = Path(store).absolute()
    if not (folder / MARK).is_file():
        raise ValueError(f"`replay` expected the folder of a stored sweep, got {folder}. Sweep with `store=` first.")
    sweep = json.loads((folder / MARK).read_text())["sweep"]
    points = plan_of(sweep["axes"])
    number = number_of(points, point)
    trial = trial or KNOWN.get(str(folder)) or imported(sweep["trial"])
    lay, steps = Layout(**sweep["layout"]), tuple(sweep["curves"])
    key = jax.random.wrap_key_data(jnp.asarray(sweep["key"], jnp.uint32), impl=sweep["key_impl"])

    prepare, _, _ = functions(trial, lay, steps)
    filled = np.full(lay.feed, number)
    held = jax.jit(prepare)(key, *arguments(points.values(filled)), filled.astype(np.int32))
    held = jax.tree.map(lambda a: a[..., : lay.width] if lay.axis == -1 else a[: lay.width], held)

    def epoch(held):
        run, record = trial(held.key, **held.hyperparameters).program.epoch(held.run)
        return held._replace(run=run), record

    advance = jax.jit(lambda held: jax.lax.scan(lambda h, _: lay.map(epoch)(h), held, None, length=lay.chunk))
    records = []
    while not np.asarray(held.run.reason).all():
        held, record = advance(held)
        records.append(jax.tree.map(lambda a: np.asarray(a[..., 0] if lay.axis == -1 else a[:, 0]), record))
    whole = jax.tree.map(lambda a: a[..., 0] if lay.axis == -1 else a[0], held)
    epochs = int(whole.run.epoch)
    history = jax.tree.map(lambda *parts: np.concatenate(parts)[:epochs], *records)
    outcome = {"reason": whole.run.reason, **trial(whole.key, **whole.hyperparameters).program.outcome(whole.run)}
    outcome = {name: np.asarray(value) for name, value in outcome.items()}
    return Replay(whole.run, history, outcome, same_as_stored(folder, number, outcome))


def plan_of(axes: dict) -> Plan:
    """The plan of a stored sweep."""
    coords = {name: (dim, np.asarray(values)) for name, (dim, values) in axes.items()}
    return Plan({dim: len(values) for dim, values in coords.values()}, coords)


def number_of(points: Plan, point: dict) -> int:
    """The number of the run at a point; the nearest value on each axis, within rounding."""
    axes = {dim: np.arange(length) if dim == SAMPLE else points.coords[dim][1] for dim, length in points.dims.items()}
    if set(point) != set(axes):
        raise ValueError(f"`replay` expected a value for each of {', '.join(axes)}, got {', '.join(point) or 'none'}.")
    places = []
    for dim, values in axes.items():
        place = int(np.argmin(np.abs(values - point[dim])))
        if not np.isclose(values[place], point[dim], rtol=1e-6, atol=0):
            raise ValueError(
                f"`replay` expected `{dim}` to be a value of the sweep's axis, got {point[dim]!r}; the nearest is "
                f"{values[place]:g}."
            )
        places.append(place)
    return int(np.ravel_multi_index(places, tuple(points.dims.values())))


def imported(name: str) -> Callable:
    """The trial called "module:function", where it can be imported."""
    module, function = name.split(":")
    try:
        return getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError):
        raise ValueError(
            f"`replay` expected to find the sweep's trial, {name}, and cannot: give it, `replay(store, trial, ...)`."
        ) from None


def same_as_stored(folder: Path, number: int, outcome: dict) -> bool | None:
    """Whether the stored result of a run is this one, bit for bit."""
    for numbers, values in read_blocks(folder):
        if numbers[0] <= number <= numbers[-1]:
            kept = {name: array[number - numbers[0]] for name, array in values.items() if name in outcome}
            return all(array.tobytes() == outcome[name].astype(array.dtype).tobytes() for name, array in kept.items())
    return None
