"""Tasks: examples to present, with their targets."""

from bpjax.tasks.boolean import binary_addition, multiplexer, negation, parity, symmetry, truth_table, xor
from bpjax.tasks.digits import digits
from bpjax.tasks.encoders import encoder
from bpjax.tasks.family_trees import PEOPLE, RELATIONSHIPS, Triple, family_groups, family_trees, family_triples
from bpjax.tasks.letters import t_c
from bpjax.tasks.registry import TASKS, task
from bpjax.tasks.sequences import letter_sequences, shift_register
from bpjax.tasks.spike_patterns import spike_patterns
from bpjax.tasks.task import Task
from bpjax.tasks.two_spirals import two_spirals

__all__ = [
    "PEOPLE",
    "RELATIONSHIPS",
    "TASKS",
    "Task",
    "Triple",
    "binary_addition",
    "digits",
    "encoder",
    "family_groups",
    "family_trees",
    "family_triples",
    "letter_sequences",
    "multiplexer",
    "negation",
    "parity",
    "shift_register",
    "spike_patterns",
    "symmetry",
    "t_c",
    "task",
    "truth_table",
    "two_spirals",
    "xor",
]
