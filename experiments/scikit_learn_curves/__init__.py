"""Run with `python -m experiments.scikit_learn_curves`; see `experiments/scikit_learn_curves/experiment.py`."""
