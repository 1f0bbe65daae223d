"""Run with `python -m experiments.optimal_control`; see `experiments/optimal_control/experiment.py`."""
