"""The special functions by the name of their primitive."""

from collections.abc import Callable, Mapping

from bpjax.sweeps.lanes.llvm import error_function, special
from bpjax.sweeps.lanes.llvm.ops import through_double

SPECIAL: Mapping[str, Callable] = {
    "exp": special.exp,
    "logistic": special.logistic,
    "tanh": special.tanh,
    "pow": special.power_of_float32,
    **{
        name: through_double(function)
        for name, function in {
            "expm1": special.expm1,
            "log": special.log,
            "log1p": special.log1p,
            "erf": error_function.erf,
            "erfc": error_function.erfc,
            "erf_inv": error_function.erf_inv,
        }.items()
    },
}
"""(Ops, values) -> the value."""
