"""All tasks by name."""

import difflib
import inspect
from collections.abc import Callable

from bpjax.tasks.boolean import binary_addition, multiplexer, negation, parity, symmetry, xor
from bpjax.tasks.digits import digits
from bpjax.tasks.encoders import encoder
from bpjax.tasks.family_trees import family_trees
from bpjax.tasks.letters import t_c
from bpjax.tasks.sequences import letter_sequences, shift_register
from bpjax.tasks.spike_patterns import spike_patterns
from bpjax.tasks.task import Task
from bpjax.tasks.two_spirals import two_spirals
from bpjax.util.call_text import shown

TASKS: dict[str, Callable[..., Task]] = {
    "xor": xor,
    "parity": parity,
    "symmetry": symmetry,
    "encoder": encoder,
    "multiplexer": multiplexer,
    "binary_addition": binary_addition,
    "negation": negation,
    "family_trees": family_trees,
    "t_c": t_c,
    "shift_register": shift_register,
    "letter_sequences": letter_sequences,
    "digits": digits,
    "two_spirals": two_spirals,
    "spike_patterns": spike_patterns,
}
"""The functions that make the tasks, by name."""


def task(name: str, **options) -> Task:
    """The task called `name`; integers after a hyphen are its sizes: "xor", "parity-4", "encoder-10-5", "digits".

    Raises:
        ValueError: there is no such task (the message lists them and names the nearest), or its sizes do not fit.
    """
    base, *sizes = str(name).split("-")
    if base not in TASKS:
        near = difflib.get_close_matches(base, TASKS, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"`task` expected one of {', '.join(TASKS)}, got {shown(name)}.{hint}")
    factory = TASKS[base]
    arguments = [int(size) if size.isdecimal() else size for size in sizes]
    if base == "encoder" and len(arguments) == 3 and arguments[0] == arguments[2]:
        arguments.pop()  # "encoder-10-5-10"
    try:
        inspect.signature(factory).bind(*arguments, **options)
    except TypeError as error:
        signature = f"{base}{inspect.signature(factory)}"
        raise ValueError(f"`task` could not make {name!r}: {error}. Call `{signature}`.") from None
    return factory(*arguments, **options)
