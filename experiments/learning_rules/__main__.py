"""The command `python -m experiments.learning_rules`."""

from experiments.common.start import start

start("learning_rules")
