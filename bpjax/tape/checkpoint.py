"""`jax.checkpoint`: what the reverse sweep computes again instead of storing it."""

from dataclasses import dataclass
from typing import Any

import jax
from jax import lax
from jax.extend import core

from bpjax.tape.joint import active_results, joint
from bpjax.tape.partition import Partition, partition_call
from bpjax.tape.record import Recorder
from bpjax.tape.scattered import add_contribution
from bpjax.tape.values import Adjoints, Value


@dataclass(eq=False)
class Checkpoint:
    """Only the inputs are stored, and the values that the policy of the checkpoint saves."""

    equation: core.JaxprEqn
    inputs: list[Value]
    outputs: list[Value]
    program: Partition
    residuals: list
    structure: Any  # of the cotangents of the active inputs, see `joint`

    @classmethod
    def apply(cls, recorder: Recorder, equation, inputs: list[Value]) -> "Checkpoint":
        """Run the function."""
        closed, policy = equation.params["jaxpr"], equation.params["policy"]
        active = [value.active for value in inputs]
        is_active = active_results(closed, active)
        traced, shapes = joint(recorder, closed, active, is_active, num_sparse=len(inputs))
        recompute = True if policy is None else lambda operation: not is_saved(policy, operation)
        program = partition_call(traced, len(inputs), len(is_active), recompute)
        results, residuals = program.run_forward([value.array for value in inputs])
        outputs = [Value(r, k) for r, k in zip(results, is_active, strict=True)]
        return cls(equation, inputs, outputs, program, residuals, jax.tree.structure(shapes))

    def sweep(self, adjoints: Adjoints) -> None:
        """Recompute and sweep. The barrier keeps XLA from using the values of the first evaluation."""
        if all(adjoints.of(value) is None for value in self.outputs):
            return
        cotangents = [adjoints.or_zeros(v) for v in self.outputs if v.active]
        arrays, residuals, cotangents = lax.optimization_barrier(
            ([value.array for value in self.inputs], self.residuals, cotangents)
        )
        found = self.structure.unflatten(self.program.run_backward(arrays, residuals, cotangents))
        for value, cotangent in zip([v for v in self.inputs if v.active], found, strict=True):
            add_contribution(adjoints, value, cotangent)


def is_saved(policy, operation) -> bool:
    """Whether a checkpoint policy saves the result of an operation; one that moves it to the host saves it too."""
    answer = policy(operation.primitive, *(atom.aval for atom in operation.invars), **operation.params)
    return answer if isinstance(answer, bool) else "Recompute" not in type(answer).__name__
