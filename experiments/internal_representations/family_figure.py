"""The weights of the six person units as in Nature 1986, figure 4, and how many held-out examples are right."""

import numpy as np

import bpjax as bp
from bpjax.results import plots
from experiments.internal_representations.family_rows import CODES, codes, person_units
from experiments.internal_representations.problem import Sweeps


def chosen_network(held_out: np.ndarray, ratios: dict[str, np.ndarray]) -> int:
    """The network that is drawn: of those with most held-out examples right, the one with the clearest codes.

    Args:
        held_out: (runs,) of 4.
        ratios: {attribute: η² (runs, units)}.
    """
    clearest = np.min([ratio.max(axis=-1) for ratio in ratios.values()], axis=0)
    return int(np.lexsort((clearest, held_out))[-1])


def title_of(unit: int, ratios: dict[str, np.ndarray]) -> str:
    """What a unit codes, if anything.

    Args:
        unit: its number, from 0.
        ratios: {attribute: η² (units,)} of one network.
    """
    names = [f"{name} ({100 * ratio[unit]:.0f} %)" for name, ratio in ratios.items() if ratio[unit] >= CODES]
    return f"unit {unit + 1}: " + (", ".join(names) or "none of the three")


def draw(sweeps: Sweeps, figure) -> None:
    """Hinton diagrams of the weights from the people, and the distribution of held-out examples right."""
    best = sweeps["best"]
    held_out = best.held_out.values.ravel()
    w, b = (best[name].values[0, 0, 0] for name in ("w", "b"))
    ratios = codes(person_units(w, b))
    shown = chosen_network(held_out, ratios)
    left, right = figure.subfigures(1, 2, width_ratios=(3.4, 1))
    axes = left.subplots(3, 2)
    for unit, axis in enumerate(axes.T.ravel()):
        rows = w[shown][:, unit].reshape(2, 12)
        plots.hinton(axis, rows, np.abs(w[shown]).max(), ("English", "Italian"))
        axis.set_title(title_of(unit, {name: ratio[shown] for name, ratio in ratios.items()}), fontsize=9)
        axis.tick_params(labelsize=8)
    people = bp.tasks.PEOPLE
    for top, bottom in zip(axes[0], axes[-1], strict=True):
        for axis, names, place in ((top, people[:12], "top"), (bottom, people[12:], "bottom")):
            side = "left" if place == "top" else "right"
            axis.set_xticks(range(12), names, rotation=60, fontsize=7.5, ha=side, rotation_mode="anchor")
            axis.xaxis.set_ticks_position(place)
    left.suptitle(
        "Weights from the people to six hidden units of one network (blue filled +, red hollow −)\n"
        "in brackets: the share of the unit's variance that the attribute explains",
        fontsize=10,
    )
    axis = right.subplots()
    shares = 100 * np.bincount(held_out, minlength=5) / len(held_out)
    axis.bar(range(5), shares, color=plots.BLUE, label=f"{len(held_out)} networks, mean {held_out.mean():.2f}")
    top = 1.15 * shares.max()
    for place, label, colour in (
        (1.9, "a re-run: mean 1.9", plots.ORANGE),
        (2, "CogSci 1986: one run, 2", plots.RED),
        (4, "Nature 1986: one run, 4", plots.GREEN),
    ):
        axis.plot([place], [top], "v", color=colour, label=label, markersize=8, clip_on=False)
    axis.set(xlabel="held-out examples right", ylabel="% of networks", xticks=range(5), ylim=(0, 1.22 * shares.max()))
    axis.set_title("Generalization, of 4", fontsize=10)
    plots.legend_below(axis, 1)
