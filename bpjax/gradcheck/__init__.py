"""Gradient checks: is this gradient right, and where is it wrong?"""

from bpjax.gradcheck.check import check_gradient
from bpjax.gradcheck.check_report import CheckReport
from bpjax.gradcheck.compare import compare
from bpjax.gradcheck.report import Report

__all__ = ["CheckReport", "Report", "check_gradient", "compare"]
