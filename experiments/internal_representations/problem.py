"""The record of a problem: how it is run, what is compared with the literature, how it is drawn."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import xarray as xr

from bpjax.types import Key
from experiments.common.findings import Finding

PDP = "PDP"
"""Source: Rumelhart, Hinton & Williams 1986, chapter 8 of Parallel Distributed Processing, volume 1."""
NATURE = "Nature 1986"
"""Source: Rumelhart, Hinton & Williams 1986, Nature 323, 533-536."""
RERUN = "re-run"
"""Source: public re-runs of these problems (hinton-problems), with 30 to 50 starts each."""

Sweeps = Mapping[str, xr.Dataset]
"""Results of a problem by the name of the network or setting; each is stored as a Zarr."""


class Say(Protocol):
    """Shows what is being done beside the progress bar."""

    def __call__(self, doing: str, /) -> None:
        """Show `doing`."""
        ...


class RunProblem(Protocol):
    """Trains the networks of a problem."""

    def __call__(self, config: Any, key: Key, say: Say, /) -> Sweeps:
        """The sweeps; `config.starts(most)` says from how many initial weights to train."""
        ...


class FindingsOf(Protocol):
    """Compares stored sweeps with what was published."""

    def __call__(self, sweeps: Sweeps, /) -> Sequence[Finding]:
        """The rows of the table."""
        ...


class DrawProblem(Protocol):
    """Draws stored sweeps."""

    def __call__(self, sweeps: Sweeps, figure: Any, /) -> None:
        """Draw into a Matplotlib `SubFigure` of the full width and of the problem's `height`."""
        ...


class Problem(NamedTuple):
    """One problem of the papers of 1986."""

    name: str
    run: RunProblem
    findings: FindingsOf
    draw: DrawProblem | None = None
    figure: str = "internal_representations"  # name of the PNG; problems with the same name stand below each other
    height: float = 3.0  # of its part of the figure, in inches; the width is `WIDTH`


WIDTH = 11.0
"""Of every figure, in inches."""
