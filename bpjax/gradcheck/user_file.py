"""Check a hand-written gradient that a Python file defines.

The file defines `function`, an ordinary JAX function, and `arguments`, a tuple of example arguments. The hand-written
gradient is either `gradient(*arguments)`, the gradient of the scalar `function` with respect to its first argument, or
the rule of `function` itself where that is a `jax.custom_vjp`.
"""

import functools
import runpy
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from bpjax.gradcheck.compare import compare
from bpjax.gradcheck.report import Report


def compare_file(path: str | Path) -> Report:
    """Compare the gradient a file defines with `jax.grad` of its function.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a definition is missing or does not fit; the message says which.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"`bpjax compare` expected a Python file, found none at {path}.")
    names = runpy.run_path(str(path))
    function, arguments = names.get("function"), names.get("arguments")
    if not callable(function) or not isinstance(arguments, tuple) or not arguments:
        raise ValueError(
            f"{path} must define `function`, an ordinary JAX function, `arguments`, a tuple to call it with, "
            "and `gradient(*arguments)` unless `function` is a `jax.custom_vjp`."
        )
    first, rest = arguments[0], arguments[1:]
    if "gradient" in names:
        return compare(_named("gradient", names["gradient"]), _gradient_of(function), first, rest, show=False)
    if not isinstance(function, jax.custom_vjp):
        raise ValueError(
            f"{path} defines no `gradient(*arguments)`, and its `function` is not a `jax.custom_vjp`: "
            "there is no hand-written gradient to compare."
        )
    # The oracle is the wrapped function: a wrong custom_vjp would agree with itself.
    by_rule, by_jax = _projected(function, arguments), _projected(function.__wrapped__, arguments)
    return compare(_named("custom_vjp", by_rule), _named("jax.vjp", by_jax), *_split(arguments), show=False)


def _named(name: str, function):
    """(first, rest) -> function(first, *rest), with a name for the report."""

    def call(first, rest):
        return function(first, *rest)

    call.__name__ = name
    return call


def _gradient_of(function):
    def scalar(*arguments):
        value = function(*arguments)
        if jnp.shape(value) != ():
            raise ValueError(
                f"`function` must return a scalar to be compared with `gradient`, got shape {jnp.shape(value)}. "
                "For other shapes define it with `jax.custom_vjp`."
            )
        return value

    return _named("jax.grad", jax.grad(scalar))


def _split(arguments):
    """The floating-point arguments, which have gradients, and the others; both by position."""
    floating = {
        i: a
        for i, a in enumerate(arguments)
        if all(jnp.issubdtype(jnp.result_type(leaf), jnp.floating) for leaf in jax.tree.leaves(a))
    }
    others = {i: a for i, a in enumerate(arguments) if i not in floating}
    if not floating:
        raise ValueError("`arguments` must contain at least one floating-point array; there is no gradient otherwise.")
    return floating, (others,)


def _projected(function, arguments):
    """The gradient of ⟨c, function⟩ with respect to all floating-point arguments, c a fixed random cotangent."""
    shapes = jax.eval_shape(function, *arguments)
    rng = np.random.default_rng(0)
    cotangents = [rng.standard_normal(leaf.shape) for leaf in jax.tree.leaves(shapes)]

    def inner(floating, others):
        joined = floating | others
        outputs = jax.tree.leaves(function(*(joined[i] for i in range(len(arguments)))))
        products = [jnp.sum(jnp.asarray(c, o.dtype) * o) for c, o in zip(cotangents, outputs, strict=True)]
        return functools.reduce(jnp.add, products)

    return jax.grad(inner)
