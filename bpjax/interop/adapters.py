"""Make layers from modules of other libraries: Flax (NNX and Linen), Equinox, and JAX's own stax.

Each module becomes a layer through `from_function`: its backward pass is automatic, with the cost and the behaviour
under feedback weights that are described there. Haiku's `(init, apply)` need no adapter: pass them to `from_function`.
A library is imported when its function is called.
"""

import contextlib
from typing import Any

import jax
import jax.numpy as jnp

from bpjax.interop.from_function import dtype_of, from_function, output_shape
from bpjax.layers.layer import Layer
from bpjax.types import Params


def from_nnx(module: Any) -> Layer:
    """A Flax NNX module as a layer, with the weights of the module.

    `init` ignores the key and returns the weights that the module holds, a nested dictionary of its `nnx.Param`s. After
    training, put them back with `to_nnx`:

        layer = from_nnx(nnx.Linear(4, 3, rngs=nnx.Rngs(0)))
        params, _ = layer.init(key, (4,))
        module = to_nnx(module, trained)

    The module is not changed. Other state than `nnx.Param` (running statistics, random number streams of dropout) is
    refused. x has the dtype of the weights; in `init`, it is an array.

    Raises:
        ModuleNotFoundError: Flax is not installed.
        ValueError: it is not an NNX module, or holds other state than parameters.
    """
    nnx = _nnx()
    _check_is("from_nnx", module, nnx.Module, "a module of Flax NNX", "nnx.Linear(4, 3, rngs=nnx.Rngs(0))")
    graph, state, rest = nnx.split(module, nnx.Param, ...)
    if jax.tree.leaves(rest):
        kinds = sorted({type(variable).__name__ for _, variable in nnx.to_flat_state(rest)})
        raise ValueError(
            f"`from_nnx` expected a module whose only state is nnx.Param, got {', '.join(kinds)} too in "
            f"{type(module).__name__}. Leave out dropout and batch norm, and use bpjax's."
        )
    weights = nnx.to_pure_dict(state)

    def apply(params, x):
        return nnx.merge(graph, _with_values(nnx, state, params))(x)

    return _of_a_module(type(module).__name__, weights, apply)


def to_nnx(module: Any, params: Params) -> Any:
    """A new module like `module` that holds the params of `from_nnx(module)`."""
    nnx = _nnx()
    graph, state, rest = nnx.split(module, nnx.Param, ...)
    return nnx.merge(graph, _with_values(nnx, state, params), rest)


def from_linen(module: Any) -> Layer:
    """A Flax Linen module as a layer; its params are its "params" collection, a nested dictionary.

    `init` is `module.init(key, zeros)`, with a batch of one example. The trained params can be used directly:
    `module.apply({"params": params}, x)`. Other collections (batch_stats) and random numbers (dropout) are refused.
    Set other arguments of the call in the module: `nn.Dropout(0.1, deterministic=True)`.

    Raises:
        ModuleNotFoundError: Flax is not installed.
        ValueError: it is not a Linen module; in `init`, it makes other collections than "params".
    """
    with _installed("flax", "`from_linen`"):
        import flax.linen as nn
    _check_is("from_linen", module, nn.Module, "a module of Flax Linen", "nn.Dense(3)")
    name = type(module).__name__

    def init(key, in_shape):
        dtype = getattr(module, "param_dtype", jnp.result_type(float))
        variables = module.init(key, jnp.zeros((1, *in_shape), dtype))
        if set(variables) - {"params"}:
            raise ValueError(
                f"`from_linen` expected a module whose only collection is 'params', got {sorted(variables)} of {name}. "
                "A layer has no state: leave out batch norm and similar modules, and use bpjax's."
            )
        params = variables.get("params", {})
        return params, output_shape(apply, params, tuple(in_shape))

    def apply(params, x):
        return module.apply({"params": params}, x)

    return from_function(init, apply, name)


def from_equinox(module: Any, per_example: bool = True) -> Layer:
    """An Equinox module as a layer, with the weights of the module.

    Equinox calls a module on one example: `per_example=True` maps it over the batch; use `per_example=False` for a
    module that takes a whole batch. `init` ignores the key and returns the weights that the module holds: the module
    with None in place of everything that is not a floating-point array. After training, put them back with
    `to_equinox`:

        layer = from_equinox(eqx.nn.MLP(4, 3, 5, 1, key=key))
        params, _ = layer.init(key, (4,))
        module = to_equinox(module, trained)

    The module is not changed; integers and functions inside it are constants. State (`eqx.nn.BatchNorm`)
    and dropout that is not in inference mode are refused.

    Raises:
        ModuleNotFoundError: Equinox is not installed.
        ValueError: it is not an Equinox module, cannot be called, or needs state or a key.
    """
    eqx = _equinox()
    _check_is("from_equinox", module, eqx.Module, "an Equinox module", "eqx.nn.Linear(4, 3, key=key)")
    _check_needs_x_alone(eqx, module)
    weights, constants = eqx.partition(module, eqx.is_inexact_array)

    def apply(params, x):
        whole = eqx.combine(params, constants)
        return jax.vmap(whole)(x) if per_example else whole(x)

    return _of_a_module(type(module).__name__, weights, apply)


def to_equinox(module: Any, params: Params) -> Any:
    """A new module like `module` that holds the params of `from_equinox(module)`."""
    eqx = _equinox()
    return eqx.combine(params, eqx.partition(module, eqx.is_inexact_array)[1])


def from_stax(pair: tuple) -> Layer:
    """A pair `(init, apply)` of `jax.example_libraries.stax` as a layer: `from_stax(stax.serial(...))`.

    Its `init(key, (-1, *in_shape))` with the batch axis becomes `init(key, in_shape)` without it; the params are
    those of stax. Layers that need random numbers (`stax.Dropout` in training) raise the error of stax when called.

    Raises:
        ValueError: it is not a pair of functions.
    """
    if not isinstance(pair, tuple) or len(pair) != 2 or not all(map(callable, pair)):
        raise ValueError(
            f"`from_stax` expected a pair of functions (init, apply), got {pair!r}. "
            "Examples are `stax.Dense(3)`, `stax.Tanh` and `stax.serial(...)`."
        )
    stax_init, apply = pair

    def init(key, in_shape):
        out_shape, params = stax_init(key, (-1, *in_shape))
        return params, tuple(out_shape[1:])

    return from_function(init, apply, "stax")


def _of_a_module(name: str, weights: Params, apply) -> Layer:
    """The layer of a module that already holds its weights."""

    def init(key, in_shape):
        return weights, output_shape(apply, weights, tuple(in_shape), dtype_of(weights))

    return from_function(init, apply, name)


def _with_values(nnx, state, values):
    """A copy of an NNX state that holds the values of a nested dictionary."""
    state = jax.tree.map(lambda leaf: leaf, state)
    nnx.replace_by_pure_dict(state, values)
    return state


def _check_needs_x_alone(eqx, module) -> None:
    """Raise a `ValueError` where an Equinox module cannot be called with x and nothing else."""
    name = type(module).__name__
    if not callable(module):
        raise ValueError(f"`from_equinox` expected a module with `__call__(x)`, got {name}, which has none.")
    inner = (eqx.nn.StateIndex, eqx.nn.Dropout)
    for part in jax.tree.leaves(module, is_leaf=lambda node: isinstance(node, inner)):
        if isinstance(part, eqx.nn.StateIndex):
            raise ValueError(f"`from_equinox` expected a module without state, got {name}. Use bpjax's batch norm.")
        if isinstance(part, eqx.nn.Dropout) and not part.inference and part.p != 0:
            raise ValueError(
                f"`from_equinox` expected a module that needs no key, got dropout in {name}. "
                "Switch it off, `eqx.nn.inference_mode(module)`, or use bpjax's."
            )


def _check_is(who: str, module, kind: type, what: str, example: str) -> None:
    if not isinstance(module, kind):
        got = f"the class {module.__name__}" if isinstance(module, type) else f"a {type(module).__name__}"
        raise ValueError(f"`{who}` expected {what}, such as `{example}`, got {got}.")


def _nnx():
    with _installed("flax", "`from_nnx`"):
        from flax import nnx
    return nnx


def _equinox():
    with _installed("equinox", "`from_equinox`"):
        import equinox
    return equinox


@contextlib.contextmanager
def _installed(package: str, who: str):
    """Raise an error that names the package if an import in the block fails; the packages are not extras of bpjax."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{who} needs the package {package}, which is not installed. Install it: pip install {package}."
        ) from error
