"""The devices said to shorten plateaus, and one sweep for each plateau in which all of them take part.

A device is a row of numbers, so that all of them are lanes of one compiled program and begin at the same weights.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import xarray as xr

import bpjax as bp
from experiments.plateau_escape.committee import begin_committee
from experiments.plateau_escape.starts import Plateau


class Device(NamedTuple):
    """How to get off a plateau, in numbers; those of plain descent by default."""

    name: str
    rule: int = 0  # index into `optimizers`
    rate: float = 1.0  # times the plateau's η
    momentum: float = 0.0
    offset: float = 0.0  # c of φ′ + c
    tolerance: float = 0.0  # errors below it are let be
    noise: float = 0.0  # standard deviation added to each weight at each epoch
    attempt: int = 0  # which fresh start, for restarts: 0 is the one all devices share
    batch_only: bool = False  # left out where each step sees other examples: made for batches, or noise enough


RESTART = "restart"


def devices(momentum: float, offset: float, tolerance: float, noise: float, attempts: int) -> tuple[Device, ...]:
    """All devices; the fresh starts of `restart`, made of plain descents, come last."""
    return (
        Device("plain descent"),
        Device("heavy ball", momentum=momentum),
        Device("convex", rate=1 - momentum, momentum=momentum),  # the very steps of bp.momentum(form="convex")
        Device("Nesterov", rule=1, momentum=momentum),
        Device("larger rate", rate=1 / (1 - momentum)),
        Device("flat spot", offset=offset),
        Device("tolerance", tolerance=tolerance, batch_only=True),
        # on-line learning is noisy itself; with this one on top no committee of a first trial left its plateau
        Device("noise", noise=noise, batch_only=True),
        Device("Rprop", rule=2, batch_only=True),
        Device("Quickprop", rule=3, batch_only=True),
        *(Device(RESTART, attempt=attempt) for attempt in range(1, attempts)),
    )


# --- One trial for all devices ---------------------------------------------------------------------------------------


def chosen(index, *optimizers: Any) -> optax.GradientTransformationExtraArgs:
    """The change of the optimizer with this index, which may be traced; all of them see every gradient."""

    def init(params):
        return tuple(optimizer.init(params) for optimizer in optimizers)

    def update(grads, state, params=None, *, value=None, **others):
        pairs = [o.update(grads, s, params, value=value) for o, s in zip(optimizers, state, strict=True)]

        def pick(first, *rest):
            for i, change in enumerate(rest, start=1):
                first = jnp.where(index == i, change, first)
            return first

        return jax.tree.map(pick, *(change for change, _ in pairs)), tuple(new for _, new in pairs)

    return optax.GradientTransformationExtraArgs(init, update)  # type: ignore[arg-type]


def plateau_left(level: float) -> bp.training.Stop:
    """The error of the weights as they are, not as noise has shaken them, is below the level."""
    return bp.training.Stop("plateau left", level, _plateau_left, needs="validation_error")


def _plateau_left(level, epoch):
    return level, epoch.validation_error < level


def make_trial(plateau: Plateau, rows: tuple[Device, ...], restart_after: int, inputs: int) -> Callable:
    """(key, device) -> Trial: the race of one run, `device` an index into `rows`."""
    numbers = {name: jnp.array([getattr(row, name) for row in rows]) for name in Device._fields[1:-1]}
    limits = jnp.array([restart_after if row.attempt else plateau.limit for row in rows], jnp.int32)

    def trial(key, device):
        own = {name: column[device] for name, column in numbers.items()}
        key = jax.random.fold_in(key, own["attempt"])
        rate = plateau.rate * own["rate"]
        level = plateau.level * plateau.height
        if plateau.batch is None:
            moves = _momentum_forms(rate / inputs, own["momentum"])
            optimizer = chosen(own["rule"], *moves)
            return begin_committee(key, optimizer, 2, inputs, limits[device], own["offset"], level)
        unit = None if plateau.unit is None else bp.layers.flat_spot(plateau.unit, own["offset"])
        rule = bp.backprop(plateau.network(unit), bp.losses.error_tolerance(plateau.loss, own["tolerance"]))
        rule = bp.rules.weight_noise(rule, own["noise"])
        slopes = bp.rprop(0.1, "irprop-"), bp.quickprop(plateau.rate, 1.75)
        optimizer = chosen(own["rule"], *_momentum_forms(rate, own["momentum"]), *slopes)
        weights_key, run_key = jax.random.split(key)
        made = bp.trial(
            rule, optimizer, plateau.start(weights_key), plateau.batch, key=run_key, epochs=limits[device],
            stops=plateau_left(level), validation=plateau.batch,
        )  # fmt: skip

        def epoch(run):
            run, record = made.program.epoch(run)
            return run, record._replace(error=record.validation_error)

        return made._replace(program=made.program._replace(epoch=epoch))

    return trial


def _momentum_forms(rate, momentum):
    return bp.momentum(rate, momentum), bp.momentum(rate, momentum, form="nesterov")


def taking_part(plateau: Plateau, rows: tuple[Device, ...]) -> list[int]:
    """Indices of the devices that mean something on this plateau."""

    def fits(row: Device) -> bool:
        return not (row.batch_only and plateau.batch is None) and not (row.offset and plateau.unit is None)

    return [index for index, row in enumerate(rows) if fits(row)]


def race(plateau: Plateau, config, key, receipt=None, progress: Any = False) -> xr.Dataset:
    """Every device of an experiment's `config` from the same starts, as one sweep over (device, seed)."""
    rows = config.devices
    restart_after = math.ceil(plateau.limit / config.attempts)
    stride = max(1, plateau.limit // config.samples)
    trial = make_trial(plateau, rows, restart_after, config.committee_inputs)
    axes = {"device": taking_part(plateau, rows), "seed": range(config.seeds)}
    curves = range(stride, plateau.limit + 1, stride)
    return bp.sweep(trial, axes, key=key, curves=curves, receipt=receipt, progress=progress)


def page_of(races: dict[str, xr.Dataset], chosen: list[Plateau], rows: tuple[Device, ...]) -> xr.Dataset:
    """All races as one sweep over (plateau, device, seed), curves by share of the epoch limit, for `bp.sweep_page`.

    Fresh starts of restarts are left out; devices that do not take part count as never there.
    """
    kept = [index for index, row in enumerate(rows) if not row.attempt]
    parts = []
    for plateau in chosen:
        result = races[plateau.name]
        result = result.assign_coords(epoch=np.arange(1, result.sizes["epoch"] + 1))
        present = result.reindex(
            device=kept, fill_value={"reason": -1, "solved": False, "diverged": False, "epochs": 0}
        )
        parts.append(present[["reason", "solved", "diverged", "epochs", "error", "curve"]])
    page = xr.concat(parts, "plateau", join="inner", combine_attrs="drop_conflicts")
    page = page.assign_coords(plateau=np.arange(len(parts)))
    meanings = races[chosen[0].name].reason.attrs["flag_meanings"].split()
    words = ["does_not_take_part", *meanings]
    page["reason"].attrs.update(flag_values=list(range(-1, len(meanings))), flag_meanings=" ".join(words))
    page.device.attrs["long_name"], page.plateau.attrs["long_name"] = "number of the device", "number of the plateau"
    page.epoch.attrs["long_name"] = "sample of the error curve"
    named = ", ".join(f"{i} {rows[i].name}" for i in kept), ", ".join(f"{i} {p.name}" for i, p in enumerate(chosen))
    page.attrs["title"] = f"Devices ({named[0]}) on plateaus ({named[1]})"
    return page
