"""Results: records on disk, statistics, survival curves, plateaus, HTML pages, plots."""

from bpjax.results.comparison import Comparison, Contrast, Summary
from bpjax.results.paired import holm, success_contrast, time_contrast
from bpjax.results.plateaus import escape_times, find_plateaus
from bpjax.results.survival import kaplan_meier, log_rank, restricted_mean, survival_quantile

__all__ = [
    "Comparison",
    "Contrast",
    "Summary",
    "escape_times",
    "find_plateaus",
    "holm",
    "kaplan_meier",
    "log_rank",
    "restricted_mean",
    "success_contrast",
    "survival_quantile",
    "time_contrast",
]
