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
from bpjax.analysis.signals import Signals, signals
from bpjax.analysis.units import UnitStates, unit_states

__all__ = [
    "Alignment",
    "Signals",
    "UnitStates",
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
