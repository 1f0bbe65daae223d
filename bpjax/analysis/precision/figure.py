"""The errors of a network by depth, drawn."""

import numpy as np

from bpjax.results.plots.colours import BLUE, GREEN, GREY, ORANGE
from bpjax.util.extras import require_extra

COLOURS = {"float32": BLUE, "tf32": GREY, "bfloat16": ORANGE, "float16": GREEN}
PANELS = (("output", "output y"), ("error_signal", "error at the input ∂E/∂x"), ("gradient", "gradient ∂E/∂w"))


def precision_figure(found, axes=None):
    """One panel each for outputs, error signals and gradients: the relative error by layer, one line a format.

    Args:
        found: a `Precision`.
        axes: three Matplotlib axes; made if None.
    """
    with require_extra("Figures are drawn by Matplotlib"):
        import matplotlib.pyplot as plt
    if axes is None:
        _, axes = plt.subplots(1, 3, figsize=(7.2, 2.6), sharey=True, layout="constrained")
    for axis, (name, title) in zip(axes, PANELS, strict=True):
        for form, measured in found.formats.items():
            errors = np.array([getattr(layer, name).error for layer in measured.layers])
            there = np.flatnonzero(np.isfinite(errors) & (errors > 0))
            axis.plot(there, errors[there], ".-", color=COLOURS[form], label=form)
        axis.set(title=title, xlabel="layer", yscale="log")
    axes[0].set_ylabel("relative error against float64")
    axes[-1].legend(fontsize=7.5, frameon=False)
    return axes[0].figure
