"""The command `python -m experiments.reverse_mode`."""

from experiments.common.start import start

start("reverse_mode")
