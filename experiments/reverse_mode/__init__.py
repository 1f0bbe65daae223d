"""Run with `python -m experiments.reverse_mode`; see `experiments/reverse_mode/experiment.py`."""
