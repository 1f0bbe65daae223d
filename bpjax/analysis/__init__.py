"""Look inside a training: signals, alignment, curvature, cost."""

from bpjax.analysis.alignment import Alignment, alignment, recording
from bpjax.analysis.curvature import (
    extreme_curvatures,
    hessian_vector_product,
    largest_curvature,
    share_along,
    steepest_direction,
)
from bpjax.analysis.preconditioned import adaptive_limit, preconditioned_curvature, preconditioner_of
from bpjax.analysis.signals import LayerSignals, Signals, SignalsAndChange, signals
from bpjax.analysis.units import UnitStates, unit_states
from bpjax.analysis.weight_change import WeightChange

__all__ = [
    "Alignment",
    "LayerSignals",
    "Signals",
    "SignalsAndChange",
    "UnitStates",
    "WeightChange",
    "adaptive_limit",
    "alignment",
    "extreme_curvatures",
    "hessian_vector_product",
    "largest_curvature",
    "preconditioned_curvature",
    "preconditioner_of",
    "recording",
    "share_along",
    "signals",
    "steepest_direction",
    "unit_states",
]
