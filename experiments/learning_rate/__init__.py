"""Run with `python -m experiments.learning_rate`; see `experiments/learning_rate/experiment.py`."""
