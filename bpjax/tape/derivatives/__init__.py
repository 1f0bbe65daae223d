"""The table of derivatives, one hand-written entry per JAX primitive."""

from bpjax.tape.derivatives import (  # noqa: F401  (each module enters its derivatives)
    arithmetic,
    complex,
    contractions,
    cumulative,
    decompositions,
    fourier,
    indexing,
    linear_algebra,
    ordering,
    reductions,
    selection,
    shapes,
    special,
    transcendental,
    windows,
)
from bpjax.tape.derivatives.registry import (
    DERIVATIVES,
    ZERO_DERIVATIVE,
    Derivative,
    cotangents_of_inputs,
    depends_on_inputs,
    derivative,
    zero_derivative,
)

__all__ = [
    "DERIVATIVES",
    "ZERO_DERIVATIVE",
    "Derivative",
    "cotangents_of_inputs",
    "depends_on_inputs",
    "derivative",
    "zero_derivative",
]
