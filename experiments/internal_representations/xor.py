"""XOR: two hidden units and their two classic solutions, and one hidden unit with direct links.

PDP, chapter 8, figure 2 and pages 330-332. With two hidden units there are two solutions in which the outputs of the
hidden units are all near 0 or 1. Up to the sign of a unit:

    OR and AND          one unit detects that any input is on, the other that both are
    the differences     each unit detects that one input is on and the other is off
"""

from collections import Counter

import numpy as np
import xarray as xr

import bpjax as bp
from bpjax.results import plots
from bpjax.results.statistics import wilson
from experiments.common.findings import Finding, one_run, share
from experiments.common.networks import sigmoid_network
from experiments.internal_representations.drawing import one_run_among
from experiments.internal_representations.networks import direct_network
from experiments.internal_representations.problem import PDP, Problem, Sweeps
from experiments.internal_representations.trainings import Setting, train, unit_outputs

LIMIT = 8000
TWO, RANGES, ONE = "2-2-1", "2-2-1 from other ranges", "2-1-1 direct"
RADII = (0.1, 0.3, 1.0, 2.0, 4.0)
"""Initial weights are uniform on ± these."""
OR_AND, DIFFERENCES, OTHERS = "OR and AND", "the differences", "codes near ½"
LOCAL, PLATEAU = "local minimum", "plateau"
SOLUTIONS = {frozenset({0, 3}): OR_AND, frozenset({1, 2}): DIFFERENCES}
"""The solutions by which of the inputs 00, 01, 10, 11 each hidden unit singles out: OR 00, AND 11."""


def settings() -> tuple[Setting, ...]:
    """Both networks, and that with two hidden units from other ranges of initial weights."""
    return (
        Setting(
            TWO, sigmoid_network((2, 2, 1), 0.5), bp.xor(), rates=(0.25, 0.5), epochs=LIMIT, stop=bp.outputs_within(0.1)
        ),
        Setting(
            RANGES, sigmoid_network((2, 2, 1), 1.0), bp.xor(), epochs=LIMIT, stop=bp.outputs_within(0.1), scales=RADII
        ),
        Setting(ONE, direct_network((1,), 1, 0.3), bp.xor()),
    )


def run(config, key, say) -> Sweeps:
    """Train the networks."""
    return {setting.name: train(setting, config.starts(), key, say) for setting in settings()}


def solution_of(hidden: np.ndarray) -> str:
    """The solution that two hidden units stand for.

    A unit whose output is above ½ for one of the four inputs, or for all but one, singles out this input.

    Args:
        hidden: (4, 2) outputs for the inputs 00, 01, 10, 11.
    """
    on = np.asarray(hidden) > 0.5
    singled = [np.flatnonzero(column == (column.sum() == 1)) for column in on.T]
    return SOLUTIONS.get(frozenset(int(rows[0]) for rows in singled if len(rows) == 1), OTHERS)


def undecided(output: np.ndarray) -> np.ndarray:
    """How many outputs (..., 4, 1) are nearer to ½ than to 0 and 1."""
    return (np.abs(output[..., 0] - 0.5) < 0.25).sum(axis=-1)


def kinds_of(sweep: xr.Dataset) -> np.ndarray:
    """The end of every run of a 2-2-1 network: a solution, `LOCAL` or `PLATEAU`.

    A run on the plateau has all four outputs near ½: it is slow, not stuck.
    """
    x, _ = bp.xor().present()
    hidden, output = unit_outputs(sweep, x)
    near, solved = undecided(output), sweep.solved.values
    kinds = np.where(near == 4, PLATEAU, LOCAL).astype(object)
    for run in np.argwhere(solved):
        kinds[tuple(run)] = solution_of(hidden[tuple(run)])
    return kinds


def findings(sweeps: Sweeps) -> list[Finding]:
    """Shares of solutions and local minima with two hidden units, and the epochs with one."""
    rows, two, one = [], sweeps[TWO], sweeps[ONE]
    (ranges,) = kinds_of(sweeps[RANGES]) == LOCAL  # (scale, seed)
    note = local_note(ranges.mean(axis=1))
    for rate, kinds in zip(two.learning_rate.values, kinds_of(two), strict=True):
        name, n = f"XOR, {TWO}, η {rate:g}", kinds.size
        counts = Counter(kinds)
        solved = sum(counts[kind] for kind in (OR_AND, DIFFERENCES, OTHERS))
        what = "local minimum: 2 or 3 outputs stay near ½"
        rows.append(share(name, what, counts[LOCAL], n, (2, 300), source=f"{PDP}, p. 332", note=note))
        rows.append(share(name, f"4 outputs near ½ after {LIMIT:,} sweeps", counts[PLATEAU], n))
        rows += [share(name, f"of the solved: {kind}", counts[kind], solved) for kind in (OR_AND, DIFFERENCES, OTHERS)]
    for radius, own in zip(RADII, ranges, strict=True):
        what = f"local minimum, initial weights ±{radius:g}"
        rows.append(share(f"XOR, {TWO}, η 0.5", what, int(own.sum()), own.size))
    (solved,), (epochs,) = one.solved.values, one.epochs.values
    name = f"XOR, {ONE}, η 0.5"
    rows.append(one_run(name, "sweeps to success", 558, solved, epochs, source=f"{PDP}, p. 331"))
    rows.append(share(name, "solved in 4,000 sweeps", int(solved.sum()), len(solved)))
    return rows


def local_note(shares: np.ndarray) -> str:
    """Why our share of local minima differs from the chapter's.

    Args:
        shares: (radius,) of runs in a local minimum, by the range of the initial weights.
    """
    return (
        "The chapter counts 2 local minima in “hundreds” of runs (300 are assumed) and does not give the initial "
        f"weights. The share depends on them: {100 * shares[0]:.1f} % from ±{RADII[0]:g} to {100 * shares[-1]:.1f} % "
        f"from ±{RADII[-1]:g}. By theory (Hamey 1998) none is a finite minimum: some weights grow for ever."
    )


def draw(sweeps: Sweeps, figure) -> None:
    """Unit outputs of the first run of each kind, the share of local minima, and the sweeps with one hidden unit."""
    *tables, minima, sweeps_axis = figure.subplots(1, 5, width_ratios=(1, 1, 1, 1.1, 1.5))
    figure.suptitle("XOR: two solutions and a local minimum", fontweight="bold")
    x, _ = bp.xor().present()
    two, one = sweeps[TWO], sweeps[ONE]
    hidden, output = unit_outputs(two, x)
    kinds = kinds_of(two)[-1].tolist()
    for axis, kind in zip(tables, (OR_AND, DIFFERENCES, LOCAL), strict=True):
        axis.set_title(f"{kind}:\n{kinds.count(kind)} of {len(kinds)} starts", fontsize=10)
        if kind not in kinds:
            axis.set_axis_off()
            continue
        run = kinds.index(kind)
        table = np.concatenate([hidden[-1][run], output[-1][run]], axis=1).T
        plots.hinton(axis, table, 1.0, rows=["h1", "h2", "out"], columns=["00", "01", "10", "11"])
        axis.set_xlabel("inputs; area = output", fontsize=8)
    (local,) = kinds_of(sweeps[RANGES]) == LOCAL
    low, high = wilson(local.sum(axis=1), local.shape[1])
    plots.proportion(minima, RADII, local.mean(axis=1), low, high, plots.BLUE, "2-2-1")
    minima.set(xscale="log", xlabel="initial weights ±", ylabel="starts in %", ylim=(0, None))
    minima.set_xticks(RADII, [f"{radius:g}" for radius in RADII])
    minima.minorticks_off()
    minima.set_title("local minima, 2-2-1", fontsize=10)
    one_run_among(sweeps_axis, one.solved.values[0], one.epochs.values[0], 558)
    sweeps_axis.set_title("one hidden unit, direct links", fontsize=10)


XOR = Problem("XOR", run, findings, draw, height=2.5)
