"""Run with `python -m experiments.learning_rules`; see `experiments/learning_rules/experiment.py`."""
