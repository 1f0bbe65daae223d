"""How calls, loops, branches and custom rules are recorded as programs."""

import pathlib
from typing import Any

import jax

from bpjax.tape.branches import Cond
from bpjax.tape.checkpoint import Checkpoint
from bpjax.tape.linear_solve import LinearSolve
from bpjax.tape.record import Call, Recorder
from bpjax.tape.scan import Scan
from bpjax.tape.values import Value
from bpjax.tape.while_loop import while_
from bpjax.util.jaxprs import CALL_JAXPR, opened


def call(recorder: Recorder, equation, inputs: list[Value]) -> Call:
    """A function called inside: its entries stand in the place of the call."""
    entries, outputs = recorder.record(equation.params[CALL_JAXPR[equation.primitive.name]], inputs)
    return Call(equation, inputs, outputs, entries)


def custom_rule(recorder: Recorder, equation, inputs: list[Value]) -> Any:
    """`custom_jvp` and `custom_vjp`: their rule is used, or the function is opened, by `Recorder.custom_rules`."""
    jaxpr = equation.params["call_jaxpr"]
    if recorder.custom_rules == "use" or (recorder.custom_rules == "open" and belongs_to_jax(jaxpr)):
        return None  # an operation without an entry in the table: differentiated by its own rule
    return call(recorder, equation, inputs)


def belongs_to_jax(jaxpr) -> bool:
    """Whether a function with a custom rule was written in JAX itself."""
    source = getattr(opened(jaxpr).debug_info, "func_src_info", None) or ""
    return f"{pathlib.Path(jax.__file__).parent.as_posix()}/" in source.replace("\\", "/")


STRUCTURES = {
    **{name: call for name in CALL_JAXPR},
    "checkpoint": Checkpoint.apply,
    "remat2": Checkpoint.apply,
    "custom_jvp_call": custom_rule,
    "custom_vjp_call": custom_rule,
    "scan": Scan.apply,
    "cond": Cond.apply,
    "custom_linear_solve": LinearSolve.apply,
    "while": while_,
}
"""How equations with functions inside are recorded, under the names of their primitives."""
