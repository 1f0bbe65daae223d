"""The methods that may shorten plateaus, and one sweep of all methods for each plateau.

A method is a row of numbers, so that all methods run in one compiled program and start from the same weights.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
import xarray as xr

import bpjax as bp
from experiments.plateau_escape.committee import committee_trial
from experiments.plateau_escape.starts import Plateau


class Method(NamedTuple):
    """A method to leave a plateau; the defaults are those of plain descent."""

    name: str
    rule: int = 0  # index into `optimizers`
    rate: float = 1.0  # times the plateau's η
    momentum: float = 0.0
    offset: float = 0.0  # c of φ′ + c
    tolerance: float = 0.0  # errors smaller than this count as 0
    noise: float = 0.0  # standard deviation of the noise on each weight in each epoch
    attempt: int = 0  # which start of "restart"; 0 is the start that all methods share
    batch_only: bool = False  # not applied to on-line learning


RESTART = "restart"


def methods(momentum: float, offset: float, tolerance: float, noise: float, attempts: int) -> tuple[Method, ...]:
    """All methods; the further starts of "restart", which use plain descent, come last.

    Args:
        momentum: coefficient α.
        offset: of flat-spot elimination.
        tolerance: of errors.
        noise: standard deviation of the weight noise.
        attempts: starts of a run with restarts.
    """
    return (
        Method("plain descent"),
        Method("heavy ball", momentum=momentum),
        Method("convex", rate=1 - momentum, momentum=momentum),  # takes the steps of bp.momentum(form="convex")
        Method("Nesterov", rule=1, momentum=momentum),
        Method("larger rate", rate=1 / (1 - momentum)),
        Method("flat spot", offset=offset),
        Method("tolerance", tolerance=tolerance, batch_only=True),
        # on-line learning is already noisy; with weight noise added, no committee of a first trial left its plateau
        Method("noise", noise=noise, batch_only=True),
        Method("Rprop", rule=2, batch_only=True),
        Method("Quickprop", rule=3, batch_only=True),
        *(Method(RESTART, attempt=attempt) for attempt in range(1, attempts)),
    )


# --- One trial for all methods ---------------------------------------------------------------------------------------


def chosen(index, *optimizers: Any) -> optax.GradientTransformationExtraArgs:
    """The update of the optimizer with this index, which may be traced; every optimizer receives every gradient."""

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
    """Stop when the error of the weights without noise is below the level."""
    return bp.training.Stop("plateau left", level, _plateau_left)


def _plateau_left(level, epoch):
    return level, epoch.validation_error < level


def make_trial(plateau: Plateau, rows: tuple[Method, ...], restart_after: int, inputs: int) -> Callable:
    """(key, method_index) -> Trial, with `method_index` an index into `rows`.

    Args:
        plateau: the problem.
        rows: the methods.
        restart_after: epochs of each start of "restart".
        inputs: of the soft committee machine.
    """
    numbers = {name: jnp.array([getattr(row, name) for row in rows]) for name in Method._fields[1:-1]}
    limits = jnp.array([restart_after if row.attempt else plateau.limit for row in rows], jnp.int32)

    def trial(key, method_index):
        own = {name: column[method_index] for name, column in numbers.items()}
        key = jax.random.fold_in(key, own["attempt"])
        rate = plateau.rate * own["rate"]
        level = plateau.level * plateau.height
        if plateau.batch is None:
            moves = _momentum_forms(rate / inputs, own["momentum"])
            optimizer = chosen(own["rule"], *moves)
            return committee_trial(key, optimizer, 2, inputs, limits[method_index], own["offset"], level)
        unit = None if plateau.unit is None else bp.layers.flat_spot(plateau.unit, own["offset"])
        rule = bp.backprop(plateau.network(unit), bp.losses.error_tolerance(plateau.loss, own["tolerance"]))
        rule = bp.rules.weight_noise(rule, own["noise"])
        slopes = bp.rprop(0.1, "irprop-"), bp.quickprop(plateau.rate, 1.75)
        optimizer = chosen(own["rule"], *_momentum_forms(rate, own["momentum"]), *slopes)
        weights_key, run_key = jax.random.split(key)
        made = bp.trial(
            rule, optimizer, plateau.start(weights_key), plateau.batch, key=run_key, epochs=limits[method_index],
            stops=plateau_left(level), validation=plateau.batch,
        )  # fmt: skip

        def epoch(run):
            run, record = made.program.epoch(run)
            return run, record._replace(error=record.validation_error)

        return made._replace(program=made.program._replace(epoch=epoch))

    return trial


def _momentum_forms(rate, momentum):
    return bp.momentum(rate, momentum), bp.momentum(rate, momentum, form="nesterov")


def applicable(plateau: Plateau, rows: tuple[Method, ...]) -> list[int]:
    """Indices of the methods that apply to this plateau."""

    def applies(row: Method) -> bool:
        return not (row.batch_only and plateau.batch is None) and not (row.offset and plateau.unit is None)

    return [index for index, row in enumerate(rows) if applies(row)]


def race(plateau: Plateau, config, key, receipt=None, progress: Any = False) -> xr.Dataset:
    """Run every method from the same starts, as one sweep over (method_index, seed).

    Args:
        plateau: the problem.
        config: of the experiment.
        key: for the initial weights.
        receipt: of the gradient, stored with the sweep.
        progress: called with the state of the sweep, see `bp.sweep`.
    """
    rows = config.methods
    restart_after = math.ceil(plateau.limit / config.attempts)
    stride = max(1, plateau.limit // config.samples)
    trial = make_trial(plateau, rows, restart_after, config.committee_inputs)
    axes = {"method_index": applicable(plateau, rows), "seed": range(config.seeds)}
    curves = range(stride, plateau.limit + 1, stride)
    return bp.sweep(trial, axes, key=key, curves=curves, receipt=receipt, progress=progress)


def page_of(races: dict[str, xr.Dataset], chosen: list[Plateau], rows: tuple[Method, ...], answer: str) -> xr.Dataset:
    """All plateaus as one sweep over (plateau, method, seed), for `sweep_page`, without error curves.

    The further starts of "restart" are left out. Methods that do not apply have the reason "not_applied".

    Args:
        races: {name of the plateau: sweep}.
        chosen: the plateaus.
        rows: the methods.
        answer: the sentence below the title.
    """
    included = [index for index, row in enumerate(rows) if not row.attempt]
    absent = {"reason": -1, "solved": False, "diverged": False, "epochs": 0}
    parts = [
        races[plateau.name].drop_dims("epoch").reindex(method_index=included, fill_value=absent)[[*absent, "error"]]
        for plateau in chosen
    ]
    page = xr.concat(parts, "plateau", join="inner", combine_attrs="drop_conflicts").rename(method_index="method")
    page = page.assign_coords(plateau=[p.name for p in chosen], method=[rows[index].name for index in included])
    meanings = races[chosen[0].name].reason.attrs["flag_meanings"].split()
    words = " ".join(["not_applied", *meanings])
    page["reason"].attrs.update(flag_values=list(range(-1, len(meanings))), flag_meanings=words)
    return page.assign_attrs(title="Which methods leave which plateaus, and how soon?", answer=answer)
