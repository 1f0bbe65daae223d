"""The tables of the experiment, within 80 columns, and their rows."""

import numpy as np

from bpjax.results.statistics import student
from experiments.common.command import add_heading, bare_table
from experiments.spiking_digits.exact import Angle
from experiments.spiking_digits.networks import Variant
from experiments.spiking_digits.training import Trained, sentence


def rows(variants: tuple[Variant, ...], trained: list[Trained]) -> list[dict]:
    """One row for each kind of network and start."""
    return [
        {
            "group": variant.group,
            "name": variant.name,
            "start": start,
            "accuracy": float(found.accuracy[start]),
            **{f"rate_{layer + 1}": float(rate) for layer, rate in enumerate(found.rates[start])},
            **{f"silent_{layer + 1}": float(share) for layer, share in enumerate(found.silent[start])},
        }
        for variant, found in zip(variants, trained, strict=True)
        for start in range(len(found.accuracy))
    ]


def accuracy_table(variants: tuple[Variant, ...], trained: list[Trained]):
    """Accuracy with its 95 % interval over starts, and how often the units of each layer fire."""
    layers = trained[0].rates.shape[1]
    table = bare_table("Test digits classified correctly; spikes a unit in 100 steps of layer 1, 2")
    table.add_column("network", min_width=24, no_wrap=True)
    for column in ("right, %", "95 %", *(str(n + 1) for n in range(layers)), "before", "silent"):
        table.add_column(column, justify="right")
    group = ""
    for variant, found in zip(variants, trained, strict=True):
        if variant.group != group:
            group = variant.group
            add_heading(table, group)
        mean, low, high = student(100 * found.accuracy)
        rates = [f"{100 * rate:.1f}" for rate in found.rates.mean(axis=0)]
        before = " ".join(f"{100 * rate:.0f}" for rate in found.rates_before.mean(axis=0))
        table.add_row(
            variant.name, f"{mean:.1f}", f"{low:.1f}–{min(high, 100):.1f}", *rates, before,
            f"{100 * found.silent.mean():.0f} %",
        )  # fmt: skip
    return table


def silence_rows(silence: dict[float, np.ndarray]) -> list[dict]:
    """One row for each gain and layer."""
    return [
        {"gain": gain, "layer": layer + 1, "rate": float(rate)}
        for gain, rates in silence.items()
        for layer, rate in enumerate(rates)
    ]


def silence_table(silence: dict[float, np.ndarray]):
    """Rates of an untrained deep network by the size of its weights."""
    depth = len(next(iter(silence.values())))
    table = bare_table("An untrained deep network: spikes a unit in 100 steps, by layer")
    table.add_column("weights × √D", justify="right")
    for layer in range(depth):
        table.add_column(str(layer + 1), justify="right")
    for gain, rates in silence.items():
        table.add_row(f"{gain:g}", *(f"{100 * rate:.2f}" for rate in rates))
    return table


def silent_sentences(silence: dict[float, np.ndarray]) -> list[str]:
    """What is silent, in words."""
    return [f"Weights of {gain:g}/√D: {said}" for gain, rates in silence.items() if (said := sentence(rates))]


def angle_rows(angles: list[Angle]) -> list[dict]:
    """One row for each surrogate and network."""
    names = ("one_layer", "two_layers", "late")
    return [
        {"surrogate": angle.surrogate, "network": n, **{name: float(getattr(angle, name)[n]) for name in names}}
        for angle in angles
        for n in range(len(angle.one_layer))
    ]


def angle_table(angles: list[Angle], differences: np.ndarray):
    """Cosines between surrogate gradients and the exact derivative of the spike times."""
    table = bare_table(
        "Cosine × 100 of surrogate gradients with the exact one: median (quartiles)",
        caption=(
            f"Exact gradients against central differences of the spike times: at most {differences.max():.0e} apart, "
            f"in {len(differences)} networks."
        ),
    )
    table.add_column("surrogate", min_width=20)
    for column in ("one layer", "two layers", "one, Σ −t"):
        table.add_column(column, justify="right")
    for angle in angles:
        table.add_row(angle.surrogate, *(_quartiles(values) for values in angle[1:]))
    return table


def _quartiles(values: np.ndarray) -> str:
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
    return f"{100 * middle:.0f} ({100 * low:.0f}, {100 * high:.0f})"
