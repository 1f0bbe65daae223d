"""Symmetry: two hidden units tell whether six bits read the same from both ends (Nature 1986, figures 1 and 2).

A hidden unit has opposite weights for mirror images, so that every palindrome gives it the sum 0. Magnitudes such as
1 : 2 : 4 give every other string a sum that is not 0. The two hidden units have opposite signs, so that one of them is
on for every string that is not a palindrome.
"""

import numpy as np

import bpjax as bp
from bpjax.results import plots
from experiments.common.findings import Finding, one_run, share
from experiments.common.mirror_weights import RATIOS, asymmetry, weight_ratios
from experiments.common.networks import sigmoid_network
from experiments.internal_representations.drawing import one_run_among, signed
from experiments.internal_representations.problem import NATURE, Problem, Sweeps
from experiments.internal_representations.trainings import Setting, train

NETWORK, LONGER, LIMIT = "6-2-1", "6-2-1 longer", 3500


def run(config, key, say) -> Sweeps:
    """Train with the settings of the paper: ε 0.1, α 0.9, weights from ±0.3.

    The same starts are also trained until every output is within 0.1 of its target, which settles the weights.
    """
    setting = Setting(NETWORK, sigmoid_network((6, 2, 1), 0.3), bp.tasks.symmetry(6), (0.1,), epochs=LIMIT)
    longer = setting._replace(name=LONGER, epochs=2 * LIMIT, stop=bp.outputs_within(0.1))
    return {own.name: train(own, config.starts(), key, say) for own in (setting, longer)}


def solved_weights(sweeps: Sweeps) -> np.ndarray:
    """(runs, 6, 2) settled weights from the inputs to the hidden units of the solved runs."""
    sweep = sweeps[LONGER]
    return sweep.w1.values[sweep.solved.values]


ONE_SHOWN = (
    "The paper shows one network and calls its weights elegant. Ratios such as 2:3:4 also give every string that is no "
    "palindrome a sum other than 0, and a quarter of the starts find them."
)
CHECK = "NumPy check"
"""Source: an independent program with the settings of the paper, 40 starts, 23 of them solved in 3,500 sweeps."""


def findings(sweeps: Sweeps) -> list[Finding]:
    """Sweeps to success, and how often each ratio of weights appears."""
    name, sweep = "symmetry, 6-2-1, η 0.1", sweeps[NETWORK]
    (solved,), (epochs,), w = sweep.solved.values, sweep.epochs.values, solved_weights(sweeps)
    names, unlike = weight_ratios(w), float(np.median(asymmetry(w))) if len(w) else np.nan
    papers = {"1:2:4": (16, 23), "2:3:4": (6, 23), "others": (1, 23)}
    rows = [
        one_run(name, "sweeps until every output is right", 1425, solved, epochs, source=NATURE),
        share(name, f"solved in {LIMIT:,} sweeps", int(solved.sum()), len(solved), (23, 40), source=CHECK),
        share(
            name, "trained longer: weights 1:2:4", names.count("1:2:4"), len(w), (1, 1), source=NATURE, note=ONE_SHOWN
        ),
    ]
    for ratio, counted in papers.items():
        rows.append(share(name, f"trained longer: weights {ratio}", names.count(ratio), len(w), counted, source=CHECK))
    what, certainty = "max |w + mirror image| / max |w|, median", f"{len(w)} runs"
    rows.append(Finding(name, what, "0", f"{unlike:.4f}", "", certainty, bool(unlike < 0.01), NATURE))
    return rows


def draw(sweeps: Sweeps, figure) -> None:
    """The weights of the first run of each ratio, and the epochs to success."""
    w, sweep = solved_weights(sweeps), sweeps[NETWORK]
    names = weight_ratios(w)
    axes = figure.subplots(1, 3, width_ratios=(1, 1, 1.15))
    figure.suptitle(
        "Symmetry, 6-2-1: opposite weights for mirror images (filled: positive, hollow: negative)", fontweight="bold"
    )
    for axis, ratio in zip(axes, RATIOS, strict=False):
        if ratio in names:
            own = w[names.index(ratio)]
            plots.hinton(axis, own.T, rows=["hidden 1", "hidden 2"], columns=[signed(v) for v in own[:, 0]])
            axis.set_xlabel("input 1 to 6; weights to hidden 1", fontsize=8)
        else:
            axis.set_axis_off()
        axis.set_title(f"{ratio} in {names.count(ratio)} of {len(names)} solved", fontsize=10)
    (solved,), (epochs,) = sweep.solved.values, sweep.epochs.values
    one_run_among(axes[2], solved, epochs, 1425)
    axes[2].set_title(f"{int(solved.sum())} of {solved.size} starts solve it in {LIMIT:,} sweeps", fontsize=10)


SYMMETRY = Problem("symmetry", run, findings, draw, height=2.3)
