"""Repeat one run of a stored sweep, with the history of all its epochs."""

import functools
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
from bpjax.sweeps.pool import PoolProgram, Slot
from bpjax.sweeps.store import read_blocks
from bpjax.training.trial import Trial
from bpjax.util.jax_settings import jax_settings

KNOWN_TRIALS: dict[str, Callable[..., Trial]] = {}
"""The trials of the stores that this process has swept into."""


class Replay(NamedTuple):
    """A repeated run."""

    run: Any  # the state at its end: for `bp.trial` a `Run` with the weights in `run.state.params`
    history: Any  # the records of its epochs, each entry (epochs,): for `bp.trial` a `History`
    outcome: dict[str, np.ndarray]  # what the sweep stores of it
    same: bool | None  # whether it equals the stored result bit for bit; None where none is stored yet

    def __repr__(self) -> str:
        outcome = ", ".join(f"{name}={value!s}" for name, value in self.outcome.items() if value.ndim == 0)
        return f"Replay({outcome}, same={self.same})"


def replay(store: str | Path, trial: Callable[..., Trial] | None = None, **point) -> Replay:
    """Repeat one run of a stored sweep: `bp.replay("results/xor", learning_rate=0.5, momentum=0.9, seed=7)`.

    It is trained in the layout of the sweep, with the same run in every lane, so that it takes the same steps: bit for
    bit on the same device and versions. `Replay.same` says whether it did.

    Args:
        store: the folder of the sweep.
        trial: the sweep's trial. Not needed in the process that has swept, nor if it is a function of a module.
        **point: a value on every axis of the sweep; `sample=` for drawn axes.

    Raises:
        ValueError: the folder holds no sweep, the point is not on its axes, or the trial cannot be found.
    """
    folder = Path(store).absolute()
    if not (folder / MARK).is_file():
        raise ValueError(f"`replay` expected the folder of a stored sweep, got {folder}. Sweep with `store=` first.")
    sweep = json.loads((folder / MARK).read_text())["sweep"]
    points = plan_of(sweep["axes"])
    number = number_of(points, point)
    trial = trial or KNOWN_TRIALS.get(str(folder)) or import_trial(sweep["trial"])
    layout, key = Layout(**sweep["layout"]), jnp.asarray(sweep["key"], jnp.uint32)
    key = jax.random.wrap_key_data(key, impl=sweep["key_impl"])
    slot, history = train(trial, layout, tuple(sweep["curves"]), key, points, number)
    outcome = {"reason": slot.run.reason, **trial(slot.key, **slot.hyperparameters).program.outcome(slot.run)}
    outcome = {name: np.asarray(value) for name, value in outcome.items()}
    return Replay(slot.run, history, outcome, is_same_as_stored(folder, number, outcome))


def train(trial, layout: Layout, curve_epochs: tuple[int, ...], key, points: Plan, number: int) -> tuple[Slot, Any]:
    """The run at its end, and the records of its epochs.

    Args:
        trial: (key, **hyperparameters) -> Trial.
        layout: of the sweep; every lane holds this run.
        curve_epochs: of the sweep, which are part of its compiled program.
        key: of the sweep.
        points: the runs of the sweep.
        number: of the run.
    """
    is_last = layout.axis == -1
    prepare, advance = compiled(trial, layout, curve_epochs, jax_settings())
    filled = np.full(layout.feed, number)
    slots = prepare(key, *arguments(points.values(filled)), filled.astype(np.int32))
    slots = jax.tree.map(lambda a: a[..., : layout.width] if is_last else a[: layout.width], slots)

    records = []
    while not np.asarray(slots.run.reason).all():
        slots, record = advance(slots)
        records.append(jax.tree.map(lambda a: np.asarray(a[..., 0] if is_last else a[:, 0]), record))
    slot = jax.tree.map(lambda a: a[..., 0] if is_last else a[0], slots)
    epochs = int(slot.run.epoch)
    return slot, jax.tree.map(lambda *parts: np.concatenate(parts)[:epochs], *records)


@functools.lru_cache(maxsize=16)
def compiled(trial: Callable[..., Trial], layout: Layout, curve_epochs: tuple[int, ...], settings) -> tuple:
    """`prepare`, and slots -> (slots, records) after a chunk; cached, so that a second replay does not compile.

    Args:
        trial: (key, **hyperparameters) -> Trial.
        layout: of the sweep.
        curve_epochs: of the sweep.
        settings: JAX's, which the programs depend on.
    """
    program = PoolProgram(trial, layout, curve_epochs)

    def advance(slots: Slot):
        return jax.lax.scan(lambda s, _: layout.map(program.epoch)(s), slots, None, length=layout.chunk)

    return jax.jit(program.prepare), jax.jit(advance)


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


def import_trial(name: str) -> Callable[..., Trial]:
    """The trial called "module:function", where it can be imported."""
    module, function = name.split(":")
    try:
        return getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError):
        raise ValueError(
            f"`replay` expected to import the sweep's trial, {name}, and cannot. Pass it: `replay(store, trial, ...)`."
        ) from None


def is_same_as_stored(folder: Path, number: int, outcome: dict) -> bool | None:
    """Whether the stored result of a run equals `outcome` bit for bit; None where none is stored."""
    for numbers, values in read_blocks(folder):
        if numbers[0] <= number <= numbers[-1]:
            stored = {name: array[number - numbers[0]] for name, array in values.items() if name in outcome}
            return all(array.tobytes() == outcome[name].astype(array.dtype).tobytes() for name, array in stored.items())
    return None
