"""Repeat one run of a stored sweep, with the history of all its epochs."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bpjax.sweeps.axes import SAMPLE
from bpjax.sweeps.computation import Computation, trace
from bpjax.sweeps.lanes.layout import Layout
from bpjax.sweeps.plan import Plan
from bpjax.sweeps.pool import PoolProgram, Slot
from bpjax.sweeps.record_file import STORE, plan_of, read_record
from bpjax.sweeps.steps import Steps, nearest
from bpjax.sweeps.stored_runs import Reader
from bpjax.sweeps.workers import Job
from bpjax.training.trial import Trial
from bpjax.util.checks import check_function, check_number
from bpjax.util.extras import require_extra
from bpjax.util.files import as_path
from bpjax.util.jax_settings import jax_settings

KNOWN_TRIALS: dict[str, Callable[..., Trial]] = {}
"""The trials of the stores that this process has written last."""
MOST_KNOWN = 16


def remember(folder: Path, trial: Callable[..., Trial]) -> None:
    """Let `replay` find the trial of a store in this process."""
    KNOWN_TRIALS.pop(str(folder), None)
    KNOWN_TRIALS[str(folder)] = trial
    for oldest in list(KNOWN_TRIALS)[:-MOST_KNOWN]:
        del KNOWN_TRIALS[oldest]


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
    """Repeat one run of a stored sweep: `bp.replay("results/xor", xor, learning_rate=0.5, momentum=0.9, seed=7)`.

    It is trained in the layout of the sweep, with the same run in every lane, so that it takes the same steps: bit for
    bit on the same device and versions. `Replay.same` says whether it did.

    Args:
        store: the folder of the sweep.
        trial: the sweep's trial. Not needed in the process that has swept; the name in the record is only shown, and
            nothing is imported because a file says so.
        **point: a value on every axis of the sweep; `sample=` for drawn axes.

    Raises:
        ValueError: the folder holds no sweep, the point is not on its axes, or no trial is given.
    """
    folder = as_path("replay", store, STORE).absolute()
    record = read_record(folder)
    if record is None:
        raise ValueError(f"`replay` expected the folder of a stored sweep, got {folder}. Sweep with `store=` first.")
    points = plan_of(record["axes"], folder)
    number = number_of(points, point)
    if trial is None:
        trial = KNOWN_TRIALS.get(str(folder))
    else:
        check_function("replay", "trial", trial)
    if trial is None:
        raise ValueError(
            f"`replay` expected the trial of the sweep, which the record calls {record['trial']}: pass it, "
            "`bp.replay(store, trial, ...)`."
        )
    identity = record["identity"]
    key = jax.random.wrap_key_data(jnp.asarray(identity["key"][1], jnp.uint32), impl=identity["key"][0])
    computation, constants = trace(trial, points, key)
    layout, curves = Layout(**identity["layout"]), tuple(identity["curves"])
    job = Job(computation, constants, layout, curves, points, key)
    run, history, outcome = (train_in_registers if layout.name == "llvm" else train)(job, number)
    variables = computation.variables(())
    outcome = {name: np.asarray(value) for name, value in outcome.items() if name in variables}
    return Replay(run, history, outcome, is_same_as_stored(folder, record, number, outcome))


def train(job: Job, number: int) -> tuple[Any, Any, dict]:
    """The run at its end, the records of its epochs, and its outcome.

    Args:
        job: the sweep; every lane holds this run.
        number: of the run.
    """
    layout = job.layout
    is_last = layout.axis == -1
    prepare, advance = compiled(job.computation, layout, job.curve_epochs, jax_settings())
    filled = np.full(layout.feed, number)
    slots = prepare(job.constants, job.key, *job.points.arguments(filled), filled.astype(np.int32))
    slots = jax.tree.map(lambda a: a[..., : layout.width] if is_last else a[: layout.width], slots)

    records = []
    while not np.asarray(slots.run.reason).all():
        slots, record = advance(job.constants, slots)
        records.append(jax.tree.map(lambda a: np.asarray(a[..., 0] if is_last else a[:, 0]), record))
    slot = jax.tree.map(lambda a: a[..., 0] if is_last else a[0], slots)
    epochs = int(slot.run.epoch)
    outcome = PoolProgram(job.computation, layout, job.curve_epochs).outcome(job.constants, slot)
    return slot.run, jax.tree.map(lambda *parts: np.concatenate(parts)[:epochs], *records), outcome


def train_in_registers(job: Job, number: int) -> tuple[Any, Any, dict]:
    """As `train`, by LLVM."""
    with require_extra("This sweep was compiled by llvmlite", "llvm"):
        from bpjax.sweeps.llvm_pool import functions_of, repeat_run
    computation, device = job.computation, jax.local_devices()[0]
    functions = functions_of(computation, job.curve_epochs, 1, device, jax_settings(), repeats=True)
    state, history, outcome = repeat_run(functions, job, number)
    shapes = computation.shapes["replayed"]
    return jax.tree.unflatten(jax.tree.structure(shapes[0]), state), jax.tree.unflatten(
        jax.tree.structure(shapes[1]), history
    ), outcome  # fmt: skip


@functools.lru_cache(maxsize=16)
def compiled(computation: Computation, layout: Layout, curve_epochs: tuple[int, ...], settings) -> tuple:
    """`prepare`, and slots -> (slots, records) after a chunk; cached, so that a second replay does not compile.

    Args:
        computation: the traced trial.
        layout: of the sweep.
        curve_epochs: of the sweep.
        settings: JAX's, which the programs depend on.
    """
    program = PoolProgram(computation, layout, curve_epochs)

    def advance(constants, slots: Slot):
        def one(slot: Slot):
            run, record = computation.replayed(constants, slot.key, slot.hyperparameters, slot.run)
            return slot._replace(run=run), record

        return jax.lax.scan(lambda s, _: layout.map(one)(s), slots, None, length=layout.chunk)

    return jax.jit(program.prepare), jax.jit(advance)


def number_of(points: Plan, point: dict) -> int:
    """The number of the run at a point; the nearest value on each axis, within rounding."""
    axes = {dim: Steps(0, 1, n) if dim == SAMPLE else points.coords[dim][1] for dim, n in points.dims.items()}
    if set(point) != set(axes):
        raise ValueError(f"`replay` expected a value for each of {', '.join(axes)}, got {', '.join(point) or 'none'}.")
    places = []
    for dim, values in axes.items():
        check_number("replay", dim, point[dim])
        place = nearest(values, float(point[dim]))
        there = float(values[np.asarray(place)])
        if not np.isclose(there, float(point[dim]), rtol=1e-6, atol=0):
            raise ValueError(
                f"`replay` expected `{dim}` to be a value of the sweep's axis, got {point[dim]!r}; the nearest is "
                f"{there:g}."
            )
        places.append(place)
    return int(np.ravel_multi_index(places, tuple(points.dims.values())))


def is_same_as_stored(folder: Path, record: dict, number: int, outcome: dict) -> bool | None:
    """Whether the stored result of a run equals `outcome` bit for bit; None where none is stored."""
    reader = Reader(folder, record)
    box = int(reader.grid.boxes_of(np.array([number]))[0])
    values, done, _ = reader.box(box)
    at = int(reader.grid.positions(np.array([number]), reader.grid.region(box))[0])
    if not done[at]:
        return None
    stored = {name: array[at] for name, array in values.items() if name in outcome}
    return all(array.tobytes() == outcome[name].astype(array.dtype).tobytes() for name, array in stored.items())
