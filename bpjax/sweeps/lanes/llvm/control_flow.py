"""Rules of functions within functions: loops, and `cond` as a choice between the results of all branches."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from bpjax.sweeps.lanes.llvm.arrays import Array, Keys, allocate, cheap, components, computed, elementwise, put
from bpjax.sweeps.lanes.llvm.dtypes import Unsupported, Value
from bpjax.sweeps.lanes.llvm.emitter import Emitter
from bpjax.sweeps.lanes.llvm.flatten import flatten_jaxpr
from bpjax.util.jaxprs import scan_counts


def scan(evaluate: Callable) -> Callable:
    """The rule of `scan`; `evaluate` writes the code of the body."""

    def rule(emitter: Emitter, equation, arrays: list) -> list:
        params = equation.params
        length, (constants, carried) = params["length"], scan_counts(equation)
        if not length:
            raise Unsupported("scan of length 0")
        known, carry, xs = (
            [cheap(emitter, array) for array in arrays[:constants]],
            [computed(emitter, array) for array in arrays[constants : constants + carried]],
            [cheap(emitter, array) for array in arrays[constants + carried :]],
        )
        ys = [memory_for(emitter, v.aval) for v in equation.outvars[carried:]]
        flat = flatten_jaxpr(params["jaxpr"])

        def body(i, nothing):
            place = emitter.add(length - 1, negative(emitter, i)) if params["reverse"] else i
            slices = [entry_of(x, place) for x in xs]
            results = evaluate(emitter, flat, [*known, *carry, *slices])
            for y, result in zip(components(ys), components(results[carried:]), strict=True):
                emitter.nest(result.shape, lambda ix, y=y, r=result: put(emitter, y, (place, *ix), r.get(ix)))
            overwrite(emitter, carry, results[:carried])
            return nothing

        emitter.loop(length, body)
        return [*carry, *ys]

    return rule


def negative(emitter: Emitter, index):
    """The negative of an index."""
    return -index if isinstance(index, int) else emitter.b.neg(index)


def memory_for(emitter: Emitter, aval):
    """Memory for an array, or for keys."""
    if not jnp.issubdtype(aval.dtype, jax.dtypes.prng_key):
        return allocate(emitter, aval.shape, aval.dtype)
    return Keys(*(allocate(emitter, aval.shape, "uint32") for _ in range(2)))


def entry_of(array, place):
    """The entry at a place of the first axis."""
    if isinstance(array, Keys):
        return Keys(*(entry_of(part, place) for part in array))
    return Array(array.shape[1:], array.dtype, lambda indices: array.get((place, *indices)), is_cheap=True)


def overwrite(emitter: Emitter, targets: list, results: list) -> None:
    """Write results into memory that they may read: all are computed before any is written."""
    changed = [(t, r) for t, r in zip(components(targets), components(results), strict=True) if r is not t]
    ready = [(target, computed(emitter, result)) for target, result in changed]
    for target, value in ready:
        emitter.nest(target.shape, lambda indices, t=target, v=value: put(emitter, t, indices, v.get(indices)))


def while_loop(evaluate: Callable) -> Callable:
    """The rule of `while_loop`: iterates while any run does; a run whose condition is False keeps its values."""

    def rule(emitter: Emitter, equation, arrays: list) -> list:
        params, b = equation.params, emitter.b
        first, second = params["cond_nconsts"], params["cond_nconsts"] + params["body_nconsts"]
        known = [cheap(emitter, array) for array in arrays[:second]]
        carry = [computed(emitter, array) for array in arrays[second:]]
        head, body, after = (b.append_basic_block(name) for name in ("while", "do", "done"))
        b.branch(head)
        b.position_at_end(head)
        (condition,) = evaluate(emitter, flatten_jaxpr(params["cond_jaxpr"]), [*known[:first], *carry])
        goes_on = condition.get(())
        b.cbranch(emitter.any(goes_on), body, after)
        b.position_at_end(body)
        results = evaluate(emitter, flatten_jaxpr(params["body_jaxpr"]), [*known[first:], *carry])
        overwrite(emitter, carry, [masked(emitter, goes_on, *pair) for pair in zip(results, carry, strict=True)])
        b.branch(head)
        b.position_at_end(after)
        return carry

    return rule


def masked(emitter: Emitter, condition: Value, new, old):
    """The new value for the runs of which a condition holds, else the old one; also of keys."""
    if new is old:
        return old
    if isinstance(new, Keys):
        return Keys(*(masked(emitter, condition, a, b) for a, b in zip(new, old, strict=True)))
    return elementwise(old.shape, old.dtype, lambda a, b: emitter.b.select(condition, a, b), new, old)


def cond(evaluate: Callable) -> Callable:
    """The rule of `cond` and `switch`: all branches are computed, and each run takes those of its branch."""

    def rule(emitter: Emitter, equation, arrays: list) -> list:
        index, *operands = (cheap(emitter, array) for array in arrays)
        branches = [evaluate(emitter, flatten_jaxpr(branch), operands) for branch in equation.params["branches"]]
        results = []
        for variable, column in zip(equation.outvars, zip(*branches, strict=True), strict=True):
            words = [
                chosen(emitter, index, variable.aval, list(cases)) for cases in zip(*map(of_words, column), strict=True)
            ]
            results.append(words[0] if len(words) == 1 else Keys(*words))
        return results

    return rule


def of_words(value) -> tuple:
    """An array alone, or the two of keys."""
    return tuple(value) if isinstance(value, Keys) else (value,)


def chosen(emitter: Emitter, index: Array, out, cases: list[Array]) -> Array:
    """The case with this number for each run; a number beyond the cases means the nearest."""
    is_bool = np.dtype(index.dtype).kind == "b"

    def choose(number, *values):
        result = values[0]
        for k, value in enumerate(values[1:], start=1):
            later = number if is_bool else emitter.b.icmp_signed(">=", number, emitter.constant(k, index.dtype))
            result = emitter.b.select(later, value, result)
        return result

    return elementwise(out.shape, cases[0].dtype, choose, index, *cases)
