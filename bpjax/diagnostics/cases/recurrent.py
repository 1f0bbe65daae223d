"""Cases of the family: recurrent."""

from bpjax.diagnostics.cases.case import LayerCase

CASES: dict[str, LayerCase] = {}
