"""The plateaus of real networks, the devices said to shorten them, and one sweep for each plateau.

A plateau here is a start, the height of its error, known beforehand, and a level below it: a run has left when the
error of the unshaken weights, measured after each epoch, falls below the level. A device is a row of numbers, so that
all of them are lanes of one compiled program and begin at the same weights.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import xarray as xr
from plateau_committee import begin_committee, committee, erf_unit, teacher

import bpjax as bp
from bpjax import theory


class Device(NamedTuple):
    """How to get off a plateau, in numbers; those of plain descent by default."""

    name: str
    rule: int = 0  # index into `optimizers`
    rate: float = 1.0  # times the plateau's η
    inertia: float = 0.0
    offset: float = 0.0  # c of φ′ + c
    tolerance: float = 0.0  # errors below it are let be
    noise: float = 0.0  # standard deviation added to each weight at each epoch
    attempt: int = 0  # which fresh start, for restarts: 0 is the one all devices share
    batch_only: bool = False  # left out where each step sees other patterns: made for batches, or noise enough


RESTART = "restart"


def devices(inertia: float, offset: float, tolerance: float, noise: float, attempts: int) -> tuple[Device, ...]:
    """All devices; the fresh starts of `restart`, made of plain descents, come last."""
    return (
        Device("plain descent"),
        Device("heavy ball", inertia=inertia),
        Device("convex", rate=1 - inertia, inertia=inertia),  # the very steps of bp.momentum(form="convex")
        Device("Nesterov", rule=1, inertia=inertia),
        Device("larger rate", rate=1 / (1 - inertia)),
        Device("flat spot", offset=offset),
        Device("tolerance", tolerance=tolerance, batch_only=True),
        Device("noise", noise=noise, batch_only=True),
        Device("Rprop", rule=2, batch_only=True),
        Device("Quickprop", rule=3, batch_only=True),
        *(Device(RESTART, attempt=attempt) for attempt in range(1, attempts)),
    )


class Plateau(NamedTuple):
    """Where runs get stuck, and what counts as having left."""

    name: str
    unit: bp.Layer | None  # the activation that `flat spot` changes; None where there is none
    network: Callable  # unit -> Layer
    start: Callable  # key -> params
    batch: Any  # patterns and targets; None where patterns are drawn anew for each step
    rate: float  # η of plain descent
    height: float  # error on the plateau, by theory
    limit: int  # epochs
    loss: bp.Loss = bp.squared_error
    level: float = 0.8  # share of the height below which the plateau is left
    unit_of_time: str = "epochs"


def plateaus(committee_inputs: int) -> tuple[Plateau, ...]:
    """The six plateaus, with heights worked out beforehand."""
    return (_xor(), _symmetric(), _saturated(), _duplicate(), _deep_linear(), _committee(committee_inputs))


def _net(sizes, radius):
    def network(unit):
        return bp.mlp(sizes, unit, unit, weights=bp.uniform(radius), biases=bp.uniform(radius))

    def start(key):
        return network(bp.sigmoid).init(key, sizes[:1])[0]

    return network, start


def _xor() -> Plateau:
    """Outputs all ½: E = ½ · 4 · ¼."""
    network, start = _net((2, 2, 1), 0.5)
    return Plateau("XOR", bp.sigmoid, network, start, bp.xor().present(None), 0.5, 0.5, 5000)


def _symmetric() -> Plateau:
    """4-2-4 encoder, all weights nearly 0, hidden units nearly alike: outputs all ¼, E = ½ · 4 · (9 + 3)/16 = 1.5."""
    network, start = _net((4, 2, 4), 0.02)
    return Plateau("symmetric start", bp.sigmoid, network, start, bp.encoder(4, 2).present(None), 0.5, 1.5, 3000)


def _saturated() -> Plateau:
    """The encoder with output biases of 8: outputs all 1 where three quarters should be 0, E = ½ · 4 · 3 = 6, φ′ ≈ 0."""
    network, small = _net((4, 2, 4), 0.5)

    def start(key):
        *front, last, unit = small(key)
        return (*front, last._replace(b=last.b + 8.0), unit)

    return Plateau("saturated units", bp.sigmoid, network, start, bp.encoder(4, 2).present(None), 0.5, 6.0, 5000)


def smaller_network():
    """A 1-1-1 net at the minimum of its error on 9 points of two steps: (params, batch, error), float64."""
    network = bp.mlp((1, 1, 1), bp.tanh)
    with jax.enable_x64(True):
        x = jnp.linspace(-4.0, 4.0, 9)[:, None]
        batch = x, 0.5 * jnp.tanh(2 * (x - 1.5)) + 0.5 * jnp.tanh(2 * (x + 1.5))
        near = bp.Affine(jnp.array([[0.3]]), jnp.zeros(1)), (), bp.Affine(jnp.array([[1.2]]), jnp.zeros(1))
        found = bp.least_squares(network, bp.squared_error, near, batch)
        value, _, _ = bp.backprop(network, bp.squared_error).grads(found.params, (), batch)
    return found.params, batch, float(value)


def _duplicate(perturbation: float = 1e-3) -> Plateau:
    """That minimum's unit twice, its outgoing weight halved: a saddle of the 1-2-1 net, and starts close beside it."""
    small, batch, height = smaller_network()
    with jax.enable_x64(True):
        saddle = theory.duplicate_unit(small, 0, 0.5)
    saddle, batch = bp.cast(saddle, "float32"), bp.cast(batch, "float32")

    def start(key):
        leaves, structure = jax.tree.flatten(saddle)
        keys = jax.random.split(key, len(leaves))
        noise = (perturbation * jax.random.normal(k, w.shape, w.dtype) for k, w in zip(keys, leaves, strict=True))
        return structure.unflatten([w + xi for w, xi in zip(leaves, noise, strict=True)])

    def network(unit):
        return bp.mlp((1, 2, 1), unit)

    return Plateau("duplicated unit", bp.tanh, network, start, batch, 0.1, height, 20_000)


MODES = (3.0, 1.0)
"""Singular values of what the deep linear network is to learn."""


def linear_task():
    """White inputs xᵀx/N = 1 and targets x S: (x, x S), float32."""
    x = math.sqrt(len(MODES)) * np.eye(len(MODES), dtype=np.float32)
    return jnp.asarray(x), jnp.asarray(x * np.array(MODES, np.float32))


def _deep_linear() -> Plateau:
    """Two weight matrices near 0, a saddle: nothing is learnt yet, E = ½ Σ s²."""
    network = bp.chain(*(bp.dense(len(MODES), use_bias=False, weights=bp.uniform(0.01)) for _ in range(2)))
    return Plateau(
        "deep linear net", None, lambda unit: network, lambda key: network.init(key, (len(MODES),))[0], linear_task(),
        0.005, 0.5 * sum(s * s for s in MODES), 2000, bp.batch_mean(bp.squared_error),
    )  # fmt: skip


def _committee(inputs: int) -> Plateau:
    """Two students alike before two teachers, on-line; time in α, patterns for each input."""
    rate = 0.1

    def network(unit):
        return committee(2, inputs, unit)

    def start(key):
        return network(erf_unit).init(key, (inputs,))[0]

    return Plateau(
        "soft committee", erf_unit, network, start, None, rate, theory.symmetric_plateau(2, rate).error,
        1000, level=0.5, unit_of_time="patterns / inputs",
    )  # fmt: skip


# --- One trial for all devices ---------------------------------------------------------------------------------------


def chosen(index, *optimizers: optax.GradientTransformation) -> optax.GradientTransformationExtraArgs:
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


def tolerant(loss: bp.Loss, tolerance) -> bp.Loss:
    """`bp.error_tolerance` with a tolerance that may be traced; of 0 it is the loss itself."""

    def gradient(output, target):
        return jnp.where(jnp.abs(target - output) < tolerance, 0, loss.gradient(output, target))

    return loss._replace(gradient=gradient)


def plateau_left(level: float) -> bp.Stop:
    """The error of the weights as they are, not as noise has shaken them, is below the level."""
    return bp.Stop("plateau left", level, _plateau_left, needs="validation_error")


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
            moves = _inertia_forms(rate / inputs, own["inertia"])
            optimizer = chosen(own["rule"], *moves)
            return begin_committee(key, optimizer, 2, inputs, limits[device], own["offset"], level)
        unit = None if plateau.unit is None else bp.flat_spot(plateau.unit, own["offset"])
        rule = bp.backprop(plateau.network(unit), tolerant(plateau.loss, own["tolerance"]))
        rule = bp.weight_noise(rule, own["noise"])
        slopes = bp.rprop(0.1, "irprop-"), bp.quickprop(plateau.rate, 1.75)
        optimizer = chosen(own["rule"], *_inertia_forms(rate, own["inertia"]), *slopes)
        weights_key, run_key = jax.random.split(key)
        made = bp.trial(
            rule, optimizer, plateau.start(weights_key), plateau.batch, key=run_key, epochs=limits[device],
            stops=plateau_left(level), validation=plateau.batch,
        )  # fmt: skip

        def epoch(run):
            run, record = made.epoch(run)
            return run, record._replace(error=record.validation_error)

        return made._replace(epoch=epoch)

    return trial


def _inertia_forms(rate, inertia):
    return bp.momentum(rate, inertia), bp.momentum(rate, inertia, form="nesterov")


def taking_part(plateau: Plateau, rows: tuple[Device, ...]) -> list[int]:
    """Indices of the devices that mean something on this plateau."""

    def fits(row: Device) -> bool:
        return not (row.batch_only and plateau.batch is None) and not (row.offset and plateau.unit is None)

    return [index for index, row in enumerate(rows) if fits(row)]


def race(
    plateau: Plateau, rows, seeds: int, attempts: int, samples: int, inputs: int, key, receipt=None, progress=False
):
    """Every device from the same starts, as one sweep: a dataset over (device, seed), curves at `samples` epochs."""
    restart_after = math.ceil(plateau.limit / attempts)
    stride = max(1, plateau.limit // samples)
    trial = make_trial(plateau, rows, restart_after, inputs)
    axes = {"device": taking_part(plateau, rows), "seed": range(seeds)}
    curves = range(stride, plateau.limit + 1, stride)
    return bp.sweep(trial, axes, key=key, curves=curves, receipt=receipt, progress=progress)


def example(plateau: Plateau, key):
    """(network, params, batch) of one start, as plain descent has them; fresh patterns where there is no batch."""
    params = plateau.start(key)
    if plateau.batch is not None:
        return plateau.network(plateau.unit), params, plateau.batch
    inputs = params[0].w.shape[0]
    x = jax.random.normal(key, (5, inputs))
    return plateau.network(plateau.unit), params, (x, teacher(x, 2))


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
    page.device.attrs["long_name"] = ", ".join(f"{i} {rows[i].name}" for i in kept)
    page.plateau.attrs["long_name"] = ", ".join(f"{i} {plateau.name}" for i, plateau in enumerate(chosen))
    page.epoch.attrs["long_name"] = "sample of the error curve"
    page.attrs["title"] = "Devices against plateaus"
    return page
