"""Where a network loses digits: the error of each layer in each number format, beside the tape's forecast."""

from bpjax.analysis.precision.measure import precision
from bpjax.analysis.precision.report import FormatPrecision, LayerPrecision, Precision, Quantity

__all__ = ["FormatPrecision", "LayerPrecision", "Precision", "Quantity", "precision"]
