"""Sweeps: many trainings in one compiled program."""

from bpjax.sweeps.axes import draws, log_draws
from bpjax.sweeps.lanes import lanes
from bpjax.sweeps.replay import Replay, replay
from bpjax.sweeps.structure import sweep_over
from bpjax.sweeps.sweep import sweep

__all__ = ["Replay", "draws", "lanes", "log_draws", "replay", "sweep", "sweep_over"]
