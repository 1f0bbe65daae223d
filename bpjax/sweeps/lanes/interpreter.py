"""`lanes(f)` means what `jax.vmap(f)` means, in another layout: the runs lie along the last axis of every array.

`vmap` puts the run axis first and turns the products of tiny layers into batched matrix products, which XLA does badly.
Here `f` is traced once for a single run and its jaxpr is read equation by equation, with the runs as one more, last
axis: axes keep their numbers, elementwise operations become long vector loops, and a contraction over a few units is
written out as that many multiply-adds. An epoch of all runs is then a handful of fused loops.

    Σₖ a[i,k] b[k,j]     per run     →     Σₖ a[i,k,:] b[k,j,:]     for all runs, k written out

A value is a plain array where all runs share it (examples, targets: constants stay constants and fold) and a `PerRun`
where each has its own. What no rule here knows is handed to `vmap`, with the reason in the log "bpjax.sweeps.lanes".

Only documented interfaces of JAX are used (`jax.make_jaxpr`, `jax.extend.core`), in this file alone.
"""

import functools
import logging
import math
import operator
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend import core

from bpjax.types import Array

log = logging.getLogger("bpjax.sweeps.lanes")

WRITTEN_OUT = 32
"""Terms up to which a sum is written out. Longer ones are loops inside one kernel: they compile in constant time."""
WORTH_STORING = 10
"""Operations a run that storing a result must save. To store costs about a microsecond, once for all runs."""


class PerRun(NamedTuple):
    """A value of which each run has its own."""

    array: Array  # (*shape of one run, runs)
    work: int = 0  # operations that XLA would repeat to compute an entry for one more reader; 0: it lies in memory


class Reader(NamedTuple):
    """What the rules for single operations need to know, and what has been computed in this function body."""

    runs: int
    unknown: Array  # () a bool no compiler can know, see `stored`
    known: dict  # operation on these very values -> results: XLA cannot find such repetitions behind `stored`
    origins: dict  # id of a stored value -> the value it was computed as

    def body(self) -> "Reader":
        """A reader for the body of a loop or a branch, whose results mean nothing outside."""
        return self._replace(known={}, origins=dict(self.origins))


def lanes(f: Callable, in_axes=0, out_axes=0) -> Callable:
    """`jax.vmap(f, in_axes, out_axes)` with the runs along the last axis inside.

    Equal to `vmap` within rounding: sums may be taken in another order. Give `in_axes=-1, out_axes=-1` to keep arrays
    in this layout from call to call. Works under `jit`, `scan`, `while_loop` and `cond`, and with all of these and
    `jax.grad` inside `f`; a derivative taken from outside does not see custom derivative rules inside `f`.

    Args:
        f: a function of pytrees of arrays, as `vmap` takes it. Best where arrays are small: up to some hundred numbers.
        in_axes: the run axis of each argument: an integer or None for all or each of them, or a pytree of such.
        out_axes: where the run axis comes out: an integer.

    Raises:
        ValueError: no argument has a run axis, or their lengths differ.
    """

    @functools.wraps(f)
    def of_all_runs(*args):
        flat, structure = jax.tree.flatten(args)
        axes = flat_axes(in_axes, args, structure)
        runs = common_length(flat, axes)
        values = [
            jnp.asarray(a) if axis is None else PerRun(jnp.moveaxis(a, axis, -1))
            for a, axis in zip(flat, axes, strict=True)
        ]
        kinds = [
            jax.ShapeDtypeStruct(v.array.shape[:-1], v.array.dtype) if isinstance(v, PerRun) else jax.typeof(v)
            for v in values
        ]
        jaxpr, out = jax.make_jaxpr(lambda *flat: f(*structure.unflatten(flat)), return_shape=True)(*kinds)
        reader = Reader(runs, unknown_to_compilers(values), {}, {})
        results = [per_run(reader, v) for v in read(reader, jaxpr, values)]
        return jax.tree.structure(out).unflatten([jnp.moveaxis(r, -1, out_axes) for r in results])

    return of_all_runs


def flat_axes(in_axes, args, structure) -> list[int | None]:
    """The run axis of every leaf of the arguments, as `jax.vmap` reads `in_axes`."""
    if in_axes is None or isinstance(in_axes, int):
        return [in_axes] * structure.num_leaves
    axes = []
    for spec, arg in zip(in_axes, args, strict=True):
        leaves = jax.tree.map(
            lambda axis, part: [axis] * jax.tree.structure(part).num_leaves, spec, arg, is_leaf=lambda a: a is None
        )
        axes += jax.tree.leaves(leaves, is_leaf=lambda a: a is None)
    return axes


def common_length(flat, axes) -> int:
    """The number of runs, or a `ValueError` where the arguments disagree."""
    lengths = {jnp.shape(a)[axis] for a, axis in zip(flat, axes, strict=True) if axis is not None}
    if len(lengths) != 1:
        raise ValueError(
            f"`lanes` expected arguments with one number of runs along their run axes, got {sorted(lengths)}. "
            "Say by `in_axes` which axis of each argument counts the runs, None where all share it."
        )
    return lengths.pop()


def unknown_to_compilers(values) -> Array:
    """A bool () that depends on an argument, so that no compiler can know it."""
    for value in values:
        if isinstance(value, PerRun) and value.array.size and jnp.issubdtype(value.array.dtype, jnp.floating):
            return value.array[(0,) * value.array.ndim] < 1
    return jnp.asarray(True)


# --- Reading a jaxpr -----------------------------------------------------------------------------------------------


def read(reader: Reader, closed, values: list) -> list:
    """The results of a closed jaxpr, for arguments that are shared by all runs or `PerRun`."""
    return read_open(reader, closed.jaxpr, closed.consts, values)


def read_open(reader: Reader, jaxpr, consts, values: list) -> list:
    """As `read`, of a jaxpr beside its constants."""
    known = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*consts, *values), strict=True))

    def value_of(atom):
        return atom.val if isinstance(atom, core.Literal) else known[atom]

    equations = needed(jaxpr)
    reads = count_reads(equations, jaxpr.outvars)
    for equation in equations:
        inputs = [value_of(atom) for atom in equation.invars]
        for variable, result in zip(equation.outvars, evaluate_once(reader, equation, inputs), strict=True):
            known[variable] = stored(reader, result, reads[variable]) if isinstance(result, PerRun) else result
    return [value_of(atom) for atom in jaxpr.outvars]


def needed(jaxpr) -> list:
    """The equations whose results are asked for, in order."""
    wanted, kept = set(map(id, jaxpr.outvars)), []
    for equation in reversed(jaxpr.eqns):
        if equation.effects or any(id(variable) in wanted for variable in equation.outvars):
            wanted.update(map(id, equation.invars))
            kept.append(equation)
    return kept[::-1]


def evaluate_once(reader: Reader, equation, values: list) -> list:
    """`evaluate`, unless the same operation was done on the same values: a second forward pass costs nothing."""
    if equation.effects or functions_in(equation):
        return evaluate(reader, equation, values)
    inputs = tuple(
        (str(atom.val), str(atom.aval)) if isinstance(atom, core.Literal) else id(reader.origins.get(id(value), value))
        for atom, value in zip(equation.invars, values, strict=True)
    )
    operation = (equation.primitive.name, str(equation.params), inputs)
    if operation not in reader.known:
        reader.known[operation] = values, evaluate(reader, equation, values)  # the values, lest their ids be reused
    return reader.known[operation][1]


def evaluate(reader: Reader, equation, values: list) -> list:
    """One equation: of shared values as JAX does it, else by the rule for its operation, else by `vmap`."""
    name = equation.primitive.name
    if not any(isinstance(v, PerRun) for v in values) and name not in CALLS:
        return bind(equation, values)
    if name in ELEMENTWISE:
        return elementwise(reader, equation, values)
    rule = RULES.get(name)
    results = rule(reader, equation, values) if rule else None
    return by_vmap(reader, equation, values) if results is None else results


def bind(equation, values) -> list:
    """The operation itself, on arrays."""
    bound = equation.primitive.get_bind_params(equation.params)
    functions, params = bound if isinstance(bound, tuple) else ((), bound)
    results = equation.primitive.bind(*functions, *values, **params)
    return list(results) if equation.primitive.multiple_results else [results]


def by_vmap(reader: Reader, equation, values) -> list:
    """What has no rule: `vmap` of the operation, the runs still last."""
    shapes = ", ".join(str(getattr(atom.aval, "shape", "?")) for atom in equation.invars)
    log.info("%s of %s by vmap: no rule writes it out", equation.primitive.name, shapes)
    axes = [-1 if isinstance(v, PerRun) else None for v in values]
    of_all = jax.vmap(lambda *arrays: bind(equation, arrays), in_axes=axes, out_axes=-1, axis_size=reader.runs)
    return [PerRun(result) for result in of_all(*map(raw, values))]


def raw(value):
    """The array behind a value."""
    return value.array if isinstance(value, PerRun) else value


def per_run(reader: Reader, value) -> Array:
    """The value with the run axis last, shared ones repeated."""
    if isinstance(value, PerRun):
        return value.array
    value = jnp.asarray(value)
    return jnp.broadcast_to(value[..., None], (*value.shape, reader.runs))


def count_reads(equations: list, outvars) -> Counter:
    """How often an entry of each variable is read, a variable that is repeated along an axis once for each repetition.

    A change of shape is no reader: those of its result are.
    """
    reads = Counter(atom for atom in outvars if isinstance(atom, core.Var))
    for equation in reversed(equations):
        most = max(size_of(variable) for variable in equation.outvars)
        if equation.primitive.name == "dot_general":
            most *= math.prod(
                equation.invars[0].aval.shape[axis] for axis in equation.params["dimension_numbers"][0][0]
            )
        through = reads[equation.outvars[0]] if equation.primitive.name in VIEWS else 1
        for atom in equation.invars:
            if isinstance(atom, core.Var):
                reads[atom] += through * max(1, most // max(1, size_of(atom)))
    return reads


def largest_array(closed) -> int:
    """Numbers in the largest array that a closed jaxpr computes, functions within it included."""
    sizes = [1]
    for equation in closed.jaxpr.eqns:
        sizes += [size_of(variable) for variable in equation.outvars]
        sizes += [largest_array(inner) for inner in functions_in(equation) if isinstance(inner, core.ClosedJaxpr)]
    return max(sizes)


def functions_in(equation) -> list:
    """The jaxprs among the parameters of an equation."""
    kinds = (core.ClosedJaxpr, core.Jaxpr)
    return [p for p in jax.tree.leaves(equation.params, is_leaf=lambda p: isinstance(p, kinds)) if isinstance(p, kinds)]


def size_of(atom) -> int:
    """Numbers of one run."""
    return math.prod(getattr(atom.aval, "shape", ()))


def stored(reader: Reader, value: PerRun, reads: int) -> PerRun:
    """The same numbers, computed once and laid into memory, where that saves more than it costs.

    XLA's CPU back end fuses a cheap operation into all that read it and computes it again for each: a sum of ten terms,
    written out, reads its factors ten times. A conditional is where fusion ends. Both branches are the identity, but
    one says so in a way the compiler does not see through. (`optimization_barrier` alone does nothing on a CPU.)
    """
    if value.work * (value.array.size // reader.runs) * (reads - 1) < WORTH_STORING:
        return value
    same = ("stored", id(value))
    if same not in reader.known:
        array = lax.cond(reader.unknown, lambda a: a, lambda a: lax.optimization_barrier(a), value.array)
        reader.known[same] = value, PerRun(array)
        reader.origins[id(reader.known[same][1])] = value
    return reader.known[same][1]


VIEWS = {"broadcast_in_dim", "reshape", "transpose", "squeeze", "slice", "rev", "copy", "convert_element_type"}
"""Operations whose result is the same numbers in another shape or type."""

EXPENSIVE = set(
    "acos acosh asin asinh atan atan2 atanh cbrt cos cosh digamma div erf erf_inv erfc exp exp2 expm1 lgamma log log1p"
    " logistic pow rem rsqrt sin sinh sqrt tan tanh".split()
)
"""Operations that XLA does not repeat for a second reader: their results lie in memory anyway."""

# --- Elementwise operations and changes of shape -------------------------------------------------------------------

ELEMENTWISE = set(
    "abs acos acosh add add_any and asin asinh atan atan2 atanh bessel_i0e bessel_i1e cbrt ceil clamp clz"
    " convert_element_type copy copy_p cos cosh digamma div eq erf erf_inv erfc exp exp2 expm1 floor ge gt igamma"
    " igammac integer_pow is_finite le lgamma log log1p logistic lt max min mul ne neg nextafter not or"
    " population_count pow real imag reduce_precision rem round rsqrt select_n shift_left shift_right_arithmetic"
    " shift_right_logical sign sin sinh sqrt square stop_gradient sub tan tanh xor".split()
)


def elementwise(reader: Reader, equation, values) -> list:
    """The operation on arrays of one shape: an axis of length 1, a scalar and a shared value are repeated."""
    shape = (*equation.outvars[0].aval.shape, reader.runs)

    def whole(value, atom):
        if isinstance(value, PerRun):
            if value.array.shape == shape:
                return value.array
            if value.array.ndim == 1:  # a scalar beside an array, such as the condition of a select
                return lax.broadcast_in_dim(value.array, shape, (len(shape) - 1,))
            return jnp.broadcast_to(value.array, shape)
        value = jnp.asarray(value, atom.aval.dtype) if not isinstance(value, jax.Array) else value
        if value.ndim == 0:
            return lax.broadcast_in_dim(value, shape, ())
        return lax.broadcast_in_dim(value, shape, tuple(range(value.ndim)))

    arrays = [whole(value, atom) for value, atom in zip(values, equation.invars, strict=True)]
    repeated = 0 if equation.primitive.name in EXPENSIVE else 1 + sum(work(value) for value in values)
    return [PerRun(result, repeated) for result in bind(equation, arrays)]


def work(value) -> int:
    """What one more reader of the value would repeat."""
    return value.work if isinstance(value, PerRun) else 0


def broadcast_in_dim(reader, equation, values):
    """`shape` and the axes that the old ones become, with the runs last."""
    value, shape = values[0], (*equation.params["shape"], reader.runs)
    if len(values) > 1:
        return None
    axes = (*equation.params["broadcast_dimensions"], len(shape) - 1)
    return [PerRun(lax.broadcast_in_dim(value.array, shape, axes), value.work)]


def reshape(reader, equation, values):
    """`new_sizes`, then the runs."""
    if len(values) > 1 or equation.params.get("dimensions") is not None:
        return None
    return [PerRun(values[0].array.reshape(*equation.params["new_sizes"], reader.runs), values[0].work)]


def transpose(reader, equation, values):
    """`permutation` of the other axes."""
    axes = equation.params["permutation"]
    return [PerRun(lax.transpose(values[0].array, (*axes, len(axes))), values[0].work)]


def slice_(reader, equation, values):
    """The same slice of every run."""
    p = equation.params
    strides = None if p["strides"] is None else (*p["strides"], 1)
    array = lax.slice(values[0].array, (*p["start_indices"], 0), (*p["limit_indices"], reader.runs), strides)
    return [PerRun(array, values[0].work)]


def pad(reader, equation, values):
    """The same padding of every run, with a number that all share."""
    value, filler = values
    if isinstance(filler, PerRun):
        return None
    return [
        PerRun(lax.pad(per_run(reader, value), filler, (*equation.params["padding_config"], (0, 0, 0))), work(value))
    ]


def dynamic_slice(reader, equation, values):
    """At a place that all runs share."""
    value, *starts = values
    if any(isinstance(start, PerRun) for start in starts):
        return None
    zero = jnp.zeros((), jnp.result_type(*starts) if starts else jnp.int32)
    sizes = (*equation.params["slice_sizes"], reader.runs)
    return [PerRun(lax.dynamic_slice(value.array, (*starts, zero), sizes))]


def dynamic_update_slice(reader, equation, values):
    """At a place that all runs share."""
    value, update, *starts = values
    if any(isinstance(start, PerRun) for start in starts):
        return None
    zero = jnp.zeros((), jnp.result_type(*starts) if starts else jnp.int32)
    whole, part = per_run(reader, value), per_run(reader, update)
    return [PerRun(lax.dynamic_update_slice(whole, part, (*starts, zero)))]


def same_axes(reader, equation, values):
    """An operation whose axes keep their numbers, as the runs come last."""
    arrays = [per_run(reader, value) for value in values]
    return [PerRun(result) for result in bind(equation, arrays)]


def view(reader, equation, values):
    """As `same_axes`, of a result that is the same numbers in another shape."""
    return [PerRun(result, values[0].work) for result in bind(equation, [values[0].array])]


# --- Sums and products ---------------------------------------------------------------------------------------------


def sum_of_products(*arrays) -> Array:
    """Σₖ aₖ bₖ … over the first axis of arrays (K, ...), the terms written out; where K is long, a loop over groups.

    XLA's own reductions put the sum in the innermost loop, where it does not vectorize over the runs.
    """

    def written_out(arrays, terms: int):
        products = (functools.reduce(operator.mul, (a[k] for a in arrays)) for k in range(terms))
        return functools.reduce(operator.add, products)

    terms = arrays[0].shape[0]
    if terms <= WRITTEN_OUT:
        return written_out(arrays, terms)
    groups, rest = divmod(terms, WRITTEN_OUT)
    grouped = [a[: terms - rest].reshape(groups, WRITTEN_OUT, *a.shape[1:]) for a in arrays]
    total = written_out([a[0] for a in grouped], WRITTEN_OUT)
    total, _ = lax.scan(lambda t, group: (t + written_out(group, WRITTEN_OUT), None), total, [a[1:] for a in grouped])
    return total + written_out([a[terms - rest :] for a in arrays], rest) if rest else total


def reduce_sum(reader, equation, values):
    """Over each of the axes, the last first."""
    array = values[0].array
    if 0 in array.shape:
        return same_axes(reader, equation, values)
    for axis in sorted(equation.params["axes"], reverse=True):
        array = sum_of_products(jnp.moveaxis(array, axis, 0))
    return [PerRun(array, work_of_reduction(equation, values[0]))]


def work_of_reduction(equation, value: PerRun) -> int:
    """What one more reader of an entry would repeat: all terms it is put together from."""
    terms = size_of(equation.invars[0]) // max(1, size_of(equation.outvars[0]))
    return terms * (1 + value.work)


def reduction(combine: Callable) -> Callable:
    """Another reduction, over a few numbers written out."""

    def rule(reader, equation, values):
        array, axes = values[0].array, sorted(equation.params["axes"], reverse=True)
        if 0 in array.shape or max((array.shape[axis] for axis in axes), default=0) > WRITTEN_OUT:
            return same_axes(reader, equation, values)
        for axis in axes:
            entries = [lax.index_in_dim(array, k, axis, keepdims=False) for k in range(array.shape[axis])]
            array = functools.reduce(combine, entries)
        return [PerRun(array, work_of_reduction(equation, values[0]))]

    return rule


def dot_general(reader, equation, values):
    """Σₖ a b with the terms written out; one large matrix product where all runs share a factor and the sum is long."""
    (a_sum, b_sum), (a_batch, b_batch) = equation.params["dimension_numbers"]
    a, b = values
    dtype = equation.outvars[0].aval.dtype
    terms = math.prod(equation.invars[0].aval.shape[axis] for axis in a_sum)
    if terms == 0:
        return None
    if terms > WRITTEN_OUT and not a_batch and not (isinstance(a, PerRun) and isinstance(b, PerRun)):
        options = {"precision": equation.params["precision"], "preferred_element_type": dtype}
        if not isinstance(a, PerRun):
            return [PerRun(jnp.tensordot(a, b.array, (a_sum, b_sum), **options))]
        turned = jnp.tensordot(b, a.array, (b_sum, a_sum), **options)  # b's axes, a's axes, runs
        own = b.ndim - len(b_sum)
        return [PerRun(jnp.moveaxis(turned, range(own), range(-1 - own, -1)))]
    a, b = (v.array if isinstance(v, PerRun) else jnp.asarray(v)[..., None] for v in (a, b))
    a_own, b_own = (
        v.ndim - 1 - len(batch) - len(summed) for v, batch, summed in ((a, a_batch, a_sum), (b, b_batch, b_sum))
    )
    a = sums_first(a.astype(dtype), a_sum, a_batch)
    b = sums_first(b.astype(dtype), b_sum, b_batch)
    a = a.reshape(*a.shape[:-1], *(1,) * b_own, a.shape[-1])
    front = 1 + len(b_batch)
    b = b.reshape(*b.shape[:front], *(1,) * a_own, *b.shape[front:])
    result = sum_of_products(a, b)
    result = jnp.broadcast_to(result, (*equation.outvars[0].aval.shape, reader.runs))
    return [PerRun(result, terms * (2 + work(values[0]) + work(values[1])))]


def sums_first(array, summed, batch) -> Array:
    """(K, batch…, own…, runs): the axes that are summed over as one axis in front, the run axis last."""
    rank = array.ndim - 1
    own = [axis for axis in range(rank) if axis not in (*batch, *summed)]
    array = lax.transpose(array, (*summed, *batch, *own, rank))
    return array.reshape(-1, *array.shape[len(summed) :])


# --- Functions within functions ------------------------------------------------------------------------------------


def call(param: str) -> Callable:
    """A function within a function, under `param`: read it."""

    def rule(reader, equation, values):
        inner = equation.params[param]
        return read(reader, inner, values) if hasattr(inner, "consts") else read_open(reader, inner, (), values)

    return rule


def which_are_per_run(reader: Reader, closed, values: list) -> list[bool]:
    """Which results of a jaxpr are `PerRun`, found without computing anything."""
    found = []

    def trace():
        results = read(reader.body(), closed, values)
        found.extend(isinstance(result, PerRun) for result in results)
        return [raw(result) for result in results]

    jax.eval_shape(trace)
    return found


def per_run_carry(reader: Reader, step: Callable, carry: list) -> list:
    """The carry of a loop with all that becomes `PerRun` on the way made so from the start."""
    while True:
        becomes = step(carry)[: len(carry)]
        grown = [
            PerRun(per_run(reader, value)) if new and not isinstance(value, PerRun) else value
            for value, new in zip(carry, becomes, strict=True)
        ]
        if all(isinstance(a, PerRun) == isinstance(b, PerRun) for a, b in zip(carry, grown, strict=True)):
            return grown
        carry = grown


def like(kinds: list, arrays) -> list:
    """Arrays as values of the same kinds, shared or `PerRun`; what a loop hands on lies in memory."""
    return [PerRun(a) if isinstance(kind, PerRun) else a for kind, a in zip(kinds, arrays, strict=True)]


def as_kinds(reader: Reader, kinds: list, values: list) -> list:
    """The arrays of values, repeated for every run where `kinds` asks for it."""
    return [per_run(reader, v) if isinstance(k, PerRun) else raw(v) for k, v in zip(kinds, values, strict=True)]


def scan(reader, equation, values):
    """`lax.scan` with the body read; a carry that is `PerRun` after a step is so from the start."""
    p = equation.params
    closed = p["jaxpr"]
    n_consts, n_carry = scan_parts(equation)
    consts, carry, xs = values[:n_consts], values[n_consts : n_consts + n_carry], values[n_consts + n_carry :]
    one = [PerRun(x.array[0]) if isinstance(x, PerRun) else x[0] for x in xs] if p["length"] else None
    if one is None:
        return None
    carry = per_run_carry(reader, lambda carry: which_are_per_run(reader, closed, [*consts, *carry, *one]), carry)
    kinds: list = []

    def body(arrays, slices):
        results = read(reader.body(), closed, [*consts, *like(carry, arrays), *like(xs, slices)])
        kinds[:] = results[n_carry:]
        return as_kinds(reader, carry, results[:n_carry]), [raw(y) for y in results[n_carry:]]

    start, over = [raw(value) for value in carry], [raw(x) for x in xs]
    last, ys = lax.scan(body, start, over, length=p["length"], reverse=p["reverse"], unroll=p["unroll"])
    return [*like(carry, last), *like(kinds, ys)]


def scan_parts(equation) -> tuple[int, int]:
    """How many inputs of a scan are constants and how many carried: what is scanned over has one axis more outside.

    JAX 0.10 has these counts among the parameters, 0.11 under other names; the shapes say it in both.
    """
    inner = equation.params["jaxpr"].jaxpr
    scanned = sum(a.aval.ndim > b.aval.ndim for a, b in zip(equation.invars, inner.invars, strict=True))
    stacked = sum(a.aval.ndim > b.aval.ndim for a, b in zip(equation.outvars, inner.outvars, strict=True))
    carried = len(equation.outvars) - stacked
    return len(equation.invars) - scanned - carried, carried


def while_(reader, equation, values):
    """`lax.while_loop`: goes on while any run does; a run that is done stays as it is."""
    p = equation.params
    n_test, n_body = p["cond_nconsts"], p["body_nconsts"]
    test_consts, body_consts, carry = values[:n_test], values[n_test : n_test + n_body], values[n_test + n_body :]

    def goes_on(carry):
        return read(reader.body(), p["cond_jaxpr"], [*test_consts, *carry])[0]

    def step(carry):
        becomes = which_are_per_run(reader, p["body_jaxpr"], [*body_consts, *carry])
        tested_each = which_are_per_run(reader, p["cond_jaxpr"], [*test_consts, *carry])[0]
        return [True] * len(carry) if tested_each else becomes

    carry = per_run_carry(reader, step, list(carry))
    each = which_are_per_run(reader, p["cond_jaxpr"], [*test_consts, *carry])[0]

    def test(arrays):
        going = raw(goes_on(like(carry, arrays)))
        return going.any() if each else going

    def body(arrays):
        now = like(carry, arrays)
        new = as_kinds(reader, carry, read(reader.body(), p["body_jaxpr"], [*body_consts, *now]))
        if not each:
            return new
        going = goes_on(now).array
        return [jnp.where(jnp.broadcast_to(going, a.shape), a, b) for a, b in zip(new, arrays, strict=True)]

    return like(carry, lax.while_loop(test, body, [raw(value) for value in carry]))


def cond(reader, equation, values):
    """`lax.cond` and `switch`: one branch where all runs go the same way, else all and a choice for each."""
    which, *operands = values
    branches = equation.params["branches"]
    if isinstance(which, PerRun):
        results = [read(reader, branch, operands) for branch in branches]
        chosen = jnp.clip(which.array.astype(jnp.int32), 0, len(branches) - 1)
        return [
            PerRun(choose(chosen, [per_run(reader, r) for r in column]), sum(map(work, column)))
            for column in zip(*results, strict=True)
        ]
    kinds = [which_are_per_run(reader, branch, operands) for branch in branches]
    each = [any(column) for column in zip(*kinds, strict=True)]

    def arrays_of(branch):
        def run(arrays):
            results = read(reader.body(), branch, like(operands, arrays))
            return [per_run(reader, r) if e else raw(r) for r, e in zip(results, each, strict=True)]

        return run

    arrays = lax.switch(which, [arrays_of(branch) for branch in branches], [raw(v) for v in operands])
    return [PerRun(a) if e else a for a, e in zip(arrays, each, strict=True)]


def choose(which: Array, arrays: list) -> Array:
    """The array of each run's choice (runs,) from arrays (..., runs)."""
    result = arrays[0]
    for k, array in enumerate(arrays[1:], start=1):
        result = jnp.where(jnp.broadcast_to(which >= k, array.shape), array, result)
    return result


CALLS: dict[str, Callable] = {
    "jit": call("jaxpr"),
    "pjit": call("jaxpr"),
    "closed_call": call("call_jaxpr"),
    "core_call": call("call_jaxpr"),
    "checkpoint": call("jaxpr"),
    "remat2": call("jaxpr"),
    "custom_jvp_call": call("call_jaxpr"),
    "custom_vjp_call": call("call_jaxpr"),
}

RULES: dict[str, Callable] = {
    **CALLS,
    "scan": scan,
    "while": while_,
    "cond": cond,
    "broadcast_in_dim": broadcast_in_dim,
    "reshape": reshape,
    "transpose": transpose,
    "slice": slice_,
    "pad": pad,
    "dynamic_slice": dynamic_slice,
    "dynamic_update_slice": dynamic_update_slice,
    "squeeze": view,
    "rev": view,
    "reduce_sum": reduce_sum,
    "reduce_max": reduction(jnp.maximum),
    "reduce_min": reduction(jnp.minimum),
    "reduce_and": reduction(jnp.logical_and),
    "reduce_or": reduction(jnp.logical_or),
    "dot_general": dot_general,
}
SAME_AXES = (
    "argmax argmin concatenate cumlogsumexp cummax cummin cumprod cumsum reduce_prod reduce_xor sort split stack"
)
RULES |= dict.fromkeys(SAME_AXES.split(), same_axes)
