"""Checks of other libraries' modules, and of the weights that are put back into them."""

import jax
import jax.numpy as jnp

from bpjax.util.call_text import is_function, shown
from bpjax.util.checks import check_like


def same_objects(a: list, b: list) -> bool:
    """Whether two lists hold the very same objects."""
    return len(a) == len(b) and all(x is y for x, y in zip(a, b, strict=True))


def check_callable(who: str, module) -> None:
    """Raise a `ValueError` unless a module can be called."""
    if not is_function(module):
        raise ValueError(f"`{who}` expected a module with `__call__(x)`, got {type(module).__name__}, which has none.")


def nnx_parts(nnx, who: str, module, wrt):
    """(graph, trained state, rest) of an NNX module; a `ValueError` if the filter is none, or chooses nothing."""
    try:
        parts = nnx.split(module, nnx.Param if wrt is None else wrt, ...)
    except Exception as error:
        raise ValueError(
            f"`{who}` expected `wrt` to be a filter of Flax, such as nnx.Param, got {shown(wrt)}."
        ) from error
    if wrt is not None and not jax.tree.leaves(parts[1]):
        raise ValueError(
            f"`{who}` expected `wrt` to choose arrays of {type(module).__name__}, got {shown(wrt)}, which chooses none."
        )
    return jax.tree.map(lambda leaf: leaf, parts)


def check_weights(who: str, params, weights) -> None:
    """Raise a `ValueError` unless the params have the structure, the shapes and the kinds of a module's weights."""
    check_like(who, "params", params, "module", weights)
    for one, own in zip(jax.tree.leaves(params), jax.tree.leaves(weights), strict=True):
        kinds = [jnp.issubdtype(jnp.result_type(leaf), jnp.floating) for leaf in (one, own)]
        if kinds[0] != kinds[1] or jnp.iscomplexobj(one) != jnp.iscomplexobj(own):
            raise ValueError(
                f"`{who}` expected `params` of the dtypes of `module`, {own.dtype}, got {jnp.result_type(one)}."
            )


def check_needs_x_alone(eqx, module, state) -> None:
    """Raise a `ValueError` where an Equinox module needs a key, or state that is not given."""
    name = type(module).__name__
    inner = (eqx.nn.StateIndex, eqx.nn.Dropout)
    for part in jax.tree.leaves(module, is_leaf=lambda node: isinstance(node, inner)):
        if isinstance(part, eqx.nn.StateIndex) and state is None:
            raise ValueError(
                f"`from_equinox` expected a module without state, got {name}: pass its state, "
                "`from_equinox(eqx.nn.inference_mode(module), state=state)`, or use bpjax's batch norm."
            )
        if isinstance(part, eqx.nn.Dropout) and not part.inference and part.p != 0:
            raise ValueError(
                f"`from_equinox` expected a module that needs no key, got dropout in {name}. "
                "Switch it off, `eqx.nn.inference_mode(module)`, or use bpjax's."
            )


def check_is(who: str, module, kind: type, what: str, example: str) -> None:
    """Raise a `ValueError` unless a module is of a kind; `example` is a call that makes one."""
    if not isinstance(module, kind):
        got = f"the class {module.__name__}" if isinstance(module, type) else f"a {type(module).__name__}"
        raise ValueError(f"`{who}` expected {what}, such as `{example}`, got {got}.")
