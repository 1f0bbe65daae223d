"""The findings: Wan's numbers and ours, and how the starts are spread."""

from typing import NamedTuple

import numpy as np
import xarray as xr

from bpjax.results.statistics import wilson
from bpjax.util.files import slug
from experiments.common.findings import Finding, finding
from experiments.time_series.laser import PULSE, SUMS, collapse, nmse

WINNER, RUNNER_UP = 0.0273, 0.080
"""NMSE of the 100 values in the competition: Wan's network, and the second best entry (Sauer)."""
COMPETITION = "Weigend & Gershenfeld 1994"
PARAMETERS = 1105


class Scores(NamedTuple):
    """The scores of all starts of a training, arrays (starts,)."""

    iterated: np.ndarray  # NMSE of the 100 steps
    one_step: np.ndarray  # NMSE
    training: np.ndarray  # mean squared error of the last epoch
    rehearsal: np.ndarray  # NMSE of the last 100 training values, iterated
    collapses: np.ndarray  # step of the last pulse before the collapse, −1 without one

    @property
    def by_training(self) -> int:
        """The start that its training error chooses."""
        return int(np.nanargmin(self.training))

    @property
    def by_rehearsal(self) -> int:
        """The start that forecasts the end of the training values best."""
        return int(self.rehearsal.argmin())


def scores_of(stored: xr.Dataset, label: str) -> Scores:
    """The scores of a training.

    Args:
        stored: the result.
        label: of the training.
    """
    name, known, future = slug(label), stored.known.values, stored.future.values
    iterated = stored[f"{name}_iterated"].values[-1]
    return Scores(
        nmse(future, iterated),
        nmse(future, stored[f"{name}_one_step"].values),
        stored[f"{name}_training_mse"].values[-1],
        nmse(known[-len(future) :], stored[f"{name}_rehearsal"].values),
        np.array([collapse(forecast, threshold(stored)) for forecast in iterated]),
    )


def threshold(stored: xr.Dataset) -> float:
    """The height from which a pulse counts: one standard deviation above the mean of the training values."""
    return float(stored.known.mean() + stored.known.std(ddof=1))


def seen(stored: xr.Dataset, scores: Scores) -> np.ndarray:
    """(starts,) whether a forecast collapses within half a pulse of the true collapse."""
    true = collapse(stored.future.values, threshold(stored))
    return (scores.collapses >= 0) & (np.abs(scores.collapses - true) <= PULSE // 2)


def findings_of(stored: xr.Dataset, labels: list[str]) -> list[Finding]:
    """All rows of the table.

    Args:
        stored: the result.
        labels: of the trainings, Wan's first.
    """
    known, future = stored.known.values, stored.future.values
    mean = np.full(len(future), known.mean())
    rows = [
        finding("The series", f"sum of the {len(part)} values", total, float(part.sum()), 0, certainty="exact")
        for part, total in zip((known, future), SUMS, strict=True)
    ]
    rows += [
        finding("The series", "NMSE of the training mean", 1.007, float(nmse(future, mean)), 5e-4, digits=4,
                certainty="exact", source="closed form"),
        finding("The series", "the same over the variance of the training values", 1.412,
                float(nmse(future, mean, known.var())), 5e-4, digits=4, certainty="exact", source="closed form"),
        finding("Wan's network", "parameters", PARAMETERS, stored.attrs[f"{slug(labels[0])}_parameters"], 0,
                certainty="exact", source="Wan 1994"),
    ]  # fmt: skip
    rows += edge_findings(stored)
    for label in labels:
        rows += training_findings(stored, label, is_protocol=label == labels[0])
    linear = [float(nmse(future, stored[f"linear_{name}"].values)) for name in ("one_step", "iterated")]
    rows += [
        Finding(
            "Linear autoregression", "100 steps", "", f"{linear[1]:.3f}", f"{linear[1] / WINNER:.2g} ×", "exact", None
        ),
        Finding("Linear autoregression", "one step", "", f"{linear[0]:.4f}", "", "exact", None),
    ]
    return rows


def edge_findings(stored: xr.Dataset) -> list[Finding]:
    """Temporal backpropagation beside the exact gradient."""
    topic = "Temporal backpropagation at a start"
    without, whole, one_pass = (stored.attrs[name] for name in ("without_edge", "with_edge", "one_pass"))
    return [
        Finding(topic, "difference from the gradient without edge terms", "0", f"{without:.0e}", f"{without:.0e}",
                "rounding", bool(without < 1e-12), "identity"),
        Finding(topic, "difference from the whole gradient", "", f"{whole:.1e}", "", "of its length", None),
        Finding(topic, "difference of one pass at μ from it", "", f"{one_pass:.1e}", "", "of its length", None),
    ]  # fmt: skip


def note_of(stored: xr.Dataset, label: str) -> str:
    """Why ours differs, as far as it is known, and how the errors moved in the second half of the training.

    Args:
        stored: the result.
        label: of the training.
    """
    errors = np.median(nmse(stored.future.values, stored[f"{slug(label)}_iterated"].values), axis=1)
    mse = np.median(stored[f"{slug(label)}_training_mse"].values, axis=1)
    half, epochs = len(mse) // 2 - 1, stored.epoch.values
    return (
        "the competition reports one network, which its author chose; these are all starts. The rate and the number of "
        "epochs are those of a public program of Wan's, not known to be those of the competition. From epoch "
        f"{epochs[half]} to {epochs[-1]} the median training error went from {mse[half]:.2g} to {mse[-1]:.2g}, the "
        f"median NMSE of 100 steps from {errors[half]:.2g} to {errors[-1]:.2g}."
    )


def training_findings(stored: xr.Dataset, label: str, is_protocol: bool) -> list[Finding]:
    """The spread of one training over its starts; only Wan's protocol is compared with the competition.

    Args:
        stored: the result.
        label: of the training.
        is_protocol: whether it is Wan's.
    """
    scores = scores_of(stored, label)
    errors, count = scores.iterated, len(scores.iterated)
    low, middle, high = np.quantile(np.minimum(errors, 1e9), [0.025, 0.5, 0.975])
    first, median, third = np.quantile(scores.one_step, [0.25, 0.5, 0.75])
    topic = f"{label} ({stored.attrs[f'{slug(label)}_parameters']:,} parameters)"
    agrees = bool(low <= WINNER <= high) if is_protocol else None
    published, source = (f"{WINNER}", COMPETITION) if is_protocol else ("", "")

    def one(quantity: str, error: float) -> Finding:
        return Finding(topic, quantity, published, f"{error:.3f}", f"{error / WINNER:.2g} ×", "one start", None)

    return [
        Finding(topic, "100 steps, median start", published, f"{middle:.3f}", f"{low:.3f} to {high:.3f}",
                f"95 % of {count} starts", agrees, source, note_of(stored, label) if agrees is False else ""),
        one("100 steps, best start", errors.min()),
        one("100 steps, start of least training error", errors[scores.by_training]),
        one("100 steps, start that is best at the last 100 training values", errors[scores.by_rehearsal]),
        share_row(topic, f"starts below the runner-up's {RUNNER_UP}", int((errors < RUNNER_UP).sum()), count),
        share_row(topic, f"starts below the winner's {WINNER}", int((errors < WINNER).sum()), count),
        share_row(topic, "starts that see the collapse", int(seen(stored, scores).sum()), count),
        Finding(topic, "one step, median start", "", f"{median:.4f}", f"{first:.4f} to {third:.4f}",
                "half of the starts", None),
    ]  # fmt: skip


def share_row(topic: str, quantity: str, successes: int, runs: int) -> Finding:
    """A share with its 95 % interval.

    Args:
        topic: heading.
        quantity: what the starts have in common.
        successes: of them.
        runs: all.
    """
    low, high = wilson(successes, runs)
    interval = f"{100 * low:.0f} to {100 * high:.0f} %"
    return Finding(topic, quantity, "", f"{successes} of {runs}", interval, "95 % interval", None)
