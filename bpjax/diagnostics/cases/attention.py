"""Cases of the family: attention."""

from bpjax.diagnostics.cases.case import LayerCase

CASES: dict[str, LayerCase] = {}
