"""The command `python -m experiments.optimal_control`."""

from experiments.common.start import start

start("optimal_control")
