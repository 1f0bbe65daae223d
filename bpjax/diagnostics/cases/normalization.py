"""Cases of the family: normalization."""

from bpjax.diagnostics.cases.case import LayerCase

CASES: dict[str, LayerCase] = {}
