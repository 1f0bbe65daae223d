"""The command `python -m experiments.scikit_learn_curves`."""

from experiments.common.start import start

start("scikit_learn_curves")
