"""Rules of functions within functions: calls, `scan`, `while_loop`, `cond` and `switch`."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from bpjax.sweeps.lanes.interpreter import Interpreter, eval_closed_jaxpr, eval_jaxpr
from bpjax.sweeps.lanes.values import PerRun, array_of, broadcast_to_runs, recompute_cost, unwrap_like, wrap_like
from bpjax.types import Array
from bpjax.util.jaxprs import CALL_JAXPR, scan_counts


def call(interpreter: Interpreter, equation, values: list) -> list:
    """A call of a function: its jaxpr is evaluated in place."""
    inner = equation.params[CALL_JAXPR[equation.primitive.name]]
    if hasattr(inner, "consts"):
        return eval_closed_jaxpr(interpreter, inner, values)
    return eval_jaxpr(interpreter, inner, (), values)


def which_are_per_run(interpreter: Interpreter, closed, values: list) -> list[bool]:
    """Which results of a jaxpr are `PerRun`, found by tracing, without computing anything.

    Args:
        interpreter: the rules.
        closed: a closed jaxpr.
        values: its arguments.
    """
    found = []

    def trace():
        results = eval_closed_jaxpr(interpreter.inner(), closed, values)
        found.extend(isinstance(result, PerRun) for result in results)
        return [array_of(result) for result in results]

    jax.eval_shape(trace)
    return found


def per_run_carry(runs: int, step: Callable[[list], list[bool]], carry: list) -> list:
    """The carry of a loop, with every entry that becomes `PerRun` after some iteration made `PerRun` from the start.

    Args:
        runs: the number of runs.
        step: carry -> which of its entries are `PerRun` after one iteration.
        carry: the values before the first iteration.
    """
    while True:
        becomes = step(carry)[: len(carry)]
        grown = [
            PerRun(broadcast_to_runs(value, runs)) if new and not isinstance(value, PerRun) else value
            for value, new in zip(carry, becomes, strict=True)
        ]
        if all(isinstance(a, PerRun) == isinstance(b, PerRun) for a, b in zip(carry, grown, strict=True)):
            return grown
        carry = grown


def scan(interpreter: Interpreter, equation, values: list) -> list | None:
    """`lax.scan` with its body evaluated for all runs."""
    p, runs = equation.params, interpreter.runs
    if not p["length"]:
        return None
    closed = p["jaxpr"]
    n_consts, n_carry = scan_counts(equation)
    consts, carry, xs = values[:n_consts], values[n_consts : n_consts + n_carry], values[n_consts + n_carry :]
    x = [PerRun(x.array[0]) if isinstance(x, PerRun) else x[0] for x in xs]
    carry = per_run_carry(runs, lambda carry: which_are_per_run(interpreter, closed, [*consts, *carry, *x]), carry)
    ys_of_one_step: list = []

    def body(arrays, slices):
        arguments = [*consts, *wrap_like(carry, arrays), *wrap_like(xs, slices)]
        results = eval_closed_jaxpr(interpreter.inner(), closed, arguments)
        ys_of_one_step[:] = results[n_carry:]
        return unwrap_like(carry, results[:n_carry], runs), [array_of(y) for y in results[n_carry:]]

    init, xs_arrays = [array_of(value) for value in carry], [array_of(x) for x in xs]
    last, ys = lax.scan(body, init, xs_arrays, length=p["length"], reverse=p["reverse"], unroll=p["unroll"])
    return [*wrap_like(carry, last), *wrap_like(ys_of_one_step, ys)]


def while_(interpreter: Interpreter, equation, values: list) -> list:
    """`lax.while_loop`: iterates while any run does; a run whose condition is False keeps its values."""
    p, runs = equation.params, interpreter.runs
    n_cond, n_body = p["cond_nconsts"], p["body_nconsts"]
    cond_consts, body_consts, carry = values[:n_cond], values[n_cond : n_cond + n_body], values[n_cond + n_body :]

    def condition(carry):
        return eval_closed_jaxpr(interpreter.inner(), p["cond_jaxpr"], [*cond_consts, *carry])[0]

    def condition_is_per_run(carry) -> bool:
        return which_are_per_run(interpreter, p["cond_jaxpr"], [*cond_consts, *carry])[0]

    def step(carry):
        becomes = which_are_per_run(interpreter, p["body_jaxpr"], [*body_consts, *carry])
        return [True] * len(carry) if condition_is_per_run(carry) else becomes

    carry = per_run_carry(runs, step, list(carry))
    stops_per_run = condition_is_per_run(carry)

    def cond_fun(arrays):
        running = array_of(condition(wrap_like(carry, arrays)))
        return running.any() if stops_per_run else running

    def body_fun(arrays):
        before = wrap_like(carry, arrays)
        after = eval_closed_jaxpr(interpreter.inner(), p["body_jaxpr"], [*body_consts, *before])
        after = unwrap_like(carry, after, runs)
        if not stops_per_run:
            return after
        running = condition(before).array
        return [jnp.where(jnp.broadcast_to(running, a.shape), a, b) for a, b in zip(after, arrays, strict=True)]

    return wrap_like(carry, lax.while_loop(cond_fun, body_fun, [array_of(value) for value in carry]))


def cond(interpreter: Interpreter, equation, values: list) -> list:
    """`lax.cond` and `switch`: one branch where all runs share the index, else all branches and a choice per run."""
    index, *operands = values
    branches, runs = equation.params["branches"], interpreter.runs
    if isinstance(index, PerRun):
        results = [eval_closed_jaxpr(interpreter, branch, operands) for branch in branches]
        chosen = jnp.clip(index.array.astype(jnp.int32), 0, len(branches) - 1)
        return [
            PerRun(choose(chosen, [broadcast_to_runs(r, runs) for r in column]), sum(map(recompute_cost, column)))
            for column in zip(*results, strict=True)
        ]
    columns = zip(*(which_are_per_run(interpreter, branch, operands) for branch in branches), strict=True)
    are_per_run = [any(column) for column in columns]

    def on_arrays(branch):
        def run(arrays):
            results = eval_closed_jaxpr(interpreter.inner(), branch, wrap_like(operands, arrays))
            return [
                broadcast_to_runs(r, runs) if per_run else array_of(r)
                for r, per_run in zip(results, are_per_run, strict=True)
            ]

        return run

    arrays = lax.switch(index, [on_arrays(branch) for branch in branches], [array_of(v) for v in operands])
    return [PerRun(a) if per_run else a for a, per_run in zip(arrays, are_per_run, strict=True)]


def choose(index: Array, arrays: list[Array]) -> Array:
    """Per run the array with its index (runs,), from arrays (..., runs)."""
    result = arrays[0]
    for k, array in enumerate(arrays[1:], start=1):
        result = jnp.where(jnp.broadcast_to(index >= k, array.shape), array, result)
    return result
