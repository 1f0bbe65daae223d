"""`lax.cond` and `lax.switch`: each branch as two programs."""

from dataclasses import dataclass, field

import jax
from jax import lax
from jax.core import Tracer
from jax.extend import core

from bpjax.tape.joint import active_results, joint
from bpjax.tape.partition import Partition, partition_call
from bpjax.tape.record import Call, Entry, Recorder
from bpjax.tape.scattered import add_contribution, in_every_branch
from bpjax.tape.values import Adjoints, Value


@dataclass(eq=False)
class Cond:
    """The branch taken stores its residuals, in places that the branches share; zeros are in the other places."""

    equation: core.JaxprEqn
    inputs: list[Value]
    outputs: list[Value]
    programs: list[Partition]
    shapes: list[list]  # of the cotangents of the active operands, for each branch, see `joint`
    residuals: list = field(default_factory=list)

    @classmethod
    def apply(cls, recorder: Recorder, equation, inputs: list[Value]) -> Entry:
        """Run the branch that the index chooses; an index that is known at this time leaves one branch."""
        branches = equation.params["branches"]
        index, *operands = inputs
        if not isinstance(index.array, Tracer):
            chosen = branches[min(max(int(index.array), 0), len(branches) - 1)]
            entries, outputs = recorder.record(chosen, operands)
            return Call(equation, inputs, outputs, entries)
        active = [value.active for value in operands]
        columns = zip(*(active_results(branch, active) for branch in branches), strict=True)
        is_active = [any(column) for column in columns]
        programs, shapes = [], []
        for branch in branches:
            traced, of_branch = joint(recorder, branch, active, is_active, num_sparse=len(operands))
            shapes.append(of_branch)
            programs.append(partition_call(traced, len(operands), len(is_active), recorder.recompute))
        entry = cls(equation, inputs, [], programs, shapes)
        outputs, entry.residuals = entry._run_forward([value.array for value in operands])
        entry.outputs = [Value(a, k) for a, k in zip(outputs, is_active, strict=True)]
        return entry

    def _run_forward(self, arrays: list) -> tuple[list, list]:
        avals, places = shared_places([[v.aval for v in program.residuals] for program in self.programs])

        def forward(program, places):
            def run():
                results, residuals = program.run_forward(arrays)
                stored = [lax.full(aval.shape, 0, aval.dtype) for aval in avals]
                for place, residual in zip(places, residuals, strict=True):
                    stored[place] = residual
                return results, stored

            return run

        return self._switch([forward(program, some) for program, some in zip(self.programs, places, strict=True)])

    def sweep(self, adjoints: Adjoints) -> None:
        """The backward program of the branch that was taken."""
        if all(adjoints.of(value) is None for value in self.outputs):
            return
        arrays = [value.array for value in self.inputs[1:]]
        cotangents = [adjoints.or_zeros(v) for v in self.outputs if v.active]
        _, places = shared_places([[v.aval for v in program.residuals] for program in self.programs])

        def backward(branch):
            def run():
                residuals = [self.residuals[k] for k in places[branch]]
                found = self.programs[branch].run_backward(arrays, residuals, cotangents)
                found = jax.tree.structure(self.shapes[branch]).unflatten(found)
                return in_every_branch(found, self.shapes, branch)

            return run

        found = self._switch([backward(branch) for branch in range(len(self.programs))])
        for value, cotangent in zip([v for v in self.inputs[1:] if v.active], found, strict=True):
            add_contribution(adjoints, value, cotangent)

    def _switch(self, branches: list):
        """The branch of the index; branches for platforms are chosen when XLA compiles, and lowered for theirs only."""
        platforms = self.equation.params.get("branches_platforms")
        if platforms is None:
            return lax.switch(self.inputs[0].array, branches)
        chosen = [(name, branch) for names, branch in zip(platforms, branches, strict=True)
                  for name in names or ("default",)]  # fmt: skip
        return lax.platform_dependent(**dict(chosen))


def shared_places(avals: list[list]) -> tuple[list, list[list[int]]]:
    """Places for the residuals of several branches of which one runs: those of equal shape and dtype share places.

    Args:
        avals: of the residuals, for each branch.

    Returns:
        the avals of the places, and for each branch the places of its residuals.
    """
    shared, places = [], []
    for branch in avals:
        free = list(range(len(shared)))
        chosen = []
        for aval in branch:
            same = [k for k in free if (shared[k].shape, shared[k].dtype) == (aval.shape, aval.dtype)]
            if same:
                free.remove(same[0])
            else:
                shared.append(aval)
            chosen.append(same[0] if same else len(shared) - 1)
        places.append(chosen)
    return shared, places
