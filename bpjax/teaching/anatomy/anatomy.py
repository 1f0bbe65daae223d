"""`bp.anatomy`: what each example of a batch does to a network."""

from typing import NamedTuple

import jax
import numpy as np

from bpjax.analysis.units import SATURATED, PlacedActivation, UnitStates, placed_activations
from bpjax.layers.layer import Layer
from bpjax.losses import Loss
from bpjax.rules.backprop import backprop
from bpjax.rules.rule import check_batch, check_made_of
from bpjax.teaching.anatomy.findings import findings_of
from bpjax.teaching.anatomy.measure import measure, weight_names
from bpjax.types import Batch, Params
from bpjax.util.checks import check_count, check_number
from bpjax.util.text_table import table


class Anatomy(NamedTuple):
    """A batch, example by example; `print` shows a table and what is remarkable, `plot` draws one figure."""

    error: np.ndarray
    """(N,) E of each example by itself."""
    gradient_norm: np.ndarray
    """(N,) ‖∂E/∂w‖ of each example by itself."""
    angle: np.ndarray
    """(N,) degrees between the gradient of the example and that of the batch; NaN where either is 0."""
    activations: tuple[PlacedActivation, ...]
    """The elementwise activations of the network."""
    states: tuple[UnitStates, ...]
    """Which units are dead or saturated, for each activation (N, ..., H)."""
    batch_error: float
    """E of the batch."""
    batch_norm: float
    """‖∂E/∂w‖ of the batch."""
    opposed: tuple[str, ...]
    """The M weights that examples pull apart most: "w[1, 2] of layer 1", counted from 1."""
    pulls: np.ndarray
    """(N, M) −∂E/∂w of each example for these weights: positive where the example wants a larger weight."""
    cancelled: np.ndarray
    """(M,) the share of the pull that cancels, 1 − |Σ ∂E/∂w| / Σ |∂E/∂w|."""

    @property
    def findings(self) -> tuple[str, ...]:
        """A sentence for everything that is remarkable."""
        return findings_of(self)

    def table(self, rows: int = 20) -> str:
        """The examples as text; of more than `rows` those with the largest gradients."""
        chosen = np.arange(len(self.error))
        title = f"{len(chosen)} examples: error {self.batch_error:.4g}, norm of the gradient {self.batch_norm:.4g}"
        if len(chosen) > rows:
            chosen = np.sort(np.argsort(-self.gradient_norm, kind="stable")[:rows])
            title += f"; the {rows} examples with the largest gradients"
        header = ("example", "error", "gradient", "angle", "dead units", "saturated units")
        lines = table(header, [self._row(n) for n in map(int, chosen)])
        return "\n".join(
            [title, "Units are named layer.unit; angle: to the gradient of the batch.", "", *lines]
        ).rstrip()

    def _row(self, n: int) -> tuple[str, ...]:
        angle = "" if np.isnan(self.angle[n]) else f"{self.angle[n]:.0f}°"
        numbers = str(n + 1), f"{self.error[n]:.4g}", f"{self.gradient_norm[n]:.4g}", angle
        return (*numbers, self._units("dead", n), self._units("saturated", n))

    def _units(self, state: str, n: int) -> str:
        names = []
        for place, states in zip(self.activations, self.states, strict=True):
            values = getattr(states, state)[n]
            units = np.flatnonzero(values.reshape(-1, values.shape[-1]).all(axis=0))
            names += [f"{place.number}.{unit + 1}" for unit in units]
        return " ".join(names) if len(names) <= 4 else f"{' '.join(names[:3])} and {len(names) - 3} more"

    def plot(self):
        """One figure: gradients and angles, states of the units, weights that are pulled apart.

        Raises:
            ModuleNotFoundError: Matplotlib is not installed.
        """
        from bpjax.teaching.anatomy.figure import figure

        return figure(self)

    def __str__(self) -> str:
        return "\n\n".join([self.table(), "\n".join(f"- {finding}." for finding in self.findings)]).strip() + "\n"

    def __repr__(self) -> str:
        return f"<anatomy of {len(self.error)} examples, error {self.batch_error:.4g}>"


def anatomy(
    network: Layer, loss: Loss, params: Params, batch: Batch, fraction: float = SATURATED, weights: int = 12
) -> Anatomy:
    """What each example of a batch does: its error, its gradient, the units that pass no error, the weights it pulls.

    All examples are computed in one compiled program, each by itself as a batch of one; the angle is to the gradient of
    the whole batch. The gradients of all examples are in memory at once, N times the size of the params.

    Args:
        network: a network.
        loss: E.
        params: of the network.
        batch: (x (N, ...), target (N, ...)).
        fraction: of the maximum of |φ′|, below which a unit is saturated; see `bpjax.analysis.unit_states`.
        weights: how many of the weights that examples pull in opposite directions are listed.

    Raises:
        ValueError: `network` is not a Layer, `loss` not a Loss, params or batch do not fit them, `fraction` is not
            between 0 and 1.
    """
    check_made_of("anatomy", network, loss)
    check_number("anatomy", "fraction", fraction, above=0.0, most=1.0)
    weights = check_count("anatomy", "weights", weights)
    x, target = check_batch("anatomy", backprop(network, loss), params, batch)
    if not jax.tree.leaves(params):
        raise ValueError(f"`anatomy` expected a network with weights, got {network!r}, which has none.")
    found = jax.tree.map(np.asarray, measure(network, loss, params, (x, target), fraction, weights))
    apart = ((found.pulls > 0).any(axis=0) & (found.pulls < 0).any(axis=0)) & (found.cancelled > 1e-6)
    return Anatomy(
        error=found.error,
        gradient_norm=found.gradient_norm,
        angle=found.angle,
        activations=placed_activations(network, params),
        states=found.states,
        batch_error=float(found.batch_error),
        batch_norm=float(found.batch_norm),
        opposed=weight_names(network, params, found.opposed[apart]),
        pulls=found.pulls[:, apart],
        cancelled=found.cancelled[apart],
    )
