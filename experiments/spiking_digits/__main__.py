"""The command `python -m experiments.spiking_digits`."""

from experiments.common.start import start

start("spiking_digits")
