"""What is under test: a function, its arguments, and the gradient that somebody wrote for it.

Any code is brought to one form: a flat function of the floating-point arrays among the arguments, and a pullback that
gives one cotangent for each of them. Everything else (integers, keys, strings, None, functions) stays as it was given.
Complex numbers follow JAX: the gradient of a real function of z = x + iy is ∂f/∂x − i ∂f/∂y, and a pullback is the
transpose of the derivative, without conjugation.
"""

import inspect
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core

from bpjax.gradcheck.arguments import (
    candidates,
    is_concrete,
    is_inexact,
    is_python_scalar,
    name_of,
    named_leaves,
    what_is,
)
from bpjax.gradcheck.compiled import compiled_once, has_loops
from bpjax.gradcheck.flat import Call, Flat, NotScalar, as_given
from bpjax.gradcheck.gradient_form import match
from bpjax.util.jaxprs import shapes_of

__all__ = ["Leaf", "Subject", "name_of", "subject_of"]

Pullback = Callable[[Sequence, Sequence], list]


class Leaf(NamedTuple):
    """An array that the function is differentiated by."""

    name: str  # "w", "params['w']", "x[0]"
    value: jax.Array  # in the dtype under test


class Subject(NamedTuple):
    """A function with a gradient under test, at its arguments."""

    name: str
    leaves: tuple[Leaf, ...]
    skipped: tuple[tuple[str, str], ...]  # (name, reason) of the other leaves of the arguments
    function: Callable[..., list]  # (*arrays) -> the floating-point and complex results, flat
    jaxpr: Any  # of `function`, closed, traced in the dtype under test
    pull_back: Pullback  # (arrays, cotangents) -> for each leaf its gradient
    by_rule: bool  # the gradient is the rule of the function itself, not a separate function
    ignored_results: int  # integer and boolean results, and auxiliary ones
    direct: Callable[..., list]  # (*arrays) -> the results by a call as it stands
    results_by_rule: Callable[..., list]  # (*arrays) -> the results as the forward pass of the rule computes them
    push_forward: Callable[[Sequence, Sequence], list]  # (arrays, tangents) -> tangents of the results, by the rule
    takes_cotangent: bool  # False for the gradient of a scalar
    traceable: bool  # False: JAX cannot trace the function; `function` calls it on the host, and has no derivative

    @property
    def arrays(self) -> tuple[jax.Array, ...]:
        """The arrays that the function is differentiated by."""
        return tuple(leaf.value for leaf in self.leaves)


def subject_of(
    function: Callable, arguments: Sequence, keywords: dict, gradient: Callable | None = None, argnums=None
) -> Subject:
    """Bring a function with its gradient to the form of `Subject`.

    Args:
        function: any callable. Where JAX cannot trace it (NumPy code, branches on values), it is called on the host.
        arguments: its positional arguments.
        keywords: its keyword arguments.
        gradient: called with the same arguments; returns the gradient of the scalar result by the first differentiable
            argument, or by several (see `gradient_form.match`). If the result is no scalar, `gradient` is a backward
            pass and takes the cotangent of the result as its last argument. By default the rule of the function is
            under test.
        argnums: the argument, or the tuple of arguments, that `gradient` is by: positions or names.

    Raises:
        ValueError: no argument has a derivative, or the gradient does not fit the arguments.
    """
    flat = _traced(Call(function, named_leaves(function, arguments, keywords), arguments, keywords), gradient)
    if gradient is None:
        flat = _without_scalars_of_no_gradient(flat)
        pull_back = flat.rule
    else:
        flat, pull_back = _with_gradient(flat, gradient, _positions(argnums, function, len(arguments)))
    named = flat.call.named
    jaxpr = flat.trace()
    if not jaxpr.out_avals:
        raise ValueError(
            f"`{name_of(function)}` returns nothing to differentiate: expected at least one array of floating-point "
            f"numbers, got {flat.ignored_results} other results."
        )
    leaves = tuple(Leaf(n.name, a) for n, a in zip(flat.differentiated, flat.arrays, strict=True))
    calls: dict[str, Callable] = dict(
        direct=flat.direct, results_by_rule=flat.results_by_rule, push_forward=flat.push_forward, pull_back=pull_back
    )
    cotangents = shapes_of(jaxpr.jaxpr.outvars)
    if has_loops(flat.direct, *flat.arrays) or has_loops(pull_back, flat.arrays, cotangents):
        calls = {name: compiled_once(call) for name, call in calls.items()}
    chosen = {n.name for n in flat.differentiated}
    skipped = tuple((n.name, flat.reasons.get(n.name, what_is(n.value))) for n in named if n.name not in chosen)
    return Subject(
        name=name_of(function),
        leaves=leaves,
        skipped=skipped,
        function=flat,
        jaxpr=jaxpr,
        by_rule=gradient is None,
        ignored_results=flat.ignored_results,
        takes_cotangent=not flat.scalar,
        traceable=flat.traceable,
        **calls,
    )


def _positions(argnums, function, count: int):
    """`argnums` with negative positions counted from the first argument, and names of positional arguments."""
    if argnums is None:
        return None
    names = [n.name for n in named_leaves(function, [0] * count, {})]

    def position(given):
        if isinstance(given, str):
            return names.index(given) if given in names else given
        given = int(given)
        return given % count if -count <= given < 0 else given

    return tuple(map(position, argnums)) if isinstance(argnums, tuple | list) else position(argnums)


# --- Which leaves it is differentiated by ----------------------------------------------------------------------------


def _traced(call: Call, gradient) -> Flat:
    """The function of as many leaves as JAX can trace: a Python number, or an array, may be static in this code."""
    every = candidates(call.function, call.named, len(call.arguments))
    if not every:
        found = ", ".join(f"{n.name} ({what_is(n.value)})" for n in call.named) or "no arguments"
        raise ValueError(
            f"`{name_of(call.function)}` has no argument to differentiate by: expected at least one array of "
            f"floating-point numbers, got {found}."
        )
    flat = Flat(call, every, scalar=gradient is not None)
    try:
        return _traceable_part(flat)
    except NotScalar:
        if not _takes_cotangent(gradient, call):
            raise
        return _traceable_part(Flat(call, every, scalar=False))


def _traceable_part(flat: Flat) -> Flat:
    error = flat.failure()
    if error is None:
        return flat
    every = flat.differentiated
    arrays = [n for n in every if not is_python_scalar(n.value)]
    chosen = arrays if arrays and flat.by(arrays).failure() is None else []
    for key in dict.fromkeys(n.argument for n in every):
        names = {n.name for n in chosen}
        more = [n for n in every if n.name in names or n.argument == key]
        if len(chosen) < len(more) < len(every) and flat.by(more).failure() is None:
            chosen = more
    if any(not is_python_scalar(n.value) for n in chosen) or (chosen and not arrays):
        return flat.by(chosen, "static in this function")
    return flat.on_host()  # which raises what is wrong in the code itself


def _takes_cotangent(gradient, call: Call) -> bool:
    """Whether a gradient can be called with one more argument than the function."""
    try:
        inspect.signature(gradient).bind(*call.arguments, None, **call.keywords)
    except (TypeError, ValueError):
        return False
    return True


def _without_scalars_of_no_gradient(flat: Flat) -> Flat:
    """Leave out Python numbers that the rule treats as static: it fails by them, or returns None in their place."""
    scalars = [n for n in flat.differentiated if is_python_scalar(n.value)]
    if not scalars or len(scalars) == len(flat.differentiated) or not flat.traceable:
        return flat
    arrays = [n for n in flat.differentiated if not is_python_scalar(n.value)]
    try:
        outputs = _rule_jaxpr(flat).jaxpr.outvars
    except Exception:  # noqa: BLE001  (a rule may raise anything)
        try:
            _rule_jaxpr(flat.by(arrays))
        except Exception:  # noqa: BLE001
            return flat  # a rule that fails in any case is judged as it is
        return flat.by(arrays, "static in the rule of this function")
    no_gradient = {
        n.name
        for n, output in zip(flat.differentiated, outputs, strict=True)
        if is_python_scalar(n.value) and isinstance(output, core.Literal)
    }
    kept = [n for n in flat.differentiated if n.name not in no_gradient]
    return flat.by(kept, "the rule returns no gradient for it") if kept and no_gradient else flat


def _rule_jaxpr(flat: Flat):
    """The rule of the function as a jaxpr: (arrays, cotangents) -> gradients."""
    results = shapes_of(flat.trace().jaxpr.outvars)
    return jax.make_jaxpr(flat.rule)(flat.arrays, results)


# --- A separate gradient ---------------------------------------------------------------------------------------------


def _with_gradient(flat: Flat, gradient: Callable, argnums) -> tuple[Flat, Pullback]:
    """The function of those leaves that the gradient is by, and the gradient as a pullback."""
    call, every, as_result = flat.call, flat.differentiated, flat.cotangent_structure()

    def gradients(arrays, cotangents) -> list:
        values = [as_given(n.value, a) for n, a in zip(every, arrays, strict=True)]
        last = () if flat.scalar else (as_result(cotangents),)
        result = call.with_arrays(lambda *a, **k: gradient(*a, *last, **k), every, values)
        return match(result, gradient, call, every, argnums)

    first = gradients(flat.arrays, [jnp.ones(v.shape, v.dtype) for v in shapes_of(flat.trace().jaxpr.outvars)])
    given = [k for k, g in enumerate(first) if g is not None]

    def pull_back(arrays, cotangents) -> list:
        whole = list(flat.arrays)
        for k, array in zip(given, arrays, strict=True):
            whole[k] = array
        found = gradients(whole, cotangents)
        return [_scaled(found[k], cotangents[0]) if flat.scalar else found[k] for k in given]

    return flat.by([every[k] for k in given], "`gradient` returns none for it"), pull_back


def _scaled(gradient, cotangent):
    """The gradient of a scalar times its cotangent, in the dtype of the gradient."""
    if isinstance(gradient, jax.Array):
        return gradient * (jnp.asarray(cotangent, gradient.dtype) if is_inexact(gradient) else cotangent)
    return gradient * (np.asarray(cotangent) if is_concrete(cotangent) else cotangent)
