"""The command `python -m experiments.trainability_boundary`."""

from experiments.common.start import start

start("trainability_boundary")
