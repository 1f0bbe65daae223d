"""Sweeps: many trainings in one compiled program."""

from bpjax.sweeps.axes import draws, log_draws, points
from bpjax.sweeps.comparison import compare_choices, compare_optimizers, compare_rules
from bpjax.sweeps.lanes import lanes
from bpjax.sweeps.replay import Replay, replay
from bpjax.sweeps.stored import delete_runs, merge_sweeps, open_sweep
from bpjax.sweeps.structure import sweep_over
from bpjax.sweeps.sweep import sweep

__all__ = [
    "Replay",
    "compare_choices",
    "compare_optimizers",
    "compare_rules",
    "delete_runs",
    "draws",
    "lanes",
    "log_draws",
    "merge_sweeps",
    "open_sweep",
    "points",
    "replay",
    "sweep",
    "sweep_over",
]
