"""Encoders: N inputs, one of which is on, through log₂ N hidden units (PDP, chapter 8, pages 335-339).

The obvious solution is a binary code: each hidden unit near 0 or 1. The chapter shows a network that also uses values
between. With a single hidden unit between two layers, 2-1-4-4, four values of one unit must be told apart.
"""

import itertools
from collections import Counter

import numpy as np

import bpjax as bp
from bpjax.results import plots
from experiments.common.findings import Finding, share
from experiments.common.networks import sigmoid_network
from experiments.internal_representations.problem import PDP, Problem, Sweeps
from experiments.internal_representations.trainings import Setting, train, unit_outputs

EIGHT, FOUR, ONE = "8-3-8", "4-2-4", "2-1-4-4"
SYMBOLS = "0½1"
PUBLISHED_VALUES = (0.0, 0.2, 0.6, 1.0)
"""Of the single hidden unit in PDP's 2-1-4-4 network, ascending."""


def one_of_four() -> bp.tasks.Task:
    """Two bits to one of four outputs."""
    return bp.tasks.truth_table(
        "one_of_four",
        2,
        lambda bits: tuple(int(i == 2 * bits[0] + bits[1]) for i in range(4)),
        (1, 4),
        (0.0, 1.0),
        None,
    )


def settings() -> tuple[Setting, ...]:
    """The three networks; all outputs must come within 0.1 of their targets, or 0.4 where one unit is between."""
    wide, tight = bp.outputs_within(0.4), bp.outputs_within(0.1)
    return (
        Setting(EIGHT, sigmoid_network((8, 3, 8), 0.5), bp.encoder(8), (0.1, 0.25), epochs=10_000, stop=tight),
        Setting(FOUR, sigmoid_network((4, 2, 4), 0.5), bp.encoder(4), (0.1, 0.25), epochs=4_000, stop=tight),
        Setting(ONE, sigmoid_network((2, 1, 4, 4), 0.5), one_of_four(), (0.25, 0.5), epochs=10_000, stop=wide),
    )


def run(config, key, say) -> Sweeps:
    """Train the three networks."""
    return {setting.name: train(setting, config.starts(), key, say) for setting in settings()}


def rounded(hidden: np.ndarray) -> np.ndarray:
    """Outputs of hidden units as 0 (below ¼), 1 (½) and 2 (above ¾): half units."""
    hidden = np.asarray(hidden)
    return 1 + (hidden > 0.75).astype(int) - (hidden < 0.25)


def code_of(hidden: np.ndarray) -> tuple[str, ...]:
    """The code that hidden units use, as the sorted code words with 0, ½ and 1.

    The same for another order of the units or of the examples and for units replaced by their complement.

    Args:
        hidden: (examples, units) outputs.
    """
    half_units = rounded(hidden)
    units = range(half_units.shape[1])
    variants = (
        np.where(np.array(flips), 2 - half_units, half_units)[:, list(order)]
        for flips in itertools.product((False, True), repeat=len(units))
        for order in itertools.permutations(units)
    )
    words = min(tuple(sorted(tuple(int(v) for v in word) for word in variant)) for variant in variants)
    return tuple("".join(SYMBOLS[v] for v in word) for word in words)


def hidden_of(sweeps: Sweeps, name: str) -> list[np.ndarray]:
    """For each learning rate the hidden outputs (runs, examples, units) of the solved runs."""
    (setting,) = (setting for setting in settings() if setting.name == name)
    x, _ = setting.task.present()
    hidden = unit_outputs(sweeps[name], x)[0]
    return [own[solved] for own, solved in zip(hidden, sweeps[name].solved.values, strict=True)]


def findings(sweeps: Sweeps) -> list[Finding]:
    """Shares of solved runs, of binary codes, and the most frequent codes."""
    rows = []
    for name in (EIGHT, FOUR):
        for rate, solved, hidden in zip(
            sweeps[name].learning_rate.values, sweeps[name].solved.values, hidden_of(sweeps, name), strict=True
        ):
            topic, n = f"encoder, {name}, η {rate:g}", int(solved.sum())
            rows.append(share(topic, "solved", n, len(solved)))
            codes = Counter(code_of(own) for own in hidden)
            between = sum(count for code, count in codes.items() if "½" in "".join(code))
            paper = (1, 1) if name == EIGHT else None
            rows.append(share(
                topic, "of the solved: a code with values near ½", between, n, paper, source=PDP if paper else "",
                note="The chapter shows one network, which uses values near ½.",
            ))  # fmt: skip
            for code, count in codes.most_common(2):
                rows.append(share(topic, f"of the solved: {' '.join(code)}", count, n))
    for rate, solved, hidden in zip(
        sweeps[ONE].learning_rate.values, sweeps[ONE].solved.values, hidden_of(sweeps, ONE), strict=True
    ):
        topic, n = f"one unit for two bits, {ONE}, η {rate:g}", int(solved.sum())
        rows.append(share(topic, "solved", n, len(solved)))
        rows += [value_row(topic, i, published, oriented(hidden[..., 0]))
                 for i, published in enumerate(PUBLISHED_VALUES)]  # fmt: skip
    return rows


def oriented(values: np.ndarray) -> np.ndarray:
    """Values (runs, 4) of a hidden unit in ascending order, or of its complement if the middle two exceed 1 in sum."""
    values = np.sort(values, axis=-1)
    return np.where(values[:, 1:3].sum(axis=1, keepdims=True) > 1, 1 - values[:, ::-1], values)


def value_row(topic: str, index: int, published: float, values: np.ndarray) -> Finding:
    """The values of the single hidden unit for its four inputs in ascending order, over the solved runs.

    Args:
        topic: heading of the row.
        index: which of the four.
        published: the value in the chapter.
        values: (runs, 4), ascending in each run.
    """
    if len(values) < 2:
        return Finding(topic, f"value {index + 1} of the hidden unit", f"{published:g}", "none", "", "", False, PDP)
    low, middle, high = np.quantile(values[:, index], [0.025, 0.5, 0.975])
    agrees = bool(low - 0.05 <= published <= high + 0.05)  # published with one digit
    note = "" if agrees else "The chapter gives one run, without learning rate or sweeps, and one digit."
    return Finding(
        topic, f"value {index + 1} of the hidden unit", f"{published:g}", f"median {middle:.2f}",
        f"{low:.2f} to {high:.2f}", f"95 % of {len(values)} runs", agrees, PDP, note,
    )  # fmt: skip


def draw(sweeps: Sweeps, figure) -> None:
    """The most frequent codes of 8-3-8 and 4-2-4 at the lower learning rate, and the values of the single unit."""
    axes = figure.subplots(1, 6, width_ratios=(1, 1, 1, 0.8, 0.8, 1.4))
    figure.suptitle("Encoders: outputs of the hidden units (columns) for each input (rows)", fontweight="bold")
    for name, own_axes in ((EIGHT, axes[:3]), (FOUR, axes[3:5])):
        hidden = hidden_of(sweeps, name)[0]
        codes = [code_of(own) for own in hidden]
        for axis in own_axes:
            axis.set_axis_off()
        for axis, (code, count) in zip(own_axes, Counter(codes).most_common(len(own_axes)), strict=False):
            units = range(1, hidden.shape[-1] + 1)
            axis.set_axis_on()
            plots.hinton(axis, hidden[codes.index(code)], 1.0, columns=[f"h{i}" for i in units])
            axis.set_title(f"{name}: {count} of {len(codes)}", fontsize=10)
    values = oriented(hidden_of(sweeps, ONE)[0][..., 0])
    for place in range(4):
        axes[5].plot(np.full(len(values), place), values[:, place], "_", color=plots.BLUE, alpha=0.3, markersize=16)
    axes[5].plot(range(4), PUBLISHED_VALUES, "D", color=plots.RED, label="PDP, one run")
    axes[5].set(xticks=range(4), xticklabels=["lowest", "2nd", "3rd", "highest"], ylabel="output", xlim=(-0.6, 3.6))
    axes[5].set_title(f"{ONE}: four values of one unit", fontsize=10)
    axes[5].legend(fontsize=8, frameon=False)


ENCODERS = Problem("encoders", run, findings, draw, height=3.2)
