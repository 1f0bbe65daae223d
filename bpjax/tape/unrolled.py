"""Loops, branches and calls on known values: every iteration is recorded, operation by operation."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core

from bpjax.tape.control_flow import STRUCTURES, belongs_to_jax
from bpjax.tape.record import Entry, Recorder, sweep
from bpjax.tape.values import Adjoints, Value
from bpjax.types import Array
from bpjax.util.checks import is_concrete
from bpjax.util.jaxprs import CALL_JAXPR, opened, scan_counts


@dataclass(eq=False)
class Section:
    """One run of a function inside: the function called, the branch taken, one iteration."""

    name: str
    jaxpr: core.Jaxpr | None  # None for entries that belong to the equation itself
    entries: Sequence[Entry]
    iteration: int | None = None


@dataclass(eq=False)
class Program:
    """An equation with functions inside, as the sections that were run."""

    equation: core.JaxprEqn
    inputs: list[Value]
    outputs: list[Value]
    name: str
    sections: list[Section] = field(default_factory=list)

    def sweep(self, adjoints: Adjoints) -> None:
        """The reverse sweep of the sections, from the last to the first."""
        for section in reversed(self.sections):
            sweep(section.entries, adjoints)


def function_name(jaxpr) -> str:
    """The name of the function that was traced, empty where JAX does not know it."""
    source = getattr(opened(jaxpr).debug_info, "func_src_info", None) or ""
    return source.split(" at ")[0]


def parameter_names(jaxpr, count: int) -> list[str | None]:
    """The names of the parameters of the function that was traced, None where JAX does not know them."""
    names = getattr(opened(jaxpr).debug_info, "arg_names", None) or ()
    return [name or None for name in names] if len(names) == count else [None] * count


# --- Calls and branches ----------------------------------------------------------------------------------------------


def call(recorder: Recorder, equation, inputs: list[Value]) -> Program:
    """A function called inside."""
    primitive = equation.primitive.name
    jaxpr = equation.params[CALL_JAXPR[primitive]]
    entries, outputs = recorder.record(jaxpr, inputs)
    name = equation.params.get("name") or function_name(jaxpr)
    kind = {"remat2": "checkpoint", "custom_jvp_call": "custom_jvp", "custom_vjp_call": "custom_vjp"}
    name = f"{kind.get(primitive, primitive)} {name}".strip()
    return Program(equation, inputs, outputs, name, [Section(name, opened(jaxpr), entries)])


def custom_rule(recorder: Recorder, equation, inputs: list[Value]) -> Program | None:
    """`custom_jvp` and `custom_vjp`: an operation with its custom rule, or opened, by `Recorder.custom_rules`."""
    jaxpr = equation.params["call_jaxpr"]
    if recorder.custom_rules == "use" or (recorder.custom_rules == "open" and belongs_to_jax(jaxpr)):
        return None
    return call(recorder, equation, inputs)


def branch(recorder: Recorder, equation, inputs: list[Value]) -> Program:
    """`cond` and `switch`: the branch that the index chooses."""
    branches = equation.params["branches"]
    index, *operands = inputs
    chosen = int(index.array)  # `lax.switch` clamps it
    entries, outputs = recorder.record(branches[chosen], operands)
    name = f"branch {chosen} of {len(branches)}"
    return Program(equation, inputs, outputs, name, [Section(name, opened(branches[chosen]), entries)])


def convert(recorder: Recorder, equation, inputs: list[Value]) -> Program | None:
    """A conversion to the dtype that the value has (JAX forgets a weak type): no operation."""
    if inputs[0].array.dtype != equation.params["new_dtype"]:
        return None
    return Program(equation, inputs, inputs, "")


# --- Loops -----------------------------------------------------------------------------------------------------------


@dataclass(eq=False)
class Slice:
    """x = xs[t], the scanned input of one iteration. Its adjoint is collected by `Unstack`."""

    equation: core.JaxprEqn
    inputs: list[Value]
    outputs: list[Value]
    index: int
    name: str | None  # the parameter of the body

    def sweep(self, adjoints: Adjoints) -> None:
        """Nothing: see `Unstack`."""


@dataclass(eq=False)
class Unstack:
    """All slices of a scanned input: d_xs is the stack of their adjoints, made once and not once per iteration."""

    equation: core.JaxprEqn
    inputs: list[Value]
    outputs: list[Value]

    def sweep(self, adjoints: Adjoints) -> None:
        """d_xs[t] = d_x of iteration t."""
        if any(adjoints.of(value) is not None for value in self.outputs):
            adjoints.add(self.inputs[0], stack([adjoints.or_zeros(value) for value in self.outputs]))


@dataclass(eq=False)
class Stack:
    """ys: the results of all iterations, stacked."""

    equation: core.JaxprEqn
    inputs: list[Value]
    outputs: list[Value]

    def sweep(self, adjoints: Adjoints) -> None:
        """d_y of iteration t is d_ys[t]."""
        adjoint = adjoints.of(self.outputs[0])
        if adjoint is None:
            return
        for value, d_y in zip(self.inputs, unstack(adjoint), strict=True):
            if value.active:
                adjoints.add(value, d_y)


def unstack(array) -> list[Array]:
    """The slices along the first axis; on the host, so that nothing is compiled for each length."""
    if is_key(array) or not is_concrete(array):
        return [array[t] for t in range(len(array))]
    return [jnp.asarray(slice_) for slice_ in np.asarray(array)]


def stack(arrays: list) -> Array:
    """At least one array, stacked along a new first axis."""
    if is_key(arrays[0]) or any(not is_concrete(array) for array in arrays):
        return jnp.stack(arrays)
    return jnp.asarray(np.stack([np.asarray(array) for array in arrays]))


def is_key(array) -> bool:
    """Whether an array holds random keys."""
    return jnp.issubdtype(array.dtype, jax.dtypes.prng_key)


def scan(recorder: Recorder, equation, inputs: list[Value]) -> Program:
    """`scan`, iteration by iteration."""
    n_consts, n_carry = scan_counts(equation)
    body, length = equation.params["jaxpr"], equation.params["length"]
    consts, carry, scanned = inputs[:n_consts], inputs[n_consts : n_consts + n_carry], inputs[n_consts + n_carry :]
    slices = [[Value(a, xs.active) for a in unstack(xs.array)] for xs in scanned]
    name = f"scan {function_name(body)}".strip()
    sections = [Section(name, None, [Unstack(equation, [xs], some) for xs, some in zip(scanned, slices, strict=True)])]
    parameters = parameter_names(body, len(inputs))[n_consts + n_carry :]
    results: list = [None] * length
    order = reversed(range(length)) if equation.params["reverse"] else range(length)
    for iteration, t in enumerate(order):
        current = [some[t] for some in slices]
        entries, outputs = recorder.record(body, [*consts, *carry, *current])
        carry, results[t] = outputs[:n_carry], outputs[n_carry:]
        read = [Slice(equation, [xs], [x], t, name) for xs, x, name in zip(scanned, current, parameters, strict=True)]
        sections += [Section(name, None, read, iteration), Section(name, opened(body), entries, iteration)]
    stacked = [
        _stacked(variable.aval, equation, [ys[k] for ys in results])
        for k, variable in enumerate(equation.outvars[n_carry:])
    ]
    sections.append(Section(name, None, stacked))
    return Program(equation, inputs, [*carry, *(entry.outputs[0] for entry in stacked)], name, sections)


def _stacked(aval, equation, values: list[Value]) -> Stack:
    array = stack([value.array for value in values]) if values else jnp.zeros(aval.shape, aval.dtype)
    return Stack(equation, values, [Value(array, any(value.active for value in values))])


def while_(recorder: Recorder, equation, inputs: list[Value]) -> Program:
    """`while_loop`, iteration by iteration: the condition, then the body. The condition that ends it comes last."""
    p = equation.params
    n_cond, n_body = p["cond_nconsts"], p["body_nconsts"]
    cond_consts, body_consts, carry = inputs[:n_cond], inputs[n_cond : n_cond + n_body], inputs[n_cond + n_body :]
    condition, body = p["cond_jaxpr"], p["body_jaxpr"]
    name = f"while {function_name(body)}".strip()
    sections: list[Section] = []
    iteration = 0
    while True:
        entries, (go_on,) = recorder.record(condition, [*cond_consts, *carry])
        sections.append(Section(name, opened(condition), entries, iteration))
        if not bool(go_on.array):
            return Program(equation, inputs, carry, name, sections)
        entries, carry = recorder.record(body, [*body_consts, *carry])
        sections.append(Section(name, opened(body), entries, iteration))
        iteration += 1


UNROLLED = {
    **STRUCTURES,
    **{name: call for name in CALL_JAXPR},
    "custom_jvp_call": custom_rule,
    "custom_vjp_call": custom_rule,
    "scan": scan,
    "cond": branch,
    "while": while_,
    "convert_element_type": convert,
}
"""How equations with functions inside are recorded on known values, under the names of their primitives."""
