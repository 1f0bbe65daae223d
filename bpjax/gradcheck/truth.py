"""Two truths about a gradient: reverse mode of the function without its custom rules, and finite differences."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from bpjax.gradcheck.finite_differences import FiniteDifferences
from bpjax.gradcheck.noise import Noisy, factors
from bpjax.gradcheck.subject import Subject
from bpjax.gradcheck.widen import Opened, Widened, ends_on_a_float
from bpjax.tape import vjp
from bpjax.util.compilation import FAST_COMPILATION
from bpjax.util.jaxprs import largest_array, opened, subjaxprs

SINGLE, DOUBLE = 2.0**-24, 2.0**-53
"""Unit roundoffs."""

SAMPLES = 8
"""Runs with random rounding errors."""

Gradients = list[list[np.ndarray]]
"""By cotangent, then by leaf."""


class Truth(NamedTuple):
    """What the gradient should be, and how exactly that is known."""

    results: list[np.ndarray]  # of the function
    gradients: Gradients | None  # by reverse mode; None where that is not possible
    noise: Gradients | None  # the largest change of each entry by random rounding errors
    reason: str | None  # why reverse mode is not possible
    differences: FiniteDifferences
    rounding: float  # unit roundoff of the least precise dtype in the function
    opened: Opened  # which custom rules were taken off
    stops_gradient: bool  # the function contains `stop_gradient`

    @property
    def undefined(self) -> bool:
        """Whether the function returns NaN at finite arguments."""
        return any(np.isnan(r).any() for r in self.results) and all(
            np.isfinite(a).all() for a in self.differences.arrays
        )


def find_truth(subject: Subject, cotangents: list[list[np.ndarray]], function: Callable | None = None) -> Truth:
    """Evaluate both truths; call it inside `float64_on_host`.

    Args:
        subject: the function and its arguments.
        cotangents: of its results, several.
        function: what is differentiated, a function of float64 arrays; by default the function itself, with its custom
            rules taken off. Those of JAX are taken off only where there are no others.
    """
    widened, found = _open(subject)
    function = function or widened
    arrays = [_wide(a) for a in subject.arrays]
    wide_cotangents = [[_wide(c) for c in row] for row in cotangents]
    rounding = unit_roundoff(subject)
    precision = SINGLE if found.narrow else DOUBLE
    stacked = [jnp.stack(column) for column in zip(*wide_cotangents, strict=True)]
    differences = FiniteDifferences(function, arrays, stacked, precision)
    results = [np.asarray(r) for r in jax.jit(lambda *a: list(function(*a)))(*arrays)]
    try:
        bound = _while_bound(widened, arrays)
        gradients, noise = _reverse(function, arrays, stacked, rounding, bound)
        if bound is not None and function is widened and _has_solver(widened.closed):
            noise = _with_error_of_solver(widened, arrays, stacked, bound, results, gradients, noise)
        reason = None
    except Exception as error:  # noqa: BLE001  (any primitive of any library may refuse reverse mode)
        gradients = noise = None
        reason = str(error).split("\n")[0]
    return Truth(
        results, gradients, noise, reason, differences, rounding, found, "stop_gradient" in _primitives(subject.jaxpr)
    )


def _open(subject: Subject) -> tuple[Widened, Opened]:
    """The function in float64 with custom rules taken off, and the list of them."""
    widened = Widened(subject.jaxpr)
    jax.eval_shape(widened, *(_wide(a) for a in subject.arrays))
    if not widened.found.custom_rules and widened.found.jax_rules and subject.by_rule:
        widened = Widened(subject.jaxpr, open_jax=True)
        jax.eval_shape(widened, *(_wide(a) for a in subject.arrays))
    found = Opened(*(list(dict.fromkeys(names)) for names in widened.found))
    return widened, found


def _reverse(function, arrays, stacked, rounding: float, while_bound: int | None) -> tuple[Gradients, Gradients]:
    """The gradients for every cotangent, and their noise, by one compiled program."""

    def joint(arrays, cotangents):
        _, pull_back = vjp(lambda *a: list(function(*a)), *arrays, while_bound=while_bound)
        return list(pull_back(cotangents))

    return _with_noise(jax.make_jaxpr(joint)(arrays, [c[0] for c in stacked]), arrays, stacked, rounding)


def own_noise(subject: Subject, cotangents: list[list[np.ndarray]], rounding: float) -> Gradients | None:
    """The largest change of each entry of the gradient under test by rounding errors in its own program.

    Right code may be worse conditioned than reverse mode of the function. Call it inside `float64_on_host`.

    Args:
        subject: what is under test.
        cotangents: of its results, several.
        rounding: the unit roundoff.

    Returns:
        by cotangent and leaf; None where the gradient cannot be traced.
    """
    given: list[bool] = []

    def gradients(arrays, row):
        found = subject.pull_back(arrays, row)
        given[:] = [g is not None for g in found]
        return [g for g in found if g is not None]

    try:
        with jax.enable_x64(subject.arrays[0].dtype == np.float64):
            traced = jax.make_jaxpr(gradients)(list(subject.arrays), [jnp.asarray(c) for c in cotangents[0]])
        arrays = [_wide(a) for a in subject.arrays]
        stacked = [jnp.stack([_wide(c) for c in column]) for column in zip(*cotangents, strict=True)]
        _, noise = _with_noise(traced, arrays, stacked, rounding)
    except Exception:  # noqa: BLE001  (code under test that runs on the host)
        return None
    rows = [iter(row) for row in noise]
    return [[next(row) if is_given else np.zeros(()) for is_given in given] for row in rows]


def _with_noise(traced, arrays, stacked, rounding: float) -> tuple[Gradients, Gradients]:
    """The gradients that a program computes for every cotangent, and how far random rounding errors move them."""

    def program(arrays, stacked, pools):
        def run(sample):
            cotangents, pool = sample
            return Noisy(traced, pool)(*arrays, *cotangents)

        repeated = [jnp.repeat(c, SAMPLES + 1, axis=0) for c in stacked]
        return lax.map(run, (repeated, pools))

    count = len(stacked[0])
    pools = factors(rounding, count * (SAMPLES + 1), max(largest_array(traced), *(a.size for a in (*arrays, *stacked))))
    pools[:: SAMPLES + 1] = 1.0
    found = [np.asarray(g) for g in jax.jit(program, compiler_options=FAST_COMPILATION)(arrays, stacked, pools)]
    grouped = [g.reshape(-1, SAMPLES + 1, *g.shape[1:]) for g in found]
    gradients = [[g[m, 0] for g in grouped] for m in range(count)]
    with np.errstate(invalid="ignore"):
        noise = [[np.abs(g[m, 1:] - g[m, :1]).max(axis=0) for g in grouped] for m in range(count)]
    return gradients, noise


MORE_ITERATIONS = 4
"""A solver that stops at a tolerance is run so much longer to see how exact its derivative is."""


def _has_solver(jaxpr) -> bool:
    """Whether a loop ends when a floating-point number is small enough."""
    return any(
        (e.primitive.name == "while" and ends_on_a_float(e)) or any(map(_has_solver, subjaxprs(e)))
        for e in opened(jaxpr).eqns
    )


def _with_error_of_solver(widened: Widened, arrays, stacked, bound: int, results, gradients, noise) -> Gradients:
    """The noise together with the change of the gradient when every solver runs a few iterations more.

    A loop whose results change by more than 1 % is no solver, or has not converged; then it adds nothing.
    """
    longer = Widened(widened.closed, widened.open_jax, MORE_ITERATIONS)

    def program(arrays, stacked):
        results, pull_back = vjp(lambda *a: list(longer(*a)), *arrays, while_bound=bound)
        return results, lax.map(lambda c: list(pull_back(c)), stacked)

    found, columns = jax.jit(program, compiler_options=FAST_COMPILATION)(arrays, list(stacked))
    for before, after in zip(results, found, strict=True):
        if not np.all(np.abs(np.asarray(after) - before) <= 1e-2 * np.max(np.abs(before), initial=0.0)):
            return noise
    columns = [np.asarray(column) for column in columns]
    return [
        [n + np.abs(column[m] - g) for column, g, n in zip(columns, row, noises, strict=True)]
        for m, (row, noises) in enumerate(zip(gradients, noise, strict=True))
    ]


def _while_bound(widened: Widened, arrays) -> int | None:
    """The most iterations that a `while_loop` of the function takes, and a few more; None where there is none."""
    if "while" not in _primitives(widened.closed):
        return None
    widened.iterations.clear()
    widened(*arrays)
    return max(widened.iterations) + 8 if widened.iterations else None


def _primitives(jaxpr) -> set[str]:
    found = {equation.primitive.name for equation in opened(jaxpr).eqns}
    return found.union(*(_primitives(inner) for e in opened(jaxpr).eqns for inner in subjaxprs(e)))


def unit_roundoff(subject: Subject) -> float:
    """Half the distance from 1 to the next number in the least precise dtype that occurs in a function."""
    dtypes = {leaf.value.dtype for leaf in subject.leaves} | set(_dtypes(subject.jaxpr))
    return max(float(jnp.finfo(d).eps) / 2 for d in dtypes if jnp.issubdtype(d, jnp.inexact))


def _dtypes(jaxpr) -> Iterator:
    for equation in opened(jaxpr).eqns:
        yield from (v.aval.dtype for v in equation.outvars if hasattr(v.aval, "dtype"))
        for inner in subjaxprs(equation):
            yield from _dtypes(inner)


def _wide(array) -> jax.Array:
    array = np.asarray(array)
    return jnp.asarray(array, np.complex128 if np.iscomplexobj(array) else np.float64)
