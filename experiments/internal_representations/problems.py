"""All problems, in the order in which they are run, shown and drawn."""

from experiments.internal_representations.addition import ADDITION
from experiments.internal_representations.encoders import ENCODERS
from experiments.internal_representations.family_trees import FAMILY_TREES
from experiments.internal_representations.negation import NEGATION
from experiments.internal_representations.problem import Problem
from experiments.internal_representations.sequences import SEQUENCES
from experiments.internal_representations.shift_register import SHIFT_REGISTER
from experiments.internal_representations.symmetry import SYMMETRY
from experiments.internal_representations.t_c import T_C
from experiments.internal_representations.xor import XOR

PROBLEMS: tuple[Problem, ...] = (
    XOR, SYMMETRY, ENCODERS, NEGATION, ADDITION, T_C, SHIFT_REGISTER, SEQUENCES, FAMILY_TREES,
)  # fmt: skip

QUICK: tuple[Problem, ...] = (XOR, SYMMETRY, ENCODERS, ADDITION)
"""Those of a quick run: the others take as long to compile."""
