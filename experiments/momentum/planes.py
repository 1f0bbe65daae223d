"""The plane learning rate × momentum coefficient in each form: which runs reach the goal, and after how many epochs."""

import itertools
import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import numpy as np
import optax
import xarray as xr

import bpjax as bp
from bpjax import theory
from bpjax.results.statistics import epochs_or_never, quantiles_with_failures
from experiments.common.networks import sigmoid_network
from experiments.common.starts import compiled_once, starts_of
from experiments.momentum.forms import FORMS, any_form
from experiments.momentum.ravines import ravine, ravine_network

PLANES = FORMS[:3]
"""Without "velocity", which takes the steps of "heavy_ball" at a constant learning rate; `ends.py` checks this."""


class Problem(NamedTuple):
    """A task with its network, stopping criterion and the axes of its plane."""

    name: str
    title: str
    network: bp.Layer
    batch: tuple
    stop: bp.training.Stop
    epochs: int
    rates: np.ndarray
    momenta: np.ndarray
    seeds: int
    best: dict[str, theory.RateAndMomentum] = {}
    """{form: (η, α) of the fastest convergence}, where there is a closed form."""

    @property
    def rule(self) -> bp.Rule:
        """Backprop of ½ Σ (t − o)²."""
        return bp.backprop(self.network, bp.squared_error)

    def start(self, key):
        """Initial weights."""
        return self.network.init(key, self.batch[0].shape[1:])[0]


def problems(config) -> tuple[Problem, ...]:
    """A ravine, for which every theoretical line is exact, XOR, and an encoder."""
    momenta = np.linspace(0.0, config.highest_momentum, config.momenta)

    def rates(ends):
        return np.geomspace(ends[0], ends[1], config.rates)

    kappa, n, m = config.ravine, config.encoder_inputs, config.encoder_hidden
    batch = ravine(kappa)
    first = 0.5 * float((batch[0] ** 2).sum())
    valley = Problem(
        "ravine", f"ravine, κ = {kappa:g}", ravine_network, batch, bp.error_below(config.ravine_goal * first),
        config.ravine_epochs, rates(config.ravine_rates), momenta, 1,
        {form: theory.best_rate_and_momentum(form, 1 / kappa, 1.0) for form in PLANES},
    )  # fmt: skip
    xor = Problem(
        "xor", "XOR, 2-2-1", sigmoid_network((2, 2, 1)), bp.xor().present(None), bp.outputs_within(0.4),
        config.xor_epochs, rates(config.xor_rates), momenta, config.xor_seeds,
    )  # fmt: skip
    encoder = Problem(
        "encoder", f"encoder {n}-{m}-{n}", sigmoid_network((n, m, n)), bp.encoder(n, m).present(None),
        bp.outputs_within(0.4),
        config.encoder_epochs, rates(config.encoder_rates), momenta, config.encoder_seeds,
    )  # fmt: skip
    return valley, xor, encoder


def measure(problem: Problem, key, receipt=None, progress: Callable | bool = False) -> xr.Dataset:
    """Sweep the plane of a problem in every form, and measure the largest curvature at the start and at the goal.

    Args:
        problem: with its axes.
        key: for the initial weights.
        receipt: of the gradient, stored with the sweep.
        progress: called with the state of the sweep, see `bp.sweep`.
    """

    def trial(key, form, learning_rate, momentum):
        optimizer = any_form(form, learning_rate, momentum)
        return bp.trial(
            problem.rule, optimizer, problem.start(key), problem.batch,
            key=key, epochs=problem.epochs, stops=(problem.stop,),
        )  # fmt: skip

    axes = {
        "form": range(len(PLANES)), "learning_rate": problem.rates, "momentum": problem.momenta,
        "seed": range(problem.seeds),
    }  # fmt: skip
    curves = np.unique(np.geomspace(1, problem.epochs, 30).round().astype(int))
    result = bp.sweep(trial, axes, key=key, curves=curves, receipt=receipt, progress=progress)
    plain = fastest(result.sel(form=0).isel(momentum=[0]))
    start, goal = curvatures(problem, key, plain.rate if plain else float(problem.rates[0]))
    at_goal = "largest Hessian eigenvalue where plain descent ended; NaN if unsolved"
    return result.assign(
        curvature=(("seed",), start, {"long_name": "largest Hessian eigenvalue at the start"}),
        curvature_at_goal=(("seed",), goal, {"long_name": at_goal}),
    ).assign_attrs(title=problem.title, epoch_limit=problem.epochs)


def curvatures(problem: Problem, key, rate: float) -> tuple[np.ndarray, np.ndarray]:
    """λ_max (seeds,) at the start, and where plain gradient descent with `rate` reaches the goal (else NaN)."""
    keys, params = starts_of(problem.start, key, problem.seeds)
    chunk = min(100, problem.epochs)
    training = bp.training.make_training(problem.rule, optax.sgd(rate), (problem.stop,), chunk=chunk)
    run = compiled_once(jax.vmap(lambda k, p: training.init(k, p, problem.epochs)))(keys, params)
    advance = compiled_once(jax.vmap(lambda run: training.advance(run, problem.batch)))
    run, _ = bp.training.run_to_end(advance, run)
    largest = compiled_once(jax.vmap(lambda p, k: bp.analysis.largest_curvature(problem.rule, p, problem.batch, k)))
    solved = np.asarray(run.reason) == training.reasons.index(problem.stop.reason)
    return np.asarray(largest(params, keys)), np.where(solved, np.asarray(largest(run.state.params, keys)), np.nan)


class Cell(NamedTuple):
    """A point of a plane."""

    rate: float
    momentum: float
    epochs: float  # median over all seeds, a failure counts as ∞
    share: float  # share of seeds that reached the goal


def medians(plane: xr.Dataset) -> np.ndarray:
    """Median epochs to the goal (momentum, learning_rate), ∞ where half of the seeds or more failed."""
    plane = plane.transpose("momentum", "learning_rate", "seed", ...)
    return quantiles_with_failures(epochs_or_never(plane.solved.values, plane.epochs.values), 0.5)


def fastest(plane: xr.Dataset) -> Cell | None:
    """The cell with the fewest median epochs; None if no cell has a finite median."""
    epochs = medians(plane)
    row, column = np.unravel_index(np.argmin(epochs), epochs.shape)
    if not math.isfinite(epochs[row, column]):
        return None
    at = plane.isel(momentum=row, learning_rate=column)
    return Cell(float(at.learning_rate), float(at.momentum), float(epochs[row, column]), float(at.solved.mean()))


class Row(NamedTuple):
    """One problem in one form: plain descent against momentum."""

    problem: str
    form: str
    plain: Cell | None  # the fastest without momentum
    best: Cell | None  # the fastest of the plane
    most: float  # the largest momentum coefficient with a finite median at some rate; NaN if none
    momentum: float  # the value on the axis that is nearest to 0.9
    same: float  # median epochs at `momentum` and the effective rate of `plain`, interpolated
    beyond: float  # share of solved runs above the limit of stability with λ_max at the goal
    share: float  # of all runs of the plane that were solved

    @property
    def gain(self) -> float:
        """How many times fewer epochs the best cell needs than the best one without momentum."""
        return self.plain.epochs / self.best.epochs if self.plain and self.best else math.nan


def rows_of(name: str, result: xr.Dataset) -> list[Row]:
    """One row for each form of a problem."""
    rows = []
    for place, form in enumerate(PLANES):
        plane = result.sel(form=place)
        solved = plane.solved.transpose("momentum", "learning_rate", "seed").values
        limits = limit_line(result, form, "curvature_at_goal")
        above = plane.learning_rate.values[None, :] > limits[:, None]
        plain = fastest(plane.isel(momentum=[0]))
        there = plane.momentum.values[np.isfinite(medians(plane)).any(axis=1)]
        most = float(there.max()) if there.size else math.nan
        beyond = float((solved & above[:, :, None]).sum() / max(1, solved.sum()))
        same = at_effective_rate(plane, form, plain.rate if plain else math.nan)
        rows.append(Row(name, form, plain, fastest(plane), most, *same, beyond, float(solved.mean())))
    return rows


def at_effective_rate(plane: xr.Dataset, form: str, effective: float) -> tuple[float, float]:
    """The momentum coefficient nearest to 0.9, and its median epochs at the effective rate `effective`."""
    row = int(np.argmin(np.abs(plane.momentum.values - 0.9)))
    alpha = float(plane.momentum[row])
    rate = effective / float(theory.effective_rate(form, 1.0, alpha))
    rates = np.log(plane.learning_rate.values)
    return alpha, float(np.interp(np.log(rate), rates, medians(plane)[row], left=np.nan, right=np.nan))


def limit_line(result: xr.Dataset, form: str, curvature: str) -> np.ndarray:
    """The limit of stability (momentum,) with the median λ_max of the seeds; NaN if it was not measured."""
    known = result[curvature].values
    known = known[np.isfinite(known)]
    median = np.median(known) if known.size else np.nan
    return theory.stability_limit(form, result.momentum.values) / median


def lines(result: xr.Dataset, form: str) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """{name: (learning rates, momentum coefficients)} of the theoretical lines over a plane."""
    momentum = result.momentum.values
    plain = fastest(result.sel(form=0).isel(momentum=[0]))
    drawn = {
        "limit of stability, λ_max at the goal": (limit_line(result, form, "curvature_at_goal"), momentum),
        "limit of stability, λ_max at the start": (limit_line(result, form, "curvature"), momentum),
    }
    if np.allclose(result.curvature.values, result.curvature_at_goal.values):  # they coincide on a quadratic
        drawn = {"limit of stability": drawn.popitem()[1]}
    for factor in (0.1, 1.0, 10.0):
        if plain is None:
            break
        name = "effective rate of the best plain descent" if factor == 1.0 else f"{factor:g} × that"
        drawn[name] = (factor * plain.rate / theory.effective_rate(form, 1.0, momentum), momentum)
    return drawn


def cells(results: dict[str, xr.Dataset]) -> list[dict]:
    """The numbers of the maps, a row for each cell."""
    rows = []
    for name, form, plane in planes_of(results):
        epochs = medians(plane)
        counts = {which: plane[which].sum("seed") for which in ("solved", "diverged")}
        momenta, rates = plane.momentum.values, plane.learning_rate.values
        for (i, alpha), (j, rate) in itertools.product(enumerate(momenta), enumerate(rates)):
            at = {"momentum": i, "learning_rate": j}
            row = {"problem": name, "form": form, "rate": rate, "momentum": alpha, "runs": plane.sizes["seed"]}
            rows.append(row | {which: int(count[at]) for which, count in counts.items()} | {"epochs": epochs[i, j]})
    return rows


def planes_of(results: dict[str, xr.Dataset]) -> Iterator[tuple[str, str, xr.Dataset]]:
    """Yield (problem, form, plane)."""
    for name, result in results.items():
        for place, form in enumerate(PLANES):
            yield name, form, result.sel(form=place)
