"""Check a hand-written gradient, whoever wrote it, of whatever function."""

from collections.abc import Callable
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np

from bpjax.gradcheck.check_report import CheckReport, LeafReport
from bpjax.gradcheck.deliberate import deliberate
from bpjax.gradcheck.explain import explain
from bpjax.gradcheck.judge import HEADROOM, Judge
from bpjax.gradcheck.laws import beyond_noise, compute_and_check_laws
from bpjax.gradcheck.subject import Subject, subject_of
from bpjax.gradcheck.truth import Truth, find_truth, own_noise, unit_roundoff
from bpjax.gradcheck.widen import Widened, widened
from bpjax.tape import vjp
from bpjax.util.call_text import shown
from bpjax.util.checks import check_count, check_function, check_number
from bpjax.util.float64 import float64_on_host, standard_settings

COTANGENTS = 3
"""Random cotangents that a rule is checked with."""

DOUBTFUL = 0.3
"""A smaller error, relative to the largest entry, may come from a right formula that is badly conditioned."""

DTYPES = ("float64", "float32", "float16", "bfloat16")
"""From the most to the least precise."""


def check_gradient(
    f: Callable,
    *args,
    gradient: Callable | None = None,
    tolerance: float | None = None,
    order: int = 1,
    seed: int = 0,
    argnums: int | str | tuple[int | str, ...] | None = None,
    **kwargs,
) -> CheckReport:
    """Check a hand-written gradient: right, wrong, or cannot tell, with the place and the reason.

    The gradient under test is the rule of `f` (`jax.custom_vjp` or `jax.custom_jvp`, also jitted or inside a plain
    function), or `gradient`, a separate function. It is held against two truths, both in float64: reverse mode of
    `f` with every custom rule taken off, and Richardson finite differences of `f`.

    Of a rule these are checked too: its result equals that of `f`; it is linear in the cotangent; forward mode agrees
    with reverse mode where there is one; `jit` and `vmap` do not change it; calling it twice gives the same bits.

    Args:
        f: any function that JAX can trace, with any pytree of results.
        *args: its arguments: pytrees of arrays, keys, integers, strings, None. Floating-point and complex arrays are
            differentiated, the others are listed as skipped.
        gradient: called with the same arguments; returns the gradient of the scalar result of `f` by its first
            differentiable argument, or a tuple of gradients by the first ones.
        tolerance: accepted error of an entry relative to the largest entry of its array. By default it is what random
            rounding errors of the dtype cause, at most 1 % (half precision: 10 %).
        order: 2 checks the derivative of the gradient too.
        seed: of the random cotangents and directions.
        argnums: the argument, or the tuple of arguments, that `gradient` is by: positions or names. By default this
            follows from the structure and the shapes that it returns.
        **kwargs: keyword arguments of `f`.

    Raises:
        ValueError: there is nothing to check, or the gradient does not fit the arguments.
    """
    _check_options(f, gradient, tolerance, order, seed, argnums)
    with standard_settings():
        subject = subject_of(f, args, kwargs, gradient, argnums)
        report = _check(subject, None, tolerance, seed)
        if order == 2 and report.verdict != "wrong":
            report = report.with_second_order(_check(*_second_order(subject, seed), tolerance, seed))
    return report


def _check_options(f, gradient, tolerance, order, seed, argnums) -> None:
    """Raise a `ValueError` for an option that no check can use."""
    who = "check_gradient"
    check_function(who, "f", f)
    if gradient is not None:
        check_function(who, "gradient", gradient)
    if tolerance is not None:
        check_number(who, "tolerance", tolerance, above=0.0)
    check_count(who, "order", order, least=1, most=2)
    check_count(who, "seed", seed, least=0, most=2**32 - 1)
    given = argnums if isinstance(argnums, tuple | list) else [argnums]
    is_place = [isinstance(k, int | str | np.integer) and not isinstance(k, bool) for k in given]
    if argnums is not None and not (is_place and all(is_place)):
        raise ValueError(f"`{who}` expected `argnums` to be positions or names of arguments, got {shown(argnums)}.")


def _check(subject: Subject, function: Callable | None, tolerance: float | None, seed: int) -> CheckReport:
    """Evaluate the gradient, the laws and the truths, and judge.

    Args:
        subject: what is under test.
        function: what the truths differentiate; by default the function itself without its custom rules.
        tolerance: see `check_gradient`.
        seed: of the cotangents.
    """
    cotangents = _cotangents(subject, seed)
    rounding = unit_roundoff(subject)
    fitting = (name for name in DTYPES if rounding <= float(jnp.finfo(name).eps) / 2 * 1.01)
    dtype = next(fitting, DTYPES[-1])  # float8 is less precise than all of them
    computed = compute_and_check_laws(subject, cotangents, rounding)
    leaves: tuple[LeafReport, ...] = ()
    with float64_on_host():
        truth = find_truth(subject, cotangents, function)
        fits = not any(law.name in ("shape", "dtype") and not law.holds for law in computed.laws)
        if computed.gradients and fits:
            leaves = _judge(subject, Judge(truth, computed.gradients, dtype, tolerance))
            if tolerance is None and any(leaf.verdict == "wrong" and leaf.error < DOUBTFUL for leaf in leaves):
                truth = _with_own_noise(truth, subject, cotangents)
                leaves = _judge(subject, Judge(truth, computed.gradients, dtype, tolerance))
    if subject.by_rule and subject.traceable and function is None and not truth.opened.custom_rules:
        raise ValueError(
            f"`{subject.name}` has no hand-written derivative to check: expected a `jax.custom_vjp` or "
            "`jax.custom_jvp` in it, or a separate `gradient`."
        )
    first = computed.gradients[0] if computed.gradients else []
    missing = [leaf.name for leaf, g in zip(subject.leaves, first, strict=False) if g is None]
    report = CheckReport(
        name=subject.name,
        by_rule=subject.by_rule,
        dtype=dtype,
        leaves=leaves,
        laws=tuple(beyond_noise(computed.laws, truth.noise, HEADROOM)),
        skipped=subject.skipped,
        missing=tuple(missing),
        opened=truth.opened,
        reason=truth.reason,
    )
    is_first_order = function is None
    return _explained(report, subject, cotangents, computed.gradients, truth) if is_first_order else report


def _with_own_noise(truth: Truth, subject: Subject, cotangents) -> Truth:
    """The truth, with the rounding errors of the program under test where they are larger than the reference's."""
    own = None if truth.noise is None else own_noise(subject, cotangents, truth.rounding)
    if own is None or truth.noise is None:
        return truth
    rows = zip(truth.noise, own, strict=True)
    return truth._replace(noise=[[np.maximum(a, b) for a, b in zip(*row, strict=True)] for row in rows])


def _explained(report: CheckReport, subject: Subject, cotangents, gradients: list[list], truth: Truth) -> CheckReport:
    """The report on a wrong gradient with its mistake, and a note where the rule may be so on purpose.

    Args:
        report: without explanation.
        subject: what is under test.
        cotangents: of the results.
        gradients: under test, by cotangent and leaf.
        truth: what they should be.
    """
    finite = all(np.isfinite(np.asarray(g)).all() for row in gradients for g in row if g is not None)
    if report.verdict != "wrong" or truth.gradients is None or not gradients or not finite:
        return report
    count = len(gradients)
    right, noise = truth.gradients[:count], (truth.noise or [])[:count]
    if subject.by_rule:
        report = replace(report, note=deliberate(cotangents[:count], gradients, right))
    return replace(report, explanation=explain(subject, cotangents[:count], gradients, right, noise))


def _judge(subject: Subject, judge: Judge) -> tuple[LeafReport, ...]:
    reports = []
    for index, leaf in enumerate(subject.leaves):
        rows = [row[index] for row in judge.computed]
        if rows[0] is not None:
            reports.append(LeafReport(leaf.name, leaf.value.shape, judge.leaf(index), _nonfinite(rows)))
    return tuple(reports)


def _nonfinite(rows) -> str | None:
    arrays = [np.asarray(row).astype(np.complex128) for row in rows]
    if any(np.isnan(a).any() for a in arrays):
        return "NaN"
    return "an infinity" if any(np.isinf(a).any() for a in arrays) else None


def _cotangents(subject: Subject, seed: int) -> list[list[np.ndarray]]:
    """Random cotangents of the results, in their dtypes; the scalar 1 for a separate gradient."""
    avals = [v.aval for v in subject.jaxpr.jaxpr.outvars]
    if not subject.takes_cotangent:
        return [[np.ones((), aval.dtype) for aval in avals]]
    rng = np.random.default_rng(seed)

    def draw(aval):
        values = rng.standard_normal(aval.shape)
        if jnp.issubdtype(aval.dtype, jnp.complexfloating):
            values = values + 1j * rng.standard_normal(aval.shape)
        return np.asarray(values).astype(aval.dtype)

    return [[draw(aval) for aval in avals] for _ in range(COTANGENTS)]


def _second_order(subject: Subject, seed: int) -> tuple[Subject, Callable]:
    """The gradient for a fixed cotangent as the function under test, and its true form in float64."""
    cotangent = _cotangents(subject, seed + 1)[0]

    def gradient(*arrays):
        return subject.pull_back(arrays, [jnp.asarray(c) for c in cotangent])

    def true_gradient(*arrays):
        _, pull_back = vjp(lambda *a: Widened(subject.jaxpr)(*a), *arrays)
        return list(pull_back([widened(jnp.asarray(c)) for c in cotangent]))

    def pull_back(arrays, cotangents):
        _, vjp_of_gradient = jax.vjp(gradient, *arrays)
        return list(vjp_of_gradient(list(cotangents)))

    traced = jax.make_jaxpr(gradient)(*subject.arrays)

    def push_forward(arrays, tangents):
        return jax.jvp(gradient, tuple(arrays), tuple(tangents))[1]

    second = subject._replace(
        function=gradient,
        direct=gradient,
        results_by_rule=gradient,
        jaxpr=traced,
        pull_back=pull_back,
        push_forward=push_forward,
        takes_cotangent=True,
    )
    return second, true_gradient
