"""Cases of the family: convolution."""

from bpjax.diagnostics.cases.case import LayerCase

CASES: dict[str, LayerCase] = {}
