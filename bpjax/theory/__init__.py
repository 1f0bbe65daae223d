"""Closed forms to compare experiments with: what theory predicts, computed without any training."""

# ruff: noqa: F401, I001  (from the simplest error surface to the largest network)
from bpjax.theory.momentum import (
    FORMS,
    RateAndMomentum,
    best_convergence_rate,
    best_rate_and_momentum,
    effective_rate,
    mode_roots,
    spectral_radius,
    stability_limit,
)
from bpjax.theory.landscapes import (
    plateau_distance,
    plateau_glide,
    plateau_lag,
    plateau_steps,
    saddle_distance,
    saddle_growth,
    saddle_steps,
)
from bpjax.theory.deep_linear import (
    deep_linear_flow,
    deep_linear_invariants,
    deep_linear_mode,
    deep_linear_time,
    delay_limit,
    lms_limit,
    lms_weights,
    shallow_linear_mode,
)
from bpjax.theory.soft_committee import (
    Overlaps,
    SymmetricPlateau,
    generalization_error,
    plateau_overlaps,
    soft_committee_flow,
    soft_committee_path,
    symmetric_plateau,
)
from bpjax.theory.duplicate import duplicate_unit
from bpjax.theory.linear_quadratic import CostToGo, LinearQuadratic, Regulator, cost_to_go, riccati
from bpjax.theory.spike_times import Event, Membrane, SpikeTimes, spike_time_gradient, spike_times

__all__ = [
    "CostToGo",
    "Event",
    "FORMS",
    "LinearQuadratic",
    "Membrane",
    "Overlaps",
    "RateAndMomentum",
    "Regulator",
    "SpikeTimes",
    "SymmetricPlateau",
    "best_convergence_rate",
    "best_rate_and_momentum",
    "cost_to_go",
    "deep_linear_flow",
    "deep_linear_invariants",
    "deep_linear_mode",
    "deep_linear_time",
    "delay_limit",
    "duplicate_unit",
    "effective_rate",
    "generalization_error",
    "lms_limit",
    "lms_weights",
    "mode_roots",
    "plateau_distance",
    "plateau_glide",
    "plateau_lag",
    "plateau_overlaps",
    "plateau_steps",
    "riccati",
    "saddle_distance",
    "saddle_growth",
    "saddle_steps",
    "shallow_linear_mode",
    "soft_committee_flow",
    "soft_committee_path",
    "spectral_radius",
    "spike_time_gradient",
    "spike_times",
    "stability_limit",
    "symmetric_plateau",
]
