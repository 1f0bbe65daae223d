"""The table of derivatives, one hand-written entry per JAX primitive."""

from bpjax.tape.derivatives import (  # noqa: F401  (each module enters its derivatives)
    contractions,
    decompositions,
    elementwise,
    fourier,
    linear_algebra,
    shapes,
)
from bpjax.tape.derivatives.registry import (
    DERIVATIVES,
    ZERO_DERIVATIVE,
    Derivative,
    cotangents_of_inputs,
    derivative,
    zero_derivative,
)

__all__ = ["DERIVATIVES", "ZERO_DERIVATIVE", "Derivative", "cotangents_of_inputs", "derivative", "zero_derivative"]
