"""Results: records on disk, statistics, survival curves, plateaus, HTML pages, plots."""

from bpjax.results.plateaus import escape_times, find_plateaus
from bpjax.results.survival import kaplan_meier, log_rank, restricted_mean, survival_quantile

__all__ = ["escape_times", "find_plateaus", "kaplan_meier", "log_rank", "restricted_mean", "survival_quantile"]
