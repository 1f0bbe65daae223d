"""The command `python -m experiments.plateau_escape`."""

from experiments.common.start import start

start("plateau_escape")
