"""Binary addition of two numbers of two bits, and its local minima (PDP, chapter 8, pages 341-344).

The sum needs the two carries. In the cascade one hidden unit feeds the other, as the low carry feeds the high one, and
both have direct links from the inputs and to the outputs. The chapter calls this the one problem in which it reliably
found local minima. The remedy was to make the hidden units equal in standing, without a link between them, or to add
one.

A hidden unit can stand in for the low carry if it singles out one of the four combinations of the low bits: with direct
links any of them makes the exclusive or of the low bits possible. It can stand in for the high carry if it compares the
sum, or the difference, of the two numbers with the middle of its range.
"""

import functools
import itertools
import math

import numpy as np

import bpjax as bp
from bpjax.results import plots
from bpjax.results.statistics import wilson
from experiments.common.findings import Finding, share
from experiments.common.networks import sigmoid_network
from experiments.internal_representations.drawing import share_of_solved
from experiments.internal_representations.networks import direct_network
from experiments.internal_representations.problem import PDP, RERUN, Problem, Sweeps
from experiments.internal_representations.trainings import Setting, train, unit_outputs

PLAIN, CASCADE, EQUAL, EXTRA = "4-3-3", "cascade 1→1", "2 equal units", "3 equal units"
NAMES = (PLAIN, CASCADE, EQUAL, EXTRA)
RATES, LIMIT = (0.1, 0.5), 6000


def settings() -> tuple[Setting, ...]:
    """A network in layers, and three with direct links: a cascade of two hidden units, two equal ones, three."""
    networks = (
        sigmoid_network((4, 3, 3), 0.5), direct_network((1, 1), 3), direct_network((2,), 3), direct_network((3,), 3),
    )  # fmt: skip
    task = bp.tasks.binary_addition(2)
    return tuple(Setting(n, network, task, RATES, epochs=LIMIT) for n, network in zip(NAMES, networks, strict=True))


def run(config, key, say) -> Sweeps:
    """Train the four networks."""
    return {setting.name: train(setting, config.starts(), key, say) for setting in settings()}


@functools.cache
def carry_tables() -> dict[tuple[bool, ...], str]:
    """{outputs (16,) of a hidden unit: "low" or "high"}, the carry that such a unit can stand in for."""
    x = np.asarray(bp.tasks.binary_addition(2).present()[0]).astype(int)
    low_bits = 2 * x[:, 1] + x[:, 3]
    tables = {tuple(low_bits == one): "low" for one in range(4)}
    for flipped in itertools.product((0, 1), repeat=4):  # a + b, a − b, …: each bit or its complement
        total = (x ^ np.array(flipped)) @ np.array([2, 1, 2, 1])
        tables[tuple(total >= 4)] = "high"
    return tables | {tuple(~np.array(table)): name for table, name in tables.items()}


def carries_of(hidden: np.ndarray) -> tuple[str, ...]:
    """Which carry each hidden unit can stand in for: "low", "high", or "".

    Args:
        hidden: (16, units) outputs.
    """
    return tuple(carry_tables().get(tuple(column), "") for column in (np.asarray(hidden) > 0.5).T)


def hidden_of(sweeps: Sweeps, name: str) -> np.ndarray:
    """Outputs (learning_rate, seed, 16, units) of all hidden units, in the order in which they feed each other."""
    x, _ = bp.tasks.binary_addition(2).present()
    return np.concatenate(unit_outputs(sweeps[name], x, direct=name != PLAIN)[:-1], axis=-1)


def more_often(topic: str, quantity: str, first: tuple[int, int], second: tuple[int, int]) -> Finding:
    """Whether the second kind of network is solved more often: the difference and its interval (Newcombe 1998).

    Args:
        topic: heading of the row.
        quantity: the statement.
        first: (solved, runs).
        second: (solved, runs).
    """
    (p, (low_p, high_p)), (q, (low_q, high_q)) = (
        (k / n, wilson(k, n)) for k, n in (first, second)
    )  # fmt: skip
    low = q - p - math.hypot(q - low_q, high_p - p)
    high = q - p + math.hypot(high_q - q, p - low_p)
    return Finding(
        topic, quantity, "more often", f"{100 * (q - p):+.0f} %", f"{100 * low:+.0f} to {100 * high:+.0f} %",
        "95 % interval", bool(low > 0), PDP,
    )  # fmt: skip


def findings(sweeps: Sweeps) -> list[Finding]:
    """Shares of solved runs, what the hidden units stand for, and the effect of the remedies."""
    rows, solved = [], {name: sweeps[name].solved.values for name in NAMES}
    for i, rate in enumerate(RATES):
        counts = {name: (int(solved[name][i].sum()), len(solved[name][i])) for name in NAMES}
        for name in NAMES:
            topic, own = f"addition, {name}, η {rate:g}", solved[name][i]
            paper = (0, 50) if name == PLAIN and rate == RATES[-1] else None
            quantity, source = f"solved in {LIMIT:,} sweeps", RERUN if paper else ""
            rows.append(share(topic, quantity, *counts[name], paper, source=source))
            if name in (CASCADE, EQUAL):
                rows += carry_rows(topic, hidden_of(sweeps, name)[i], own)
            error = sweeps[name].error.values[i][~own]
            if len(error):
                what = "of the others: error ≥ ½, as of one wrong output"
                rows.append(share(topic, what, int((error >= 0.5).sum()), len(error)))
        topic = f"addition, remedies, η {rate:g}"
        rows.append(more_often(topic, "equal units solve it", counts[CASCADE], counts[EQUAL]))
        rows.append(more_often(topic, "one more unit solves it", counts[EQUAL], counts[EXTRA]))
    return rows


def carry_rows(topic: str, hidden: np.ndarray, solved: np.ndarray) -> list[Finding]:
    """How many solved runs, and others, have hidden units for both carries.

    Args:
        topic: heading of the rows.
        hidden: (seed, 16, 2) outputs of the hidden units.
        solved: (seed,).
    """
    rows, found = [], [carries_of(own) for own in hidden]
    for runs, what in ((solved, "solved"), (~solved, "others")):
        chosen = [own for own, there in zip(found, runs, strict=True) if there]
        if chosen:
            both = sum(set(own) == {"low", "high"} for own in chosen)
            rows.append(share(topic, f"of the {what}: hidden units stand for both carries", both, len(chosen)))
            if what == "solved" and "cascade" in topic:
                first = sum(own[0] == "low" for own in chosen)
                rows.append(share(topic, "of the solved: the low carry feeds the high one", first, len(chosen)))
    return rows


def draw(sweeps: Sweeps, figure) -> None:
    """Shares of solved runs by network, and the hidden outputs of a cascade that adds and of one that is stuck."""
    shares, *axes = figure.subplots(1, 5, width_ratios=(1.35, 1, 1, 1, 1))
    figure.suptitle("Binary addition: local minima and their remedies; outputs of the hidden units", fontweight="bold")
    share_of_solved(shares, NAMES, [sweeps[name].solved.values for name in NAMES], RATES)
    solved, hidden = sweeps[CASCADE].solved.values[0], hidden_of(sweeps, CASCADE)[0]
    sums = ["0+0", "0+1", "1+0", "1+1"]
    for pair, wanted in ((axes[:2], True), (axes[2:], False)):
        runs = np.flatnonzero(solved == wanted)
        for unit, axis in enumerate(pair):
            if not len(runs):
                axis.set_axis_off()
                continue
            # inputs are (high, low) of the first and of the second number: rows by the low bits, columns by the high
            table = hidden[runs[0]][:, unit].reshape(2, 2, 2, 2).transpose(1, 3, 0, 2).reshape(4, 4)
            plots.hinton(axis, table, 1.0, rows=sums, columns=sums)
            axis.tick_params(labelsize=7.5)
            axis.set_xlabel("high bits", fontsize=8)
            role = carries_of(hidden[runs[0]])[unit]
            kind = "cascade that adds" if wanted else "cascade, stuck"
            axis.set_title(f"{kind}\nh{unit + 1}: {role or 'no'} carry", fontsize=10)
        pair[0].set_ylabel("low bits", fontsize=8)


ADDITION = Problem("addition", run, findings, draw, figure="internal_representations_bits", height=3.0)
