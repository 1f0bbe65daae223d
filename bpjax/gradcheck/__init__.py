"""Gradient checks: is this gradient right, and where is it wrong?"""

from bpjax.gradcheck.compare import compare
from bpjax.gradcheck.report import Report

__all__ = ["Report", "compare"]
