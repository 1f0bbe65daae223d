"""Calls, loops and branches as programs: a loop stays a loop, forward and backward, whatever its length."""

from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.core import Tracer
from jax.extend import core

from bpjax.tape.partition import BACKWARD, FORWARD, INVARIANT, Partition, partition
from bpjax.tape.record import Call, Entry, Recorder, sweep
from bpjax.tape.scattered import add_loop, add_step, loop_totals, sparse_or_dense
from bpjax.tape.values import Adjoints, Value, is_differentiable
from bpjax.util.jaxprs import CALL_JAXPR, bind_primitive, opened, scan_counts


def call(recorder: Recorder, equation, inputs: list[Value]) -> Call:
    """A function called inside: its entries stand in the place of the call."""
    entries, outputs = recorder.record(equation.params[CALL_JAXPR[equation.primitive.name]], inputs)
    return Call(equation, inputs, outputs, entries)


# --- Functions traced together with their reverse sweep --------------------------------------------------------------


def joint(recorder: Recorder, closed, active: list[bool], with_cotangent: list[bool], num_sparse: int = 0):
    """Trace a function and its reverse sweep as one jaxpr.

    Args:
        recorder: how the function is recorded.
        closed: its jaxpr.
        active: which of its arguments are differentiated.
        with_cotangent: which of its results have a cotangent.
        num_sparse: how many of its arguments, from the first, may have sparse cotangents (see `sparse_or_dense`).

    Returns:
        the closed jaxpr of (arguments, cotangents) -> (results, cotangents of the active arguments), and the shapes of
        these cotangents: an array is one result of the jaxpr, a sparse cotangent several.
    """
    jaxpr = opened(closed)

    def function(arrays, cotangents):
        inputs = [Value(a, is_active) for a, is_active in zip(arrays, active, strict=True)]
        entries, outputs = recorder.record(closed, inputs)
        adjoints = Adjoints()
        wanted = [output for output, has in zip(outputs, with_cotangent, strict=True) if has]
        for output, cotangent in zip(wanted, cotangents, strict=True):
            adjoints.add(output, cotangent)
        sweep(entries, adjoints)
        found = [sparse_or_dense(adjoints, v) for v in inputs[:num_sparse] if v.active]
        found += [adjoints.or_zeros(v) for v in inputs[num_sparse:] if v.active]
        return [v.array for v in outputs], found

    cotangents = [v.aval for v, has in zip(jaxpr.outvars, with_cotangent, strict=True) if has]
    specs = _specs([[v.aval for v in jaxpr.invars], cotangents])
    traced, (_, shapes) = jax.make_jaxpr(function, return_shape=True)(*specs)
    return traced, shapes


def _specs(avals):
    return jax.tree.map(
        lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, weak_type=getattr(a, "weak_type", False)), avals
    )


def active_results(recorder: Recorder, closed, active: list[bool]) -> list[bool]:
    """Which results of a function depend on its active arguments."""
    found: list[bool] = []

    def trace(arrays):
        _, outputs = recorder.record(closed, [Value(a, k) for a, k in zip(arrays, active, strict=True)])
        found[:] = [value.active for value in outputs]
        return [value.array for value in outputs]

    jax.eval_shape(trace, _specs([v.aval for v in opened(closed).invars]))
    return found


# --- scan ------------------------------------------------------------------------------------------------------------


@dataclass(eq=False)
class Scan:
    """`lax.scan`: residuals of all steps are stacked in the forward loop and read by the backward loop."""

    equation: core.JaxprEqn
    inputs: list[Value]
    outputs: list[Value]
    program: Partition
    active: list[bool]  # of the inputs, with the carry as it is after some step
    counts: tuple[int, int]  # constants, carry
    shapes: list  # of the cotangents of the active inputs in one step, see `joint`
    invariants: list = field(default_factory=list)  # values that no step changes
    residuals: list = field(default_factory=list)  # stacked over the steps

    @classmethod
    def apply(cls, recorder: Recorder, equation, inputs: list[Value]) -> "Scan | None":
        """Run the loop forward."""
        n_consts, n_carry = scan_counts(equation)
        closed = equation.params["jaxpr"]
        active = [value.active for value in inputs]
        while True:
            results = active_results(recorder, closed, active)
            grown = [a or b for a, b in zip(active[n_consts : n_consts + n_carry], results[:n_carry], strict=True)]
            if grown == active[n_consts : n_consts + n_carry]:
                break
            active[n_consts : n_consts + n_carry] = grown
        has_cotangent = grown + results[n_carry:]
        traced, shapes = joint(recorder, closed, active, has_cotangent, num_sparse=n_consts)
        variables = opened(traced).invars
        n_inputs = len(inputs)
        stages = [INVARIANT] * n_consts + [FORWARD] * (n_inputs - n_consts) + [BACKWARD] * sum(has_cotangent)
        scanned = variables[n_consts + n_carry : n_inputs]
        program = partition(traced, stages, scanned, len(has_cotangent), recorder.recompute)
        entry = cls(equation, inputs, [], program, active, (n_consts, n_carry), shapes)
        entry._run_forward(has_cotangent)
        return entry

    def _run_forward(self, has_cotangent: list[bool]) -> None:
        n_consts, n_carry = self.counts
        p, program, variables = self.equation.params, self.program, self.program.jaxpr.invars
        arrays = [value.array for value in self.inputs]
        consts, carry, xs = arrays[:n_consts], arrays[n_consts : n_consts + n_carry], arrays[n_consts + n_carry :]
        self.invariants = program.evaluate(
            INVARIANT, dict(zip(variables[:n_consts], consts, strict=True)), program.invariants
        )
        outside = dict(zip(program.invariants, self.invariants, strict=True))
        results = program.jaxpr.outvars[: len(has_cotangent)]

        def step(carry, x):
            inside = outside | dict(zip(variables[n_consts : len(arrays)], (*carry, *x), strict=True))
            found = program.evaluate(FORWARD, inside, [*results, *program.residuals])
            return found[:n_carry], (found[n_carry : len(results)], found[len(results) :])

        last, (ys, self.residuals) = lax.scan(
            step, carry, xs, length=p["length"], reverse=p["reverse"], unroll=p["unroll"]
        )
        self.outputs = [Value(a, is_active) for a, is_active in zip([*last, *ys], has_cotangent, strict=True)]

    def sweep(self, adjoints: Adjoints) -> None:
        """The backward loop: its carry is the cotangent of the carry and the sum of those of the constants."""
        if all(adjoints.of(value) is None for value in self.outputs):
            return
        n_consts, n_carry = self.counts
        p, program = self.equation.params, self.program
        num_results = len(self.outputs)
        d_last = [adjoints.or_zeros(v) for v in self.outputs[:n_carry] if v.active]
        d_ys = [adjoints.or_zeros(v) for v in self.outputs[n_carry:] if v.active]
        variables = program.jaxpr.invars
        scanned, cotangents = variables[n_consts + n_carry : len(self.inputs)], variables[len(self.inputs) :]
        outside = dict(zip(program.invariants, self.invariants, strict=True))
        consts, structure = [v for v in self.inputs[:n_consts] if v.active], jax.tree.structure(self.shapes)

        def step(state, slices):
            d_consts, d_carry = state
            d_y, residuals, x = slices
            inside = outside | dict(zip(cotangents, (*d_carry, *d_y), strict=True))
            inside |= dict(zip([*program.residuals, *scanned], [*residuals, *x], strict=True))
            found = structure.unflatten(program.evaluate(BACKWARD, inside, program.jaxpr.outvars[num_results:]))
            d_consts, rows = add_step(d_consts, found[: len(consts)])
            found = found[len(consts) :]
            return (d_consts, found[: len(d_carry)]), (rows, found[len(d_carry) :])

        d_consts = loop_totals(consts, self.shapes[: len(consts)], p["length"])
        xs = [value.array for value in self.inputs[n_consts + n_carry :]]
        (d_consts, d_carry), (rows, d_xs) = lax.scan(
            step, (d_consts, d_last), (d_ys, self.residuals, xs), p["length"], not p["reverse"], p["unroll"]
        )
        for value, total, stacked in zip(consts, d_consts, rows, strict=True):
            add_loop(adjoints, value, total, stacked)
        others = zip(self.inputs[n_consts:], self.active[n_consts:], strict=True)
        for value, cotangent in zip([v for v, is_active in others if is_active], [*d_carry, *d_xs], strict=True):
            if value.active:
                adjoints.add(value, cotangent)


# --- cond ------------------------------------------------------------------------------------------------------------


@dataclass(eq=False)
class Cond:
    """`lax.cond` and `switch`: the branch taken stores its residuals, the others store zeros in their place."""

    equation: core.JaxprEqn
    inputs: list[Value]
    outputs: list[Value]
    programs: list[Partition]
    residuals: list = field(default_factory=list)  # for each branch

    @classmethod
    def apply(cls, recorder: Recorder, equation, inputs: list[Value]) -> "Entry":
        """Run the branch that the index chooses; an index that is known at this time leaves one branch."""
        branches = equation.params["branches"]
        index, *operands = inputs
        if not isinstance(index.array, Tracer):
            chosen = branches[min(max(int(index.array), 0), len(branches) - 1)]
            entries, outputs = recorder.record(chosen, operands)
            return Call(equation, inputs, outputs, entries)
        active = [value.active for value in operands]
        columns = zip(*(active_results(recorder, branch, active) for branch in branches), strict=True)
        is_active = [any(column) for column in columns]
        programs = []
        for branch in branches:
            traced, _ = joint(recorder, branch, active, is_active)
            stages = [FORWARD] * len(operands) + [BACKWARD] * sum(is_active)
            given = opened(traced).invars[: len(operands)]
            programs.append(partition(traced, stages, given, len(is_active), recorder.recompute))
        entry = cls(equation, inputs, [], programs)
        entry._run_forward(is_active)
        return entry

    def _run_forward(self, is_active: list[bool]) -> None:
        index, *operands = [value.array for value in self.inputs]
        avals = [[v.aval for v in program.residuals] for program in self.programs]

        def forward(k):
            program = self.programs[k]

            def run(arrays):
                known = dict(zip(program.jaxpr.invars[: len(arrays)], arrays, strict=True))
                known |= dict(
                    zip(program.invariants, program.evaluate(INVARIANT, known, program.invariants), strict=True)
                )
                results = program.jaxpr.outvars[: len(is_active)]
                found = program.evaluate(FORWARD, known, [*results, *program.residuals])
                stored = [[jnp.zeros(a.shape, a.dtype) for a in others] for others in avals]
                stored[k] = found[len(results) :]
                return found[: len(results)], stored

            return run

        outputs, self.residuals = lax.switch(index, [forward(k) for k in range(len(self.programs))], operands)
        self.outputs = [Value(a, k) for a, k in zip(outputs, is_active, strict=True)]

    def sweep(self, adjoints: Adjoints) -> None:
        """The backward program of the branch that was taken."""
        if all(adjoints.of(value) is None for value in self.outputs):
            return
        index, *operands = [value.array for value in self.inputs]
        cotangents = [adjoints.or_zeros(v) for v in self.outputs if v.active]

        def backward(k):
            program = self.programs[k]

            def run(operands, residuals, cotangents):
                known = dict(zip(program.jaxpr.invars, [*operands, *cotangents], strict=True))
                known |= dict(
                    zip(program.invariants, program.evaluate(INVARIANT, known, program.invariants), strict=True)
                )
                known |= dict(zip(program.residuals, residuals[k], strict=True))
                return program.evaluate(BACKWARD, known, program.jaxpr.outvars[len(self.outputs) :])

            return run

        branches = [backward(k) for k in range(len(self.programs))]
        found = lax.switch(index, branches, operands, self.residuals, cotangents)
        for value, cotangent in zip([v for v in self.inputs[1:] if v.active], found, strict=True):
            adjoints.add(value, cotangent)


# --- while -----------------------------------------------------------------------------------------------------------


def while_(recorder: Recorder, equation, inputs: list[Value]) -> Call:
    """`while_loop`, differentiated as a scan over as many steps as it takes, or over `while_bound` steps.

    Raises:
        ValueError: where the number of iterations is not known when JAX traces, and no bound is given.
    """
    arrays = [value.array for value in inputs]
    traced = [a for a in arrays if isinstance(a, Tracer)]
    length = recorder.while_bound if traced else count_iterations(equation, arrays)
    if length is None:
        raise ValueError(
            "The number of iterations of a `while_loop` is not known under `jit`, so its reverse sweep cannot be "
            "compiled. Pass `while_bound=`, the most iterations it can take, or call without `jit`."
        )
    jaxpr = jax.make_jaxpr(lambda *arrays: bounded_loop(equation, arrays, length))(*arrays)
    entries, outputs = recorder.record(jaxpr, inputs)
    return Call(equation, inputs, outputs, entries)


def _parts(equation, arrays):
    p = equation.params
    n_cond, n_body = p["cond_nconsts"], p["body_nconsts"]
    cond_consts, body_consts, carry = arrays[:n_cond], arrays[n_cond : n_cond + n_body], arrays[n_cond + n_body :]

    def condition(carry):
        return core.jaxpr_as_fun(p["cond_jaxpr"])(*cond_consts, *carry)[0]

    def body(carry):
        return core.jaxpr_as_fun(p["body_jaxpr"])(*body_consts, *carry)

    return condition, body, list(carry)


def count_iterations(equation, arrays) -> int:
    """How many iterations a `while_loop` takes on given arrays."""
    condition, body, carry = _parts(equation, arrays)
    count, _ = lax.while_loop(lambda s: condition(s[1]), lambda s: (s[0] + 1, body(s[1])), (0, carry))
    return int(count)


def bounded_loop(equation, arrays, length: int) -> list:
    """The results of a `while_loop` as a scan over `length` steps; NaN where the loop would take more."""
    condition, body, carry = _parts(equation, arrays)

    def step(carry, _):
        return lax.cond(condition(carry), body, lambda carry: list(carry), carry), None

    last, _ = lax.scan(step, carry, None, length=length)
    factor = jnp.where(condition(last), jnp.nan, 1)  # a factor, so that the cotangents become NaN too
    return [a * factor.astype(a.dtype) if is_differentiable(a) else a for a in last]


# --- rematerialization -----------------------------------------------------------------------------------------------


@dataclass(eq=False)
class Checkpoint:
    """`jax.checkpoint`: only the inputs are stored; the reverse sweep records the function again."""

    equation: core.JaxprEqn
    inputs: list[Value]
    outputs: list[Value]
    recorder: Recorder

    @classmethod
    def apply(cls, recorder: Recorder, equation, inputs: list[Value]) -> "Checkpoint":
        """Run the function."""
        closed = equation.params["jaxpr"]
        is_active = active_results(recorder, closed, [v.active for v in inputs])
        results = bind_primitive(equation, [value.array for value in inputs])
        return cls(equation, inputs, [Value(r, k) for r, k in zip(results, is_active, strict=True)], recorder)

    def sweep(self, adjoints: Adjoints) -> None:
        """Record and sweep. The barrier keeps XLA from using the values of the first evaluation."""
        if all(adjoints.of(value) is None for value in self.outputs):
            return
        cotangents = {k: adjoints.or_zeros(v) for k, v in enumerate(self.outputs) if v.active}
        arrays, cotangents = lax.optimization_barrier(([v.array for v in self.inputs], cotangents))
        inputs = [Value(a, v.active) for a, v in zip(arrays, self.inputs, strict=True)]
        entries, outputs = self.recorder.record(self.equation.params["jaxpr"], inputs)
        inner = Adjoints()
        for k, cotangent in cotangents.items():
            inner.add(outputs[k], cotangent)
        sweep(entries, inner)
        for value, copy in zip(self.inputs, inputs, strict=True):
            if value.active:
                for summand in inner.summands(copy):
                    adjoints.add(value, summand)


# --- Custom rules ----------------------------------------------------------------------------------------------------


def custom_rule(recorder: Recorder, equation, inputs: list[Value]) -> Any:
    """`custom_jvp` and `custom_vjp`: their rule is used, or the function is opened, by `Recorder.custom_rules`."""
    jaxpr = equation.params["call_jaxpr"]
    if recorder.custom_rules == "use" or (recorder.custom_rules == "open" and belongs_to_jax(jaxpr)):
        return None  # an operation without an entry in the table: differentiated by its own rule
    return call(recorder, equation, inputs)


def belongs_to_jax(jaxpr) -> bool:
    """Whether a function with a custom rule was written in JAX itself."""
    source = getattr(opened(jaxpr).debug_info, "func_src_info", None) or ""
    return "/jax/" in source.replace("\\", "/")


STRUCTURES = {
    **{name: call for name in CALL_JAXPR},
    "checkpoint": Checkpoint.apply,
    "remat2": Checkpoint.apply,
    "custom_jvp_call": custom_rule,
    "custom_vjp_call": custom_rule,
    "scan": Scan.apply,
    "cond": Cond.apply,
    "while": while_,
}
"""How equations with functions inside are recorded, under the names of their primitives."""
