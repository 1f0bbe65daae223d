"""Run with `python -m experiments.plateau_escape`; see `experiments/plateau_escape/experiment.py`."""
