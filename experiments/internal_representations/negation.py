"""Negation: three bits, to be negated where a fourth one, the flag, is on (PDP, chapter 8, pages 344-346).

Each output is the exclusive or of its bit and the flag, and needs two hidden units, or one and direct links. A hidden
unit has a role if its output, or the opposite, is "bit i is on while the flag is f", or the same for "bit i is off".
"""

import itertools

import numpy as np

import bpjax as bp
from bpjax.results import plots
from experiments.common.findings import Finding, share
from experiments.common.networks import sigmoid_network
from experiments.internal_representations.drawing import share_of_solved
from experiments.internal_representations.networks import direct_network
from experiments.internal_representations.problem import RERUN, Problem, Sweeps
from experiments.internal_representations.trainings import Setting, train, unit_outputs

THREE, SIX, DIRECT, LIMIT = "4-3-3", "4-6-3", "4-3-3 direct", 6000
RATES = (0.1, 0.5)


def settings() -> tuple[Setting, ...]:
    """Two networks in layers and one with direct links from the inputs to the outputs."""
    task = bp.tasks.negation(3)
    return (
        Setting(THREE, sigmoid_network((4, 3, 3), 0.5), task, RATES, epochs=LIMIT),
        Setting(SIX, sigmoid_network((4, 6, 3), 0.5), task, RATES, epochs=LIMIT),
        Setting(DIRECT, direct_network((3,), 3), task, RATES, epochs=LIMIT),
    )


def run(config, key, say) -> Sweeps:
    """Train the three networks."""
    return {setting.name: train(setting, config.starts(), key, say) for setting in settings()}


def roles(hidden: np.ndarray) -> list[str]:
    """The role of each hidden unit: "bit i, flag f", or "" if it has none.

    Args:
        hidden: (16, units) outputs for the sixteen inputs, in the order of the task.
    """
    x = np.asarray(bp.tasks.negation(3).present()[0]).astype(bool)
    flag = x[:, 3]
    tables: dict[tuple, str] = {}
    for i, f, value in itertools.product(range(3), (False, True), (False, True)):
        table = (x[:, i] == value) & (flag == f)
        for outputs in (table, ~table):
            tables[tuple(outputs.tolist())] = f"bit {i + 1}, flag {int(f)}"
    return [tables.get(tuple(column.tolist()), "") for column in (np.asarray(hidden) > 0.5).T]


PUBLISHED = {THREE: (0, 30), SIX: (27, 30)}
"""Solved and all starts of the public re-run, with η 0.5."""


def findings(sweeps: Sweeps) -> list[Finding]:
    """Shares of solved runs, and of hidden units with a role."""
    rows = []
    x, _ = bp.tasks.negation(3).present()
    for name in (THREE, SIX, DIRECT):
        hidden = unit_outputs(sweeps[name], x, direct=name == DIRECT)[0]
        for i, rate in enumerate(sweeps[name].learning_rate.values):
            solved = sweeps[name].solved.values[i]
            topic = f"negation, {name}, η {rate:g}"
            paper = PUBLISHED.get(name) if rate == RATES[-1] else None
            rows.append(share(
                topic, f"solved in {LIMIT:,} sweeps", int(solved.sum()), len(solved), paper,
                source=RERUN if paper else "",
            ))  # fmt: skip
            named = [role for own in hidden[i][solved] for role in roles(own)]
            if name != THREE and named:
                what = "hidden units of the solved: bit i while the flag is f"
                rows.append(share(topic, what, sum(role != "" for role in named), len(named)))
    return rows


def draw(sweeps: Sweeps, figure) -> None:
    """Shares of solved runs, and the weights of the runs whose hidden units have the most roles."""
    x, _ = bp.tasks.negation(3).present()
    shares, *axes = figure.subplots(1, 3, width_ratios=(1.1, 1.4, 0.9))
    figure.suptitle("Negation: hidden units for one bit while the flag is on or off", fontweight="bold")
    names = (THREE, SIX, DIRECT)
    share_of_solved(shares, names, [sweeps[name].solved.values for name in names], RATES)
    for axis, name in zip(axes, (SIX, DIRECT), strict=True):
        sweep = sweeps[name].isel(learning_rate=0)
        found = [roles(own) for own in unit_outputs(sweeps[name], x, direct=name == DIRECT)[0][0]]
        counts = [sum(map(bool, own)) * bool(s) for own, s in zip(found, sweep.solved.values, strict=True)]
        best = int(np.argmax(counts))
        order = np.argsort(found[best])
        labels = [found[best][unit].replace(", ", "\n") or "–" for unit in order]
        weights = sweep.w1.values[best][:, order]
        plots.hinton(axis, weights, rows=["bit 1", "bit 2", "bit 3", "flag"], columns=labels)
        axis.tick_params(labelsize=7.5)
        axis.set_title(f"{name}: weights to hidden units", fontsize=10)


NEGATION = Problem("negation", run, findings, draw, figure="internal_representations_bits", height=2.8)
