"""The command `python -m experiments.learning_speed`."""

from experiments.common.start import start

start("learning_speed")
