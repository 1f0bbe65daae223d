"""Tasks: examples to present, with their targets."""

from bpjax.tasks.boolean import binary_addition, multiplexer, negation, parity, symmetry, truth_table, xor
from bpjax.tasks.digits import digits
from bpjax.tasks.encoders import encoder
from bpjax.tasks.registry import TASKS, task
from bpjax.tasks.spike_patterns import spike_patterns
from bpjax.tasks.task import Task
from bpjax.tasks.two_spirals import two_spirals

__all__ = [
    "TASKS",
    "Task",
    "binary_addition",
    "digits",
    "encoder",
    "multiplexer",
    "negation",
    "parity",
    "spike_patterns",
    "symmetry",
    "task",
    "truth_table",
    "two_spirals",
    "xor",
]
