"""The numbers of the figures as CSV, and the sentence on the oscillation."""

from pathlib import Path

import numpy as np
import xarray as xr

from bpjax.results import plots
from experiments.common.stored import write_rows
from experiments.learning_rate.problems import FIXED
from experiments.learning_rate.rows import KINDS, kinds, rows_of
from experiments.learning_rate.steep import NETWORK


def write_numbers(
    folder: Path, results: list[xr.Dataset], oscillations: list[xr.Dataset], edges: list[xr.Dataset]
) -> None:
    """Write the numbers of every figure as CSV.

    Args:
        folder: to write into.
        results: of the sweeps.
        oscillations: of `steep.oscillation`.
        edges: of `steep.edge`.
    """
    write_rows(folder / "learning_rate.csv", [row for result in results for row in rows_of(result)])
    columns: dict[str, list] = {name: [] for name in ("problem", "learning_rate", "seed", "outcome", "epochs", "limit")}
    for result in results:
        if result.attrs["rule"] == FIXED:
            for (i, j), kind in np.ndenumerate(kinds(result)):
                cell = result.attrs["name"], result.learning_rate.values[i], result.seed.values[j], KINDS[kind]
                numbers = int(result.epochs[i, j]), float(result.limit[j])
                for column, value in zip(columns.values(), (*cell, *numbers), strict=True):
                    column.append(value)
    plots.write_csv(folder / "learning_rate_map.csv", columns)
    for name, group in (("oscillation", oscillations), ("edge", edges)):
        frames = [r.to_dataframe().reset_index().assign(of=r.attrs.get("problem", r.attrs.get("title"))) for r in group]
        together = {c: np.concatenate([f[c].to_numpy() for f in frames]) for c in frames[0].columns}
        plots.write_csv(folder / f"learning_rate_{name}.csv", together)


def oscillation_sentence(result: xr.Dataset) -> str:
    """How far the oscillation is from the closed form, below and above the limit."""
    gap = np.abs(result.coordinate - result.predicted) / np.maximum(1, np.abs(result.predicted))
    below = float(gap.where(result.over_limit < 1, drop=True).max())
    words = f"{result.attrs['problem']}: λ = {result.attrs['curvature']:.4g}. "
    if result.attrs["problem"] != NETWORK:
        return words + f"c(t) follows (1 − ηλ)ᵗ to {float(gap.max()):.1e}, below and above the limit."
    last = np.abs(result.coordinate.isel(over_limit=-1).values[-2:]).mean()
    predicted = np.abs(result.predicted.isel(over_limit=-1).values[-1])
    words += f"Below the limit c(t)/c(0) is within {below:.2g} of (1 − ηλ)ᵗ; at ηλ = "
    words += (
        f"{2 * result.over_limit.values[-1]:.3g}, after {result.sizes['epoch'] - 1} epochs, the quadratic predicts "
    )
    return words + f"an amplitude of {predicted:.3g} and the network has one of {last:.3g}."
