"""A call of any function as a flat function of the floating-point arrays among its arguments."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bpjax.gradcheck.arguments import Named, is_concrete, is_inexact, is_python_scalar, name_of, what_is


class Call(NamedTuple):
    """A function with example arguments."""

    function: Callable
    named: list[Named]
    arguments: Sequence
    keywords: dict

    def with_arrays(self, function, leaves: Sequence[Named], arrays) -> Any:
        """`function` at the arguments, with arrays in the place of some leaves."""
        new = {(n.argument, n.path): a for n, a in zip(leaves, arrays, strict=True)}

        def fill(key, argument):
            def put(path, leaf):
                return new.get((key, jax.tree_util.keystr(path)), leaf.copy() if isinstance(leaf, np.ndarray) else leaf)

            return jax.tree_util.tree_map_with_path(put, argument, is_leaf=lambda leaf: leaf is None)

        positional = [fill(key, argument) for key, argument in enumerate(self.arguments)]
        return function(*positional, **{key: fill(key, argument) for key, argument in self.keywords.items()})


@dataclass(eq=False)
class Flat:
    """A function of the differentiated arrays alone, with the list of its floating-point results."""

    call: Call
    differentiated: list[Named]
    scalar: bool  # only the scalar result counts: it is what a separate gradient belongs to
    reasons: dict[str, str] = field(default_factory=dict)  # why leaves that could be differentiated are not
    traceable: bool = True
    ignored_results: int = 0

    @cached_property
    def arrays(self) -> list[jax.Array]:
        """The differentiated leaves in the dtype under test. Python numbers stay weakly typed."""
        return [jnp.asarray(n.value) for n in self.differentiated]

    def by(self, leaves: list[Named], reason: str = "") -> "Flat":
        """The function of fewer leaves."""
        kept = {n.name for n in leaves}
        dropped = {n.name: f"{what_is(n.value)}, {reason}" for n in self.differentiated if n.name not in kept}
        return replace(self, differentiated=leaves, reasons=self.reasons | dropped)

    def __call__(self, *arrays) -> list:
        """The floating-point and complex results."""
        return self._flat_results(self._on_host(arrays)) if not self.traceable else self.direct(*arrays)

    def direct(self, *arrays) -> list:
        """The floating-point and complex results by a call as it stands, with the rules in it."""
        given = [_copied(a) for a in arrays]
        return self._flat_results(self.call.with_arrays(self.call.function, self.differentiated, given))

    def _flat_results(self, result) -> list:
        if self.scalar:
            return [self._scalar(result)]
        leaves = jax.tree.leaves(result)
        found = [jnp.asarray(leaf) for leaf in leaves if is_inexact(leaf)]
        self.ignored_results = len(leaves) - len(found)
        return found

    def _scalar(self, result):
        """The result, or the first of (scalar, auxiliary results)."""
        whole = result
        if isinstance(result, tuple | list) and len(result) > 1 and _is_scalar(result[0]):
            self.ignored_results = len(jax.tree.leaves(result[1:]))
            result = result[0]
        if not _is_scalar(result):
            raise NotScalar(
                f"`{name_of(self.call.function)}` must return a real scalar to be compared with a separate "
                f"`gradient`, got {jax.tree.map(_shape, whole)}. Sum its result, give `gradient` the cotangent of the "
                "result as its last argument, or define the rule with `jax.custom_vjp`."
            )
        return jnp.asarray(jax.tree.leaves(result)[0])

    @cached_property
    def example(self):
        """The result at the example arguments, as the code under test returns it."""
        return self.at_values(self.arrays)

    def on_host(self) -> "Flat":
        """The function as a callback, for code that JAX cannot trace: it is called with NumPy arrays."""
        found = replace(self, traceable=False)
        found._flat_results(found.example)  # outside of any trace
        return found

    def _on_host(self, arrays):
        leaves, structure = jax.tree.flatten(self.example)
        shapes = [jax.ShapeDtypeStruct(np.shape(leaf), jnp.asarray(leaf).dtype) for leaf in leaves]

        def run(*arrays):
            results = jax.tree.leaves(self.at_values(arrays))
            return [np.asarray(r, s.dtype) for r, s in zip(results, shapes, strict=True)]

        return structure.unflatten(jax.pure_callback(run, shapes, *arrays, vmap_method="sequential"))

    def at_values(self, arrays):
        """The result of a call with arrays as they were given."""
        values = [as_given(n.value, a) for n, a in zip(self.differentiated, arrays, strict=True)]
        return self.call.with_arrays(self.call.function, self.differentiated, values)

    def trace(self):
        """The closed jaxpr in the dtype under test."""
        return jax.make_jaxpr(self.__call__)(*self.arrays)

    def cotangent_structure(self) -> Callable[[Sequence], Any]:
        """How cotangents of the flat results become one of the result: None for those of integers."""
        leaves, structure = jax.tree.flatten(self.example)
        as_numpy = any(isinstance(n.value, np.ndarray) for n in self.differentiated)

        def unflatten(cotangents):
            following = iter(cotangents)
            filled = [next(following) if is_inexact(leaf) else None for leaf in leaves]
            host = [np.asarray(c) if as_numpy and c is not None and is_concrete(c) else c for c in filled]
            return structure.unflatten(host)

        return unflatten

    def failure(self) -> Exception | None:
        """Why the function cannot be traced."""
        try:
            self.trace()
        except NotScalar:
            raise
        except Exception as error:  # noqa: BLE001  (code that meets a tracer may raise anything)
            return error
        return None

    def rule(self, arrays, cotangents) -> list:
        """The cotangents by the rule of the function."""
        _, pull_back = jax.vjp(lambda *a: self.direct(*a), *map(_copied, arrays))
        return list(pull_back(list(cotangents)))

    def results_by_rule(self, *arrays) -> list:
        """The results as the forward pass of the rule computes them."""
        return jax.vjp(lambda *a: self.direct(*a), *map(_copied, arrays))[0]

    def push_forward(self, arrays, tangents) -> list:
        """The tangents of the results by the rule of the function."""
        return jax.jvp(lambda *a: self.direct(*a), tuple(map(_copied, arrays)), tuple(tangents))[1]


class NotScalar(ValueError):
    """A separate gradient was given for a function whose result is no scalar."""


def as_given(original, array):
    """A concrete array in the form of the argument it stands for: a copy in NumPy, a Python number, or as it is."""
    if not is_concrete(array):
        return array
    if is_python_scalar(original):
        return type(original)(array)
    if isinstance(original, np.ndarray | np.generic):
        return np.array(array, original.dtype)[()]
    return _copied(jnp.asarray(array))


def _copied(leaf):
    """A copy of an array, which the code under test may donate."""
    return leaf.copy() if isinstance(leaf, jax.Array) and is_concrete(leaf) else leaf


def _is_scalar(tree) -> bool:
    """Whether a result is one real number."""
    leaves = jax.tree.leaves(tree)
    return len(leaves) == 1 and is_inexact(leaves[0]) and jnp.shape(leaves[0]) == () and not jnp.iscomplexobj(leaves[0])


def _shape(leaf) -> str:
    return f"{getattr(leaf, 'dtype', type(leaf).__name__)}{list(jnp.shape(leaf))}"
