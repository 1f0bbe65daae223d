"""Which argument each part of a hand-written gradient belongs to: people return gradients in many forms."""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bpjax.gradcheck.arguments import Named, leaves_with_path, name_of
from bpjax.gradcheck.flat import Call

Found = list[Any]  # for each differentiated leaf its gradient, or None where none is given


def match(result, gradient: Callable, call: Call, differentiated: Sequence[Named], argnums=None) -> Found:
    """The gradient by each differentiated leaf, None where the result has none.

    Understood are: the gradient by the first differentiable argument; a tuple, list or dict (by name) of gradients by
    some or all arguments, with None for those left out; and each of these after the value, as `jax.value_and_grad`
    returns it, or before auxiliary results. Of several readings the first whose shapes fit is taken, else the first
    whose structure fits.

    Raises:
        ValueError: no reading fits.
    """
    readings = list(_readings(result, call, differentiated, argnums))
    for found in readings:
        if all(g is None or jnp.shape(g) == jnp.shape(n.value) for g, n in zip(found, differentiated, strict=True)):
            return found
    if readings:
        return readings[0]
    names = ", ".join(dict.fromkeys(_argument_name(n) for n in differentiated))
    raise ValueError(
        f"`{name_of(gradient)}` must return the gradient by the first argument, or a tuple of gradients by the "
        f"arguments ({names}) with None for those left out; got {_structure(result)}. Name the arguments with "
        "`argnums`, as for `jax.grad`, if it returns others."
    )


def _structure(result) -> str:
    """The shapes of a result in its structure."""
    return str(
        jax.tree.map(lambda leaf: f"{getattr(leaf, 'dtype', type(leaf).__name__)}{list(jnp.shape(leaf))}", result)
    )


def _argument_name(leaf: Named) -> str:
    return leaf.name[: len(leaf.name) - len(leaf.path)] if leaf.path else leaf.name


def _readings(result, call: Call, differentiated, argnums) -> Iterator[Found]:
    """Every reading of a result that fits in structure, the likeliest first."""
    arguments = dict(enumerate(call.arguments)) | call.keywords
    for part in _without_value(result):
        for given in _by_argument(part, call.named, differentiated, argnums):
            found = _by_leaf(given, arguments, differentiated)
            if found is not None:
                yield found


def _without_value(result) -> Iterator:
    """The result; then what `value_and_grad` or auxiliary results may have put the gradient into."""
    yield result
    if isinstance(result, tuple | list) and len(result) == 2:
        first = result[0][0] if isinstance(result[0], tuple | list) and result[0] else result[0]
        if jax.tree.structure(first).num_leaves == 1 and jnp.shape(jax.tree.leaves(first)[0]) == ():
            yield result[1]
        yield result[0]


def _by_argument(result, named, differentiated, argnums) -> Iterator[dict]:
    """Gradients by argument (position or keyword)."""
    if argnums is not None:
        if isinstance(argnums, int | str):
            yield {argnums: result}
        elif isinstance(result, tuple | list) and len(result) == len(argnums):
            yield dict(zip(argnums, result, strict=True))
        return
    keys = list(dict.fromkeys(n.argument for n in differentiated))
    every = list(dict.fromkeys(n.argument for n in named))
    yield {keys[0]: result}
    if isinstance(result, tuple | list):
        for chosen in (keys[: len(result)], every[: len(result)]):
            if len(chosen) == len(result):
                yield dict(zip(chosen, result, strict=True))
    if isinstance(result, dict):
        by_name = {_argument_name(n): n.argument for n in named}
        if result and set(result) <= set(by_name):
            yield {by_name[name]: gradient for name, gradient in result.items()}
        if result and set(result) <= set(every):
            yield result
    for key in keys[1:]:
        yield {key: result}


def _by_leaf(given: dict, arguments: dict, differentiated: Sequence[Named]) -> Found | None:
    """Gradients by leaf; None where the structure of an argument is another one."""
    found: dict[str, Any] = {}
    for key, gradient in given.items():
        leaves = [n for n in differentiated if n.argument == key]
        if gradient is None or not leaves:
            continue  # zeros, None or float0 by an argument that has no derivative
        by_leaf = _of_argument(gradient, leaves, arguments.get(key))
        if by_leaf is None:
            return None
        found |= by_leaf
    if all(g is None for g in found.values()):
        return None
    return [found.get(n.name) for n in differentiated]


def _of_argument(gradient, leaves: list[Named], argument) -> dict[str, Any] | None:
    """The gradient by one argument, by leaf."""
    by_path = {_keys(path): leaf for path, leaf in leaves_with_path(gradient)}
    if {_keys(n.path) for n in leaves} <= set(by_path):
        return {n.name: by_path[_keys(n.path)] for n in leaves}
    if len(leaves) == 1 and not leaves[0].path:
        return {leaves[0].name: np.asarray(gradient)} if _is_nested_numbers(gradient) else None
    arrays = [leaf for leaf in by_path.values() if leaf is not None]
    if len(arrays) == len(leaves) and not _is_array(gradient):  # a tuple for a dict, for instance
        return dict(zip([n.name for n in leaves], arrays, strict=True))
    if set(by_path) <= {_keys(n.path) for n in leaves} and type(gradient) is not type(argument):
        return {n.name: by_path.get(_keys(n.path)) for n in leaves}  # the trainable part of a module
    return None


def _keys(path: str) -> tuple[str, ...]:
    """The keys of a path, the same for attributes, fields and dicts: (layers, 0, weight)."""
    return tuple(re.findall(r"\w+", path))


def _is_array(tree) -> bool:
    return jax.tree.structure(tree) == jax.tree.structure(0)


def _is_nested_numbers(tree) -> bool:
    """Whether a list holds Python numbers only: a gradient computed without arrays."""
    return isinstance(tree, list) and all(isinstance(leaf, float | int) for leaf in jax.tree.leaves(tree))
