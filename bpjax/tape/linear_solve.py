"""`lax.custom_linear_solve`: the solution of a linear system, differentiated without differentiating the solver."""

from dataclasses import dataclass

from jax.extend import core

from bpjax.tape.record import Recorder, sweep
from bpjax.tape.values import Adjoints, Value
from bpjax.util.jaxprs import bind_primitive


@dataclass(eq=False)
class LinearSolve:
    """A(θ) x = b      db = A⁻ᵀ dx, by the solver of the transposed system      dθ = −(∂ A(θ) x / ∂θ)ᵀ db.

    Giles 2008, "Collected matrix derivative results for forward and reverse mode algorithmic differentiation",
    section 2.3.1. `jnp.linalg.solve` and the iterative solvers of `jax.scipy.sparse.linalg` are such operations.
    """

    equation: core.JaxprEqn
    inputs: list[Value]
    outputs: list[Value]
    recorder: Recorder

    @classmethod
    def apply(cls, recorder: Recorder, equation, inputs: list[Value]) -> "LinearSolve | None":
        """Solve. None, which leaves it to JAX, without a transposed solver or with auxiliary results."""
        num_theta, num_constants = equation.params["const_lengths"].matvec, sum(equation.params["const_lengths"])
        outputs = len(equation.outvars)
        if equation.params["jaxprs"].transpose_solve is None or len(inputs) - num_constants != outputs:
            return None
        active = any(value.active for value in (*inputs[:num_theta], *inputs[num_constants:]))
        results = bind_primitive(equation, [value.array for value in inputs])
        return cls(equation, inputs, [Value(x, active) for x in results], recorder)

    def sweep(self, adjoints: Adjoints) -> None:
        """The cotangents of b, and through them those of the constants θ of A."""
        if all(adjoints.of(value) is None for value in self.outputs):
            return
        lengths, jaxprs = self.equation.params["const_lengths"], self.equation.params["jaxprs"]
        constants = [value.array for value in self.inputs[: sum(lengths)]]
        a, at, solve, solve_t = (_take(constants, length) for length in lengths)
        exchanged = lambda four: type(four)(four.vecmat, four.matvec, four.transpose_solve, four.solve)
        db = self.equation.primitive.bind(
            *at, *a, *solve_t, *solve, *map(adjoints.or_zeros, self.outputs),
            const_lengths=exchanged(lengths), jaxprs=exchanged(jaxprs),
        )  # fmt: skip
        for value, cotangent in zip(self.inputs[sum(lengths) :], db, strict=True):
            if value.active:
                adjoints.add(value, cotangent)
        theta = self.inputs[: lengths.matvec]
        if any(value.active for value in theta):
            x = [Value(value.array, False) for value in self.outputs]
            entries, products = self.recorder.record(jaxprs.matvec, [*theta, *x])
            for product, cotangent in zip(products, db, strict=True):
                adjoints.add(product, -cotangent)
            sweep(entries, adjoints)


def _take(items: list, count: int) -> list:
    """The first items, which are removed."""
    taken = items[:count]
    del items[:count]
    return taken
