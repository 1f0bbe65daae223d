"""Run with `python -m experiments.time_series`; see `experiments/time_series/experiment.py`."""
