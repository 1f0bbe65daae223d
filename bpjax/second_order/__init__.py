"""Second-order training of small networks."""

from bpjax.second_order.least_squares import least_squares
from bpjax.second_order.result import LeastSquares

__all__ = ["LeastSquares", "least_squares"]
