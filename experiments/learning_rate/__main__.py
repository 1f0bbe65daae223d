"""The command `python -m experiments.learning_rate`."""

from experiments.common.start import start

start("learning_rate")
