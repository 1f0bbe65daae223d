"""Look inside a training: signals, alignment, curvature, cost."""

from bpjax.analysis.alignment import Alignment, alignment, recording
from bpjax.analysis.curvature import (
    extreme_curvatures,
    hessian_vector_product,
    largest_curvature,
    share_along,
    steepest_direction,
)
from bpjax.analysis.signals import Signals, signals

__all__ = [
    "Alignment",
    "Signals",
    "alignment",
    "extreme_curvatures",
    "hessian_vector_product",
    "largest_curvature",
    "recording",
    "share_along",
    "signals",
    "steepest_direction",
]
