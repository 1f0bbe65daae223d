"""What is under test: a function, its arguments, and the gradient that somebody wrote for it.

Any code is brought to one form: a flat function of the floating-point arrays among the arguments, and a pullback that
gives one cotangent for each of them. Everything else (integers, keys, strings, None, functions) stays as it was given.
"""

import inspect
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


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
    pull_back: Callable[[Sequence, Sequence], list]  # (arrays, cotangents) -> for each leaf an array, or None
    by_rule: bool  # the gradient is the rule of the function itself, not a separate function
    ignored_results: int  # integer and boolean results, and auxiliary ones

    @property
    def arrays(self) -> tuple[jax.Array, ...]:
        """The arrays that the function is differentiated by."""
        return tuple(leaf.value for leaf in self.leaves)


def subject_of(function: Callable, arguments: Sequence, keywords: dict, gradient: Callable | None = None) -> Subject:
    """Bring a function with its gradient to the form of `Subject`.

    Args:
        function: any callable that JAX can trace.
        arguments: its positional arguments.
        keywords: its keyword arguments.
        gradient: called with the same arguments; returns the gradient of the scalar result by the first differentiable
            argument, or a tuple of gradients by the first ones. By default the rule of the function is under test.

    Raises:
        ValueError: no argument has a derivative, or the gradient does not fit the arguments.
    """
    named = _named_leaves(function, arguments, keywords)
    for differentiated in _choices(function, named, len(arguments)):
        if not differentiated:
            continue
        flat = _Flat(function, named, differentiated, arguments, keywords, scalar=gradient is not None)
        try:
            jaxpr = flat.trace()
            break
        except _TRACING_ERRORS as error:
            last = error
    else:
        if any(_choices(function, named, len(arguments))):
            raise last
        raise ValueError(
            f"`{name_of(function)}` has no argument to differentiate by: expected at least one array of floating-point "
            f"numbers, got {', '.join(f'{n.name} ({_reason(n.value)})' for n in named) or 'no arguments'}."
        )
    leaves = tuple(Leaf(n.name, jnp.asarray(n.value)) for n in differentiated)
    chosen = {n.name for n in differentiated}
    skipped = tuple((n.name, _reason(n.value)) for n in named if n.name not in chosen)
    pull_back = flat.rule if gradient is None else flat.by_gradient(gradient)
    return Subject(name_of(function), leaves, skipped, flat, jaxpr, pull_back, gradient is None, flat.ignored_results)


def name_of(function: Callable) -> str:
    """The name of a function, a partial application, a method or an object that is called."""
    for candidate in (function, getattr(function, "func", None), getattr(function, "__wrapped__", None)):
        name = getattr(candidate, "__name__", None)
        if name and name != "<lambda>":
            return name
    return getattr(function, "__name__", type(function).__name__)


_TRACING_ERRORS = (TypeError, ValueError, jax.errors.JAXTypeError, jax.errors.JAXIndexError, NotImplementedError)


class _Named(NamedTuple):
    name: str
    argument: int | str  # position or keyword
    path: str  # within the argument
    value: Any


def _named_leaves(function, arguments, keywords) -> list[_Named]:
    names = _parameter_names(function, len(arguments))
    found = []
    for key, argument in [*enumerate(arguments), *keywords.items()]:
        name = names[key] if isinstance(key, int) else key
        for path, leaf in _leaves_with_path(argument):
            found.append(_Named(name + path, key, path, leaf))
    return found


def _parameter_names(function, count: int) -> list[str]:
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return [f"argument {k}" for k in range(count)]
    names = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)][:count]
    rest = next((p.name for p in parameters if p.kind is p.VAR_POSITIONAL), "argument ")
    return names + [f"{rest}[{k}]" for k in range(count - len(names))]


def _leaves_with_path(tree) -> list[tuple[str, Any]]:
    """(path, leaf) of every leaf, None included."""
    leaves = jax.tree_util.tree_leaves_with_path(tree, is_leaf=lambda leaf: leaf is None)
    return [(jax.tree_util.keystr(path), leaf) for path, leaf in leaves]


def is_inexact(value) -> bool:
    """Whether a leaf has floating-point or complex entries."""
    if isinstance(value, float | complex):
        return True
    return isinstance(value, jax.Array | np.ndarray | np.generic) and jnp.issubdtype(value.dtype, jnp.inexact)


def _reason(value) -> str:
    if value is None:
        return "None"
    if isinstance(value, jax.Array | np.ndarray | np.generic):
        if jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
            return "PRNG key"
        return f"{value.dtype}{list(value.shape)}"
    return f"static {type(value).__name__}"


def _choices(function, named: list[_Named], count: int):
    """Sets of leaves to differentiate by, from the largest: Python floats may be static, arguments declared so are."""
    declared = _static_arguments(function, count)
    arrays = [n for n in named if is_inexact(n.value) and n.argument not in declared]
    yield arrays
    yield [n for n in arrays if not isinstance(n.value, float | complex)]


def _static_arguments(function, count: int) -> set:
    """Arguments that a `custom_vjp` or `custom_jvp` declares as not differentiated."""
    found: set = set()
    while function is not None:
        numbers = getattr(function, "nondiff_argnums", ()) or ()
        found |= {number % count if number < 0 else number for number in numbers}
        function = getattr(function, "__wrapped__", None)
    return found


class _Flat:
    """A function of the differentiated arrays alone, with the list of its floating-point results."""

    def __init__(self, function, named, differentiated, arguments, keywords, scalar: bool):
        self.function, self.named, self.differentiated = function, named, differentiated
        self.arguments, self.keywords, self.scalar = arguments, keywords, scalar
        self.ignored_results = 0

    def call(self, function, arrays):
        """`function` with arrays in the place of the differentiated leaves."""
        new = {(n.argument, n.path): a for n, a in zip(self.differentiated, arrays, strict=True)}

        def fill(key, argument):
            def replace(path, leaf):
                return new.get((key, jax.tree_util.keystr(path)), leaf)

            return jax.tree_util.tree_map_with_path(replace, argument, is_leaf=lambda leaf: leaf is None)

        positional = [fill(key, argument) for key, argument in enumerate(self.arguments)]
        return function(*positional, **{key: fill(key, argument) for key, argument in self.keywords.items()})

    def __call__(self, *arrays) -> list:
        """The floating-point and complex results."""
        result = self.call(self.function, arrays)
        if self.scalar:
            return [self._scalar(result)]
        leaves = jax.tree.leaves(result)
        found = [jnp.asarray(leaf) for leaf in leaves if is_inexact(leaf) or _is_inexact_tracer(leaf)]
        self.ignored_results = len(leaves) - len(found)
        return found

    def _scalar(self, result):
        """The scalar that a separate gradient belongs to: the result, or the first of (scalar, auxiliary results)."""
        if isinstance(result, tuple) and len(result) > 1 and jnp.shape(result[0]) == ():
            self.ignored_results = len(jax.tree.leaves(result[1:]))
            result = result[0]
        if len(jax.tree.leaves(result)) != 1 or jnp.shape(jax.tree.leaves(result)[0]) != ():
            shapes = jax.tree.map(jnp.shape, result)
            raise ValueError(
                f"`{name_of(self.function)}` must return a scalar to be compared with a separate `gradient`, got shape "
                f"{shapes}. Sum its result, or define the rule with `jax.custom_vjp`."
            )
        return jnp.asarray(jax.tree.leaves(result)[0])

    def trace(self):
        """The closed jaxpr in the dtype under test."""
        return jax.make_jaxpr(self.__call__)(*(jnp.asarray(n.value) for n in self.differentiated))

    def rule(self, arrays, cotangents) -> list:
        """The cotangents by the rule of the function."""
        _, vjp = jax.vjp(self.__call__, *arrays)
        return list(vjp(list(cotangents)))

    def by_gradient(self, gradient) -> Callable[[Sequence, Sequence], list]:
        """The pullback of a separate gradient of a scalar function."""

        def pull_back(arrays, cotangents) -> list:
            found = self._match(self.call(gradient, arrays), gradient)
            (cotangent,) = cotangents
            return [None if g is None else g * np.asarray(cotangent) for g in found]

        return pull_back

    def _match(self, result, gradient) -> list:
        """The gradient by each differentiated leaf, None where `gradient` gives none."""
        keys = list(dict.fromkeys(n.argument for n in self.differentiated))
        first = [n for n in self.differentiated if n.argument == keys[0]]
        by_first = dict(_leaves_with_path(result))
        if {n.path for n in first} <= set(by_first):
            return [by_first.get(n.path) if n.argument == keys[0] else None for n in self.differentiated]
        if isinstance(result, tuple | list):
            all_keys = [*range(len(self.arguments))]
            chosen = keys if len(result) <= len(keys) else all_keys if len(result) == len(all_keys) else []
            given = dict(zip(chosen, result, strict=False))
            by_argument = {key: dict(_leaves_with_path(tree)) for key, tree in given.items()}
            fits = all(
                {n.path for n in self.differentiated if n.argument == key} <= set(by_argument[key])
                for key in given
                if key in keys
            )
            if given and fits:
                return [by_argument.get(n.argument, {}).get(n.path) for n in self.differentiated]
        structure = jax.tree.structure(result)
        raise ValueError(
            f"`{name_of(gradient)}` must return the gradient by the first argument, or a tuple of gradients by the "
            f"first arguments ({', '.join(str(n.name) for n in self.differentiated)}); got {structure}."
        )


def _is_inexact_tracer(leaf) -> bool:
    return hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jnp.inexact)
