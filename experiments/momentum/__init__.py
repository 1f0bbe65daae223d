"""Run with `python -m experiments.momentum`; see `experiments/momentum/experiment.py`."""
