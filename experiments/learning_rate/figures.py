"""The figures and pages of the learning-rate experiment, all drawn from stored results."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.colors import ListedColormap
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, LogLocator

from bpjax.results import plots
from bpjax.results.page import sweep_page
from experiments.common.stored import write_rows
from experiments.learning_rate.problems import BOLD, DELTA, FIXED
from experiments.learning_rate.rows import DIVERGED, KINDS, SLOW, SOLVED, STUCK, kinds, rows_of
from experiments.learning_rate.steep import NETWORK

COLOURS = {SLOW: "#DDDDDD", STUCK: plots.ORANGE, DIVERGED: plots.RED}
RULE_STYLES = {FIXED: (plots.BLUE, "o"), BOLD: (plots.ORANGE, "s"), DELTA: (plots.GREEN, "D")}
FAST = ListedColormap(plt.get_cmap("Blues_r")(np.linspace(0.0, 0.72, 256)))


def main_figure(results: list[xr.Dataset]):
    """For each problem, a map of learning rate × start; below it, the epochs by rate, fixed and variable."""
    fixed = [result for result in results if result.attrs["rule"] == FIXED]
    figure, axes = plt.subplots(2, len(fixed), figsize=(3.4 * len(fixed), 7.2), layout="constrained", squeeze=False)
    for (upper, lower), result in zip(axes.T, fixed, strict=True):
        mesh = convergence_map(upper, result)
        bar = figure.colorbar(mesh, ax=upper, pad=0.02, aspect=30)
        bar.set_label("epochs to the goal" if result is fixed[-1] else "")
        plain_numbers(bar.ax)
        upper.set_title(result.attrs["problem"])
        for other in results:
            if other.attrs["name"] == result.attrs["name"]:
                mean_epochs(lower, other)
        plots.classical_limit(lower, result.limit.values)
        lower.axhline(result.attrs["epoch_limit"], color=plots.GREY, linewidth=0.8, linestyle=":", label="epoch limit")
        lower.set(xscale="log", yscale="log", xlim=upper.get_xlim(), xlabel="learning rate η (at the start)")
        plain_numbers(lower)
    axes[0, 0].set_ylabel("initial weights, largest curvature below")
    axes[1, 0].set_ylabel("mean epochs (failure = limit)")
    patches = [Patch(facecolor=FAST(0.2), label="solved")]
    patches += [Patch(facecolor=colour, label=KINDS[kind]) for kind, colour in COLOURS.items()]
    handles, labels = axes[1, 0].get_legend_handles_labels()
    line = axes[0, 0].get_legend_handles_labels()
    handles, labels = [*patches, *line[0], *handles], [*(p.get_label() for p in patches), *line[1], *labels]
    figure.legend(handles, labels, loc="outside lower center", ncols=5, frameon=False)
    return figure


def plain_numbers(axis) -> None:
    """Label a logarithmic y axis with 500 and 2,000 instead of powers of ten."""
    for which, subs in (("major", (1.0,)), ("minor", (2.0, 5.0))):
        getattr(axis.yaxis, f"set_{which}_locator")(LogLocator(subs=subs))
        getattr(axis.yaxis, f"set_{which}_formatter")(FuncFormatter(lambda number, _: f"{number:,.10g}"))


def convergence_map(axis, result: xr.Dataset):
    """The outcome of every run by rate and start, the starts sorted by 2/λ_max. Returns the mesh of epochs."""
    order = np.argsort(result.limit.values)
    kind = kinds(result)[:, order].T
    epochs = np.where(kind == SOLVED, result.epochs.transpose("seed", "learning_rate").values[order], np.nan)
    rates, starts = result.learning_rate.values, np.arange(len(order))
    edges = plots.cell_edges(rates), np.arange(len(order) + 1) - 0.5
    for which, colour in COLOURS.items():
        cells = np.ma.masked_where(kind != which, np.ones(kind.shape))
        axis.pcolormesh(*edges, cells, cmap=ListedColormap([colour]), rasterized=True)
    mesh = axis.pcolormesh(*edges, np.ma.masked_invalid(epochs), cmap=FAST, norm="log", rasterized=True)
    if not np.isfinite(epochs).any():
        mesh.set_clim(1, result.attrs["epoch_limit"])
    axis.set(xscale="log", xlim=edges[0][[0, -1]], ylim=edges[1][[0, -1]])
    plots.theory_line(axis, result.limit.values[order], starts, r"$2/\lambda_{\max}$ of each start", style="-")
    axis.set_yticks([])
    return mesh


def mean_epochs(axis, result: xr.Dataset) -> None:
    """Mean epochs to the goal by rate ± two standard errors; a failure counts as the epoch limit."""
    colour, marker = RULE_STYLES[result.attrs["rule"]]
    capped = np.where(result.solved, result.epochs, result.attrs["epoch_limit"])
    mean = capped.mean(axis=1)
    error = 2 * capped.std(axis=1, ddof=1) / np.sqrt(capped.shape[1]) if capped.shape[1] > 1 else np.zeros_like(mean)
    bars = np.minimum(error, 0.9 * mean)
    rates = result.learning_rate.values
    axis.errorbar(rates, mean, yerr=bars, color=colour, marker=marker, markersize=4, label=result.attrs["rule"])


def rule_figure(results: list[xr.Dataset]):
    """Runs solved and median epochs by the initial learning rate, fixed and variable."""
    names = list(dict.fromkeys(result.attrs["name"] for result in results))
    figure, axes = plt.subplots(2, len(names), figsize=(3.4 * len(names), 6.4), layout="constrained", squeeze=False)
    for (upper, lower), name in zip(axes.T, names, strict=True):
        own = [result for result in results if result.attrs["name"] == name]
        for result in own:
            colour, marker = RULE_STYLES[result.attrs["rule"]]
            rows = rows_of(result)
            rates, share = [row.learning_rate for row in rows], [row.solved / row.runs for row in rows]
            low, high = [row.low for row in rows], [row.high for row in rows]
            plots.proportion(upper, rates, share, low, high, colour, result.attrs["rule"], marker)
            times = np.where(result.solved, result.epochs, np.inf)
            plots.epochs_to_goal(lower, rates, times, colour, result.attrs["rule"])
        title = f"{own[0].attrs['problem']}, {own[0].sizes['seed']} starts"
        upper.set(title=title, ylim=(-5, 105))
        lower.set(yscale="log", xlabel="learning rate η (at the start)")
        plain_numbers(lower)
        for axis in (upper, lower):
            axis.set(xscale="log", xlim=plots.cell_edges(own[0].learning_rate.values)[[0, -1]])
            plots.classical_limit(axis, own[0].limit.values)
    axes[0, 0].set_ylabel("runs solved (%), 95 % Wilson interval")
    axes[1, 0].set_ylabel("median epochs, quartiles\n(failures count as ∞)")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
    return figure


def oscillation_figure(results: list[xr.Dataset]):
    """The coordinate along the direction of largest curvature, a column for each rate."""
    columns = results[0].sizes["over_limit"]
    shape = {"figsize": (3.4 * columns, 3.0 * len(results) + 0.5), "layout": "constrained", "squeeze": False}
    figure, axes = plt.subplots(len(results), columns, **shape)
    for row, result in zip(axes, results, strict=True):
        for axis, over in zip(row, result.over_limit.values, strict=True):
            at = result.sel(over_limit=over)
            shown = np.abs(at.predicted.values) < 4
            coordinate, predicted = at.coordinate.values, np.where(shown, at.predicted.values, np.nan)
            plots.alternating(
                axis, coordinate, plots.BLUE, "gradient descent (open: other side of the minimum)", predicted
            )
            reach = 1.08 * max(1.0, np.nanmax(np.abs(coordinate)), np.nanmax(np.abs(predicted)))
            axis.set(ylim=(-reach, reach))
            axis.set_title(f"{result.attrs['problem']}\nη = {2 * over:.3g}/λ", fontsize=10)
        row[0].set_ylabel("c(t)/c(0), distance along v")
    for axis in axes[-1]:
        axis.set_xlabel("epoch t")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    labels = ["(1 − ηλ)ᵗ, exact for a quadratic" if label == "theory" else label for label in labels]
    figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False)
    return figure


def edge_figure(results: list[xr.Dataset]):
    """Sharpness during training against 2/η, and the error; a column for each loss."""
    shape = {"figsize": (5.6 * len(results), 7.0), "layout": "constrained", "squeeze": False}
    figure, axes = plt.subplots(2, len(results), **shape)
    palette = (plots.GREEN, plots.BLUE, plots.PURPLE, plots.ORANGE, plots.RED, plots.GREY)
    for (upper, lower), result in zip(axes.T, results, strict=True):
        epochs = result.epoch.values
        for i, rate in enumerate(result.learning_rate.values):
            colour, at = palette[i % len(palette)], result.sel(learning_rate=rate)
            for j, seed in enumerate(result.seed.values):
                label = f"η = {rate:.3g}, 2/η = {2 / rate:.3g}" if j == 0 else "_"
                plots.sharpness(upper, epochs, at.sharpness.sel(seed=seed), 2 / rate, colour, label, "")
                lower.plot(epochs, at.error.sel(seed=seed), color=colour, linewidth=1.0)
        peak = np.nanmax(result.sharpness.values, initial=1.0, where=np.isfinite(result.sharpness.values))
        upper.set(ylim=(0, 1.35 * peak), title=f"digits, {result.attrs['title']}", xlabel="epoch")
        upper.set_ylabel(r"sharpness $\lambda_{\max}$ (dashed: $2/\eta$)")
        lower.set(yscale="log", xlabel="epoch", ylabel="mean error per example")
        plain_numbers(lower)
        upper.legend(fontsize=8, loc="upper right", ncols=2, frameon=False)
    return figure


def pages(folder: Path, results: list[xr.Dataset]) -> None:
    """A page for each problem: learning rate × start, the starts sorted by 2/λ_max, with the line of 2/λ_max."""
    for result in results:
        if result.attrs["rule"] == FIXED:
            ordered = result.sortby("limit")
            places = np.arange(ordered.sizes["seed"])
            ordered = ordered.assign_coords(
                seed=("seed", places, {"long_name": "initial weights, largest curvature first"})
            )
            lines = {"2/λ_max at the start": (ordered.limit.values, places)}
            sweep_page(ordered, folder / f"learning_rate_{result.attrs['name']}.html", y="seed", lines=lines)


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
