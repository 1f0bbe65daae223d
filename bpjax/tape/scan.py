"""`lax.scan` as two programs: a loop stays a loop, forward and backward, whatever its length."""

from dataclasses import dataclass, field

import jax
from jax import lax
from jax.extend import core

from bpjax.tape.joint import active_in_loop, joint
from bpjax.tape.partition import BACKWARD, FORWARD, INVARIANT, Partition, partition
from bpjax.tape.record import Recorder
from bpjax.tape.scattered import add_loop, add_step, loop_totals
from bpjax.tape.values import Adjoints, Value
from bpjax.util.jaxprs import opened, scan_counts


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
        active, has_cotangent = active_in_loop(closed, [value.active for value in inputs], n_consts, n_carry)
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
        known = dict(zip(program.jaxpr.invars, [value.array for value in self.inputs], strict=False))
        cotangents = program.jaxpr.invars[len(self.inputs) :]
        outside = dict(zip(program.invariants, self.invariants, strict=True))
        consts, structure = [v for v in self.inputs[:n_consts] if v.active], jax.tree.structure(self.shapes)

        def step(state, slices):
            d_consts, d_carry = state
            d_y, residuals, x = slices
            inside = outside | dict(zip(cotangents, (*d_carry, *d_y), strict=True))
            inside |= dict(zip([*program.residuals, *program.given], [*residuals, *x], strict=True))
            found = structure.unflatten(program.evaluate(BACKWARD, inside, program.jaxpr.outvars[num_results:]))
            d_consts, rows = add_step(d_consts, found[: len(consts)])
            found = found[len(consts) :]
            return (d_consts, found[: len(d_carry)]), (rows, found[len(d_carry) :])

        d_consts = loop_totals(consts, self.shapes[: len(consts)], p["length"])
        xs = [known[variable] for variable in program.given]
        (d_consts, d_carry), (rows, d_xs) = lax.scan(
            step, (d_consts, d_last), (d_ys, self.residuals, xs), p["length"], not p["reverse"], p["unroll"]
        )
        for value, total, stacked in zip(consts, d_consts, rows, strict=True):
            add_loop(adjoints, value, total, stacked)
        others = zip(self.inputs[n_consts:], self.active[n_consts:], strict=True)
        for value, cotangent in zip([v for v, is_active in others if is_active], [*d_carry, *d_xs], strict=True):
            if value.active:
                adjoints.add(value, cotangent)
