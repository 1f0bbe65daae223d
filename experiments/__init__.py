"""Experiments: one folder each, run with `python -m experiments.<name>`."""
