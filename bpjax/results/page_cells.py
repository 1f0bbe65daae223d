"""The quantities that the map of a sweep's page shows, cell by cell, with their intervals."""

import numpy as np

from bpjax.results.page_frame import packed
from bpjax.results.statistics import epochs_or_never, median_interval, quantiles_with_failures, wilson

MOST_INTERVALS = 20_000
"""Cells for which the page has intervals."""


def maps(runs: dict, error_units: str | None) -> list[dict]:
    """The quantities that the map can show, per cell; failures count as ∞."""
    solved, diverged = runs["solved"].astype(bool), runs["diverged"].astype(bool)
    times = epochs_or_never(solved, runs["epochs"])
    error = np.where(np.isnan(runs["error"]), np.inf, runs["error"])
    shown = {
        "solved": ("runs that solved the task", "% of runs", 100 * solved.mean(axis=-1)),
        "epochs": ("median epochs to the goal", "epochs", quantiles_with_failures(times, 0.5)),
        "diverged": ("runs that diverged", "% of runs", 100 * diverged.mean(axis=-1)),
        "error": ("median final error", error_units or "error", quantiles_with_failures(error, 0.5)),
    }
    absent = (runs["reason"] < 0).all(axis=-1)  # not trained: missing, or not applicable
    shown = {name: (title, units, np.where(absent, np.nan, values)) for name, (title, units, values) in shown.items()}
    never = "never" if solved.shape[-1] == 1 else "never, in more than half of the runs"
    settled = diverged.mean(axis=-1) <= 0.5  # diverged cells must not stretch the colour scale
    intervals = intervals_of({"solved": solved, "epochs": times, "diverged": diverged, "error": error})
    return [
        {
            "name": name,
            "title": title,
            "units": units,
            "log": name in ("epochs", "error") and bool((np.isfinite(values) & (values > 0)).any()),
            "infinite": never if name == "epochs" else "not finite",
            "limits": [0, 100] if units == "% of runs" else colour_limits(values, settled),
            "values": packed(values, "f4"),
            **{end: packed(ends, "f4") for end, ends in zip(("low", "high"), intervals.get(name, ()), strict=False)},
        }
        for name, (title, units, values) in shown.items()
    ]


def intervals_of(runs: dict) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The ends of the 95 % interval of each quantity and cell: Wilson's of shares in %, that of order statistics else.

    Args:
        runs: {quantity: (…, runs)}, booleans or numbers.
    """
    found = {}
    for name, values in runs.items():
        if values[..., 0].size > MOST_INTERVALS:
            continue
        if values.dtype == bool:
            low, high = wilson(values.sum(axis=-1), values.shape[-1])
            found[name] = 100 * np.asarray(low), 100 * np.asarray(high)
        else:
            ends = np.array([median_interval(own)[1:] for own in values.reshape(-1, values.shape[-1])])
            found[name] = tuple(ends.T.reshape(2, *values.shape[:-1]))
    return found


def fastest_sentence(runs: dict, axes: tuple[dict, dict], sampled: bool) -> str:
    """The setting with the fewest median epochs, with its interval."""
    times = epochs_or_never(runs["solved"].astype(bool), runs["epochs"])
    medians = quantiles_with_failures(times, 0.5)
    if not np.isfinite(medians).any():
        return "In no setting do half of the runs reach the goal."
    best = np.unravel_index(int(np.argmin(medians)), medians.shape)
    value, low, high = median_interval(times[best])
    places = (best[0], best[0]) if sampled else (best[1], best[0])
    names = [axis["words"][i] if "words" in axis else f"{axis['label']} {axis['values'][i]:.3g}"
             for axis, i in zip(axes, places, strict=True)]  # fmt: skip
    interval = (
        "" if np.isnan(low) else f", 95 % interval {low:,.0f} to " + (f"{high:,.0f}" if np.isfinite(high) else "∞")
    )
    return f"Fastest at {', '.join(names)}: {value:,.0f} epochs (median{interval})."


def colour_limits(values: np.ndarray, settled: np.ndarray) -> list[float]:
    """The smallest and largest positive finite values, of settled cells if there are any."""
    usable = np.isfinite(values) & (values > 0)
    chosen = values[usable & settled] if (usable & settled).any() else values[usable]
    return [float(chosen.min()), float(chosen.max())] if chosen.size else [0.0, 1.0]
