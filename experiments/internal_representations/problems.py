"""All problems, in the order in which they are run, shown and drawn."""

from experiments.internal_representations.problem import Problem
from experiments.internal_representations.xor import XOR

PROBLEMS: tuple[Problem, ...] = (XOR,)
