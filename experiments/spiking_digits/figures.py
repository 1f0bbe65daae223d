"""The figure: accuracy of every kind of network, rates of deep networks by layer, angles to the exact gradient."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.layout_engine import ConstrainedLayoutEngine

from bpjax.results.plots.colours import BLUE, GREY, VARIANT
from bpjax.results.statistics import student
from experiments.spiking_digits.exact import Angle
from experiments.spiking_digits.networks import Variant
from experiments.spiking_digits.training import Trained

SPACED = ConstrainedLayoutEngine(w_pad=0.12)


def draw(variants: tuple[Variant, ...], trained: list[Trained], silence: dict[float, np.ndarray], angles: list[Angle]):
    """Three panels."""
    figure, axes = plt.subplots(1, 3, figsize=(14, 4.6), layout=SPACED, width_ratios=(1.25, 1, 1.1))
    accuracies(axes[0], variants, trained)
    deep(axes[1], silence)
    directions(axes[2], angles)
    return figure


def accuracies(axis, variants, trained) -> None:
    """One line for each kind of network: its starts, and the mean with its 95 % interval."""
    places = np.arange(len(variants))[::-1]
    for place, found in zip(places, trained, strict=True):
        mean, low, high = (float(v) for v in student(100 * found.accuracy))
        axis.plot(100 * found.accuracy, np.full(len(found.accuracy), place), "o", color=GREY, ms=3, alpha=0.7)
        axis.errorbar(mean, place, xerr=[[mean - low], [high - mean]], fmt="s", color=BLUE, ms=5, capsize=3)
    axis.set_yticks(places, [variant.name for variant in variants])
    for n in range(1, len(variants)):
        if variants[n].group != variants[n - 1].group:
            axis.axhline(places[n] + 0.5, color=GREY, lw=0.6)
    axis.set(
        xlabel="test digits right, % (dots: starts; bars: 95 % of the mean)",
        title="Six surrogates, six resets, two codes",
    )


def deep(axis, silence) -> None:
    """The rate of each layer of an untrained network, for each size of the weights."""
    gains = list(silence)
    for n, gain in enumerate(gains):
        rates = 100 * np.maximum(silence[gain], 1e-5)
        shade = plt.get_cmap("viridis")(n / max(len(gains) - 1, 1) * 0.85)
        axis.semilogy(np.arange(1, len(rates) + 1), rates, "o-", color=shade, label=f"{gain:g} / √D")
    axis.axhline(0.01, color=GREY, ls=":", lw=1)
    axis.text(len(silence[gains[-1]]), 0.012, "silent below", ha="right", color=GREY, fontsize=8)
    axis.legend(title="initial weights", fontsize=8)
    axis.set(xlabel="layer", ylabel="spikes a unit in 100 steps", title="Small weights silence deep networks")


def directions(axis, angles) -> None:
    """Median and quartiles of the cosine with the exact gradient."""
    places = np.arange(len(angles))[::-1]
    series = (("one layer", "one_layer", BLUE, 0.15), ("two layers", "two_layers", VARIANT, 0.0),
              ("one layer, E = Σ −t", "late", GREY, -0.15))  # fmt: skip
    for label, field, colour, shift in series:
        low, middle, high = np.array([np.quantile(getattr(a, field), [0.25, 0.5, 0.75]) for a in angles]).T
        axis.errorbar(
            middle, places + shift, xerr=[middle - low, high - middle], fmt="o", color=colour, ms=4, label=label
        )
    axis.axvline(0, color=GREY, lw=0.6)
    axis.set_yticks(places, [a.surrogate for a in angles])
    axis.set(xlim=(-1.05, 1.05), xlabel="median and quartiles over networks", title="Cosine with the exact gradient")
    axis.legend(fontsize=8, loc="center", frameon=False)
