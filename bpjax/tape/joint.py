"""A function traced together with its reverse sweep, and which of its results depend on which arguments."""

from collections.abc import Sequence

import jax

from bpjax.tape.derivatives import depends_on_inputs
from bpjax.tape.record import Recorder, sweep
from bpjax.tape.scattered import sparse_or_dense
from bpjax.tape.values import Adjoints, Value
from bpjax.util.jaxprs import CALL_JAXPR, live_equations, opened, scan_counts


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


# --- Which results depend on which arguments -------------------------------------------------------------------------


def active_results(jaxpr, active: Sequence[bool]) -> list[bool]:
    """Which results of a function depend on its active arguments."""
    jaxpr = opened(jaxpr)
    found = dict(zip(jaxpr.invars, active, strict=True))
    for equation in live_equations(jaxpr):
        inputs = [not hasattr(atom, "val") and found.get(atom, False) for atom in equation.invars]
        outputs = _active_outputs(equation, inputs) if any(inputs) else [False] * len(equation.outvars)
        found.update(zip(equation.outvars, outputs, strict=True))
    return [not hasattr(atom, "val") and found.get(atom, False) for atom in jaxpr.outvars]


def active_in_loop(body, active: list[bool], n_consts: int, n_carry: int) -> tuple[list[bool], list[bool]]:
    """The active arguments and results of the body of a loop, with the carry as it is after some step."""
    end, active = n_consts + n_carry, list(active)
    while True:
        results = active_results(body, active)
        grown = [a or b for a, b in zip(active[n_consts:end], results[:n_carry], strict=True)]
        if grown == active[n_consts:end]:
            return active, grown + results[n_carry:]
        active[n_consts:end] = grown


def _active_outputs(equation, inputs: list[bool]) -> list[bool]:
    name, p = equation.primitive.name, equation.params
    if name in CALL_JAXPR and not name.startswith("custom"):
        return active_results(p[CALL_JAXPR[name]], inputs)
    if name == "scan":
        return active_in_loop(p["jaxpr"], inputs, *scan_counts(equation))[1]
    if name == "cond":
        columns = zip(*(active_results(branch, inputs[1:]) for branch in p["branches"]), strict=True)
        return [any(column) for column in columns]
    if name == "while":
        inputs, n_consts = inputs[p["cond_nconsts"] :], p["body_nconsts"]
        return active_in_loop(p["body_jaxpr"], inputs, n_consts, len(inputs) - n_consts)[1]
    return [depends_on_inputs(name, variable.aval) for variable in equation.outvars]
