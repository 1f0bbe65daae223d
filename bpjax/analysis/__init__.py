"""Look inside a training: signals, alignment, curvature, precision, health, learning rate, cost."""

from bpjax.analysis.alignment import Alignment, alignment, recording
from bpjax.analysis.curvature import (
    extreme_curvatures,
    hessian_vector_product,
    largest_curvature,
    share_along,
    steepest_direction,
)
from bpjax.analysis.health import Finding, Health, HealthMonitor, LayerHealth, health, health_monitor
from bpjax.analysis.learning_rate import SuggestedRate, suggest_learning_rate
from bpjax.analysis.loss_plane import LossPlane, loss_plane
from bpjax.analysis.precision import FormatPrecision, LayerPrecision, Precision, precision
from bpjax.analysis.preconditioned import adaptive_limit, preconditioned_curvature, preconditioner_of
from bpjax.analysis.signals import LayerSignals, Signals, SignalsAndChange, signals
from bpjax.analysis.units import UnitStates, unit_states
from bpjax.analysis.weight_change import WeightChange

__all__ = [
    "Alignment",
    "Finding",
    "FormatPrecision",
    "Health",
    "HealthMonitor",
    "LayerHealth",
    "LayerPrecision",
    "LayerSignals",
    "LossPlane",
    "Precision",
    "Signals",
    "SignalsAndChange",
    "SuggestedRate",
    "UnitStates",
    "WeightChange",
    "adaptive_limit",
    "alignment",
    "extreme_curvatures",
    "health",
    "health_monitor",
    "hessian_vector_product",
    "largest_curvature",
    "loss_plane",
    "precision",
    "preconditioned_curvature",
    "preconditioner_of",
    "recording",
    "share_along",
    "signals",
    "steepest_direction",
    "suggest_learning_rate",
    "unit_states",
]
