"""Run with `python -m experiments.learning_speed`; see `experiments/learning_speed/experiment.py`."""
