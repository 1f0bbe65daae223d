"""Cases of the family: doors."""

from bpjax.diagnostics.cases.case import LayerCase

CASES: dict[str, LayerCase] = {}
