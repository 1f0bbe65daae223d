"""`lax.while_loop`, differentiated as a scan."""

import jax
import jax.numpy as jnp
from jax import lax
from jax.core import Tracer
from jax.extend import core

from bpjax.tape.record import Call, Recorder
from bpjax.tape.values import Value, is_differentiable
from bpjax.util.jaxprs import opened


def while_(recorder: Recorder, equation, inputs: list[Value]) -> Call:
    """`while_loop`, differentiated as a scan over as many steps as it takes, or over `while_bound` steps.

    Raises:
        ValueError: where the number of iterations is not known when JAX traces, and no bound is given.
    """
    arrays = [value.array for value in inputs]
    traced = [a for a in arrays if isinstance(a, Tracer)]
    if not traced and equation.effects and opened(equation.params["cond_jaxpr"]).outvars[0].aval.shape == ():
        return _each_iteration(recorder, equation, inputs)
    length = recorder.while_bound if traced else count_iterations(equation, arrays)
    if length is None:
        raise ValueError(
            "The number of iterations of a `while_loop` is not known while JAX traces it (under `jit` or `vmap`, or in "
            "another loop), so its reverse sweep cannot be compiled. Pass `while_bound=`, the most iterations it can "
            "take, or call it on known arrays."
        )
    jaxpr = jax.make_jaxpr(lambda *arrays: bounded_loop(equation, arrays, length))(*arrays)
    entries, outputs = recorder.record(jaxpr, inputs)
    return Call(equation, inputs, outputs, entries)


def _each_iteration(recorder: Recorder, equation, inputs: list[Value]) -> Call:
    """Record iteration by iteration: effects, as of `jax.debug.print`, occur once, not once more for the count."""
    n_cond, n_body = equation.params["cond_nconsts"], equation.params["body_nconsts"]
    body_consts, carry = inputs[n_cond : n_cond + n_body], inputs[n_cond + n_body :]
    condition, _, _ = _parts(equation, [value.array for value in inputs])
    entries = []
    while condition([value.array for value in carry]):
        found, carry = recorder.record(equation.params["body_jaxpr"], [*body_consts, *carry])
        entries += found
    return Call(equation, inputs, carry, entries)


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
    count, _ = lax.while_loop(lambda s: jnp.any(condition(s[1])), lambda s: (s[0] + 1, body(s[1])), (0, carry))
    return int(count)


def bounded_loop(equation, arrays, length: int) -> list:
    """The results of a `while_loop` as a scan over `length` steps; NaN where the loop would take more.

    Under `vmap` the condition has a batch axis: a loop whose condition is false keeps its values.
    """
    condition, body, carry = _parts(equation, arrays)

    def step(carry, _):
        goes_on = condition(carry)

        def run(carry):
            return [_select(goes_on, new, old) for new, old in zip(body(carry), carry, strict=True)]

        return lax.cond(jnp.any(goes_on), run, lambda carry: carry, carry), None

    last, _ = lax.scan(step, carry, None, length=length)
    factor = jnp.where(condition(last), jnp.nan, 1)  # a factor, so that the cotangents become NaN too
    return [a * _along(factor.astype(a.dtype), a) if is_differentiable(a) else a for a in last]


def _select(predicate, new, old):
    if predicate.ndim == 0:
        return new
    return lax.select(jnp.broadcast_to(_along(predicate, new), new.shape), new, old)


def _along(batch, a):
    """An array of the batch axes of `a`, with axes of size 1 for the others."""
    return batch.reshape(batch.shape + (1,) * (a.ndim - batch.ndim))
