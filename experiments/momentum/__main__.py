"""The command `python -m experiments.momentum`."""

from experiments.common.start import start

start("momentum")
