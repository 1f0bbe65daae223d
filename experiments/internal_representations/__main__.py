"""The command `python -m experiments.internal_representations`."""

from experiments.common.start import start

start("internal_representations")
