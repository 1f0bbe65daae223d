"""What can be read off a jaxpr without evaluating it: its largest array, and how often a variable is read."""

import math
from collections import Counter

from jax.extend import core

from bpjax.util.jaxprs import num_entries

VIEWS = {"broadcast_in_dim", "reshape", "transpose", "squeeze", "slice", "rev", "copy", "convert_element_type"}
"""Primitives whose result has the same entries in another shape or dtype."""


def count_reads(equations: list, outvars) -> Counter:
    """How often an entry of each variable is read.

    A variable that is repeated along an axis is read once per repetition. A change of shape is not a reader; the
    readers of its result are.
    """
    reads = Counter(atom for atom in outvars if isinstance(atom, core.Var))
    for equation in reversed(equations):
        most = max(num_entries(variable) for variable in equation.outvars)
        if equation.primitive.name == "dot_general":
            most *= math.prod(
                equation.invars[0].aval.shape[axis] for axis in equation.params["dimension_numbers"][0][0]
            )
        through = reads[equation.outvars[0]] if equation.primitive.name in VIEWS else 1
        for atom in equation.invars:
            if isinstance(atom, core.Var):
                reads[atom] += through * max(1, most // max(1, num_entries(atom)))
    return reads
