"""Reverse mode for any JAX function: record its elementary operations, sweep back with hand-written derivatives.

At the top level `bp.tape` is the function; the other names are imported from here: `from bpjax.tape import Tape, vjp`.
"""

from bpjax.tape.entry import Input, TapeEntry, Variable, Variables
from bpjax.tape.operations import Operations, count_operations
from bpjax.tape.reverse import reverse, vjp
from bpjax.tape.rounding import Loss, Problem, Rounding
from bpjax.tape.source import Source
from bpjax.tape.tape import Tape, tape

__all__ = [
    "Input",
    "Loss",
    "Operations",
    "Problem",
    "Rounding",
    "Source",
    "Tape",
    "TapeEntry",
    "Variable",
    "Variables",
    "count_operations",
    "reverse",
    "tape",
    "vjp",
]
