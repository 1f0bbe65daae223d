"""The command `python -m experiments.time_series`."""

from experiments.common.start import start

start("time_series")
