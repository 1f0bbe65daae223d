"""Make layers from modules of other libraries: Flax (NNX and Linen), Equinox, and JAX's own stax.

Each module becomes a layer through `from_function`: its backward pass is automatic, with the cost and the behaviour
under feedback weights that are described there. Haiku's `(init, apply)` need no adapter: pass them to `from_function`.
A library is imported when its function is called.
"""

import contextlib
from typing import Any

import jax
import jax.numpy as jnp

from bpjax.interop.example_inputs import as_shapes, check_dtypes, traced
from bpjax.interop.from_function import dtype_of, from_function, without_batch
from bpjax.interop.module_checks import (
    check_callable,
    check_is,
    check_needs_x_alone,
    check_weights,
    nnx_parts,
    same_objects,
)
from bpjax.layers.layer import Layer, is_shape
from bpjax.types import Params
from bpjax.util.call_text import shown
from bpjax.util.checks import check_arguments, check_flag


def from_nnx(module: Any, *, wrt: Any = None, dtype: Any = None) -> Layer:
    """A Flax NNX module as a layer, with the weights of the module.

    `init` ignores the key and returns the module's weights, a nested dictionary. `to_nnx` puts trained ones back:

        layer = from_nnx(nnx.Linear(4, 3, rngs=nnx.Rngs(0)))
        params, _ = layer.init(key, (4,))
        module = to_nnx(module, trained)

    The module is not changed. Everything that `wrt` does not choose is a constant: arrays that are no `nnx.Param`, as
    for `nnx.grad`, and, after `module.eval()`, running statistics and the random numbers of dropout. A module that
    changes them when it is called is refused, because a layer has no state. x has the dtype of the weights.

    Args:
        module: it is called with x alone, a batch.
        wrt: a filter of Flax that chooses what is trained, as in `nnx.Optimizer`; None for `nnx.Param`, `jax.Array` for
            arrays that are plain attributes.
        dtype: of x in `init`, or a pytree of dtypes; None to find out whether x is floats or integers (tokens).

    Raises:
        ModuleNotFoundError: Flax is not installed.
        ValueError: it is not an NNX module; when called, it cannot take x, or changes its state.
    """
    nnx = _nnx()
    check_is("from_nnx", module, nnx.Module, "a module of Flax NNX", "nnx.Linear(4, 3, rngs=nnx.Rngs(0))")
    name = type(module).__name__
    check_callable("from_nnx", module)
    check_dtypes("from_nnx", dtype)
    graph, state, rest = nnx_parts(nnx, "from_nnx", module, wrt)
    before = {path: (type(variable).__name__, jax.tree.leaves(variable)) for path, variable in nnx.to_flat_state(rest)}

    def apply(params, x):
        whole = nnx.merge(graph, _with_values(nnx, state, params), jax.tree.map(lambda leaf: leaf, rest))
        y = whole(x)
        after = dict(nnx.to_flat_state(nnx.state(whole)))
        changed = {
            kind
            for path, (kind, leaves) in before.items()
            if path in after and not same_objects(leaves, jax.tree.leaves(after[path]))
        }
        if changed:
            raise ValueError(
                f"`from_nnx` expected a module that stays as it is when it is called, {name} changes its "
                f"{', '.join(sorted(changed))}: switch it to evaluation, `module.eval()`, or use bpjax's dropout and "
                "batch norm."
            )
        return y

    return _of_a_module("from_nnx", name, nnx.to_pure_dict(state), apply, dtype)


def to_nnx(module: Any, params: Params, *, wrt: Any = None) -> Any:
    """A new module like `module` that holds the params of `from_nnx(module, wrt=wrt)`.

    Raises:
        ValueError: it is not an NNX module, or the params are not those of its layer.
    """
    nnx = _nnx()
    check_is("to_nnx", module, nnx.Module, "a module of Flax NNX", "nnx.Linear(4, 3, rngs=nnx.Rngs(0))")
    graph, state, rest = nnx_parts(nnx, "to_nnx", module, wrt)
    params = nnx.to_pure_dict(params) if isinstance(params, nnx.State) else params
    check_weights("to_nnx", params, nnx.to_pure_dict(state))
    return nnx.merge(graph, _with_values(nnx, state, params), jax.tree.map(lambda leaf: leaf, rest))


def from_linen(module: Any, variables: Any = None, *, dtype: Any = None, **call: Any) -> Layer:
    """A Flax Linen module as a layer; its params are its "params" collection, a nested dictionary.

    `init` is `module.init(key, zeros)`, with a batch of one example. The trained params can be used directly:
    `module.apply({"params": params}, x)`. Other arguments of the call are passed on to the module:

        layer = from_linen(model, variables, train=False)

    Args:
        module: it is called with x, a batch.
        variables: what `module.init` or a training returned. `init` of the layer then ignores the key and returns the
            collection "params"; the other collections (batch_stats) are constants. None for new params; the module may
            then have no other collections.
        dtype: of x in `init`, or a pytree of dtypes; None to find out whether x is floats or integers (tokens).
        call: keyword arguments of every call, such as `train=False` or `deterministic=True`.

    Raises:
        ModuleNotFoundError: Flax is not installed.
        ValueError: it is not a Linen module; when called, it cannot take x, makes other collections than "params",
            changes them, or needs random numbers.
    """
    with _installed("flax", "`from_linen`"):
        import flax.linen as nn
        from flax import errors
    check_is("from_linen", module, nn.Module, "a module of Flax Linen", "nn.Dense(3)")
    check_dtypes("from_linen", dtype)
    name = type(module).__name__
    if variables is not None and not (hasattr(variables, "keys") and "params" in variables):
        raise ValueError(
            "`from_linen` expected `variables` of the form {'params': ..., 'batch_stats': ...}, as `module.init` "
            f"returns them, got {type(variables).__name__}."
        )
    constants = {kind: collection for kind, collection in dict(variables or {}).items() if kind != "params"}

    @contextlib.contextmanager
    def in_evaluation():
        try:
            yield
        except (errors.ModifyScopeVariableError, errors.InvalidRngError) as error:
            raise ValueError(
                f"`from_linen` expected a module without state and random numbers, {name} needs them: pass the "
                "argument that switches them off, `from_linen(module, variables, train=False)`, or use bpjax's. "
                f"({str(error).splitlines()[0]})"
            ) from error

    def make(key, x):
        with in_evaluation():
            return module.init(key, x, **call)

    def apply(params, x):
        with in_evaluation():
            return module.apply({"params": params, **constants}, x, **call)

    def init(key, in_shape):
        shapes = as_shapes("from_linen", in_shape)
        floating = getattr(module, "param_dtype", jnp.result_type(float))
        if variables is not None:
            params = variables["params"]
            _, y = traced("from_linen", name, lambda x: apply(params, x), shapes, dtype, floating)
            return params, without_batch(y)
        x, made = traced("from_linen", name, lambda x: make(key, x), shapes, dtype, floating)
        if set(made) - {"params"}:
            raise ValueError(
                f"`from_linen` expected a module whose only collection is 'params', got {sorted(made)} of {name}. "
                "Pass its variables, `from_linen(module, module.init(key, x))`, which makes the others constants."
            )
        params = make(key, jax.tree.map(lambda leaf: jnp.zeros((1, *leaf.shape[1:]), leaf.dtype), x)).get("params", {})
        return params, without_batch(jax.eval_shape(apply, params, x))

    return from_function(init, apply, name)


def from_equinox(module: Any, per_example: bool = True, *, state: Any = None, dtype: Any = None) -> Layer:
    """An Equinox module as a layer, with the weights of the module.

    Equinox calls a module on one example: `per_example=True` maps it over the batch; use `per_example=False` for a
    module that takes a whole batch. `init` ignores the key and returns the weights that the module holds: the module
    with None in place of everything that is not a floating-point JAX array. After training, put them back with
    `to_equinox`:

        layer = from_equinox(eqx.nn.MLP(4, 3, 5, 1, key=key))
        params, _ = layer.init(key, (4,))
        module = to_equinox(module, trained)

    The module is not changed; integers, NumPy arrays and functions inside it are constants, as for `eqx.filter_grad`.

    Args:
        module: it is called with x alone, or with (x, state).
        per_example: whether x is one example, without the batch axis.
        state: of a module in inference mode that has one (`eqx.nn.BatchNorm`), a constant.
        dtype: of x in `init`, or a pytree of dtypes; None to find out whether x is floats or integers (tokens).

    Raises:
        ModuleNotFoundError: Equinox is not installed.
        ValueError: it is not an Equinox module, or cannot be called; it needs a key, or state that is not given or
            that it changes.
    """
    eqx = _equinox()
    check_is("from_equinox", module, eqx.Module, "an Equinox module", "eqx.nn.Linear(4, 3, key=key)")
    check_callable("from_equinox", module)
    per_example = check_flag("from_equinox", "per_example", per_example)
    check_arguments("from_equinox", state, "`state`")
    check_dtypes("from_equinox", dtype)
    check_needs_x_alone(eqx, module, state)
    name = type(module).__name__
    weights, constants = eqx.partition(module, eqx.is_inexact_array)

    def apply(params, x):
        whole = eqx.combine(params, constants)

        def call(x):
            if state is None:
                return whole(x)
            y, new_state = whole(x, jax.tree.map(lambda leaf: leaf, state))
            if not same_objects(jax.tree.leaves(state), jax.tree.leaves(new_state)):
                raise ValueError(
                    f"`from_equinox` expected a module that leaves its state as it is, {name} changes it: "
                    "switch it to inference, `eqx.nn.inference_mode(module)`."
                )
            return y

        return jax.vmap(call)(x) if per_example else call(x)

    return _of_a_module("from_equinox", name, weights, apply, dtype)


def to_equinox(module: Any, params: Params) -> Any:
    """A new module like `module` that holds the params of `from_equinox(module)`.

    Raises:
        ValueError: it is not an Equinox module, or the params are not those of its layer.
    """
    eqx = _equinox()
    check_is("to_equinox", module, eqx.Module, "an Equinox module", "eqx.nn.Linear(4, 3, key=key)")
    weights, constants = eqx.partition(module, eqx.is_inexact_array)
    check_weights("to_equinox", params, weights)
    return eqx.combine(params, constants)


def from_stax(pair: tuple) -> Layer:
    """A pair `(init, apply)` of `jax.example_libraries.stax` as a layer: `from_stax(stax.serial(...))`.

    Its `init(key, (-1, *in_shape))` with the batch axis becomes `init(key, in_shape)` without it; the params are
    those of stax. Layers that need random numbers (`stax.Dropout` in training) raise the error of stax when called.

    Raises:
        ValueError: it is not a pair of functions.
    """
    if not isinstance(pair, tuple) or len(pair) != 2 or not all(map(callable, pair)):
        raise ValueError(
            f"`from_stax` expected a pair of functions (init, apply), got {shown(pair)}. "
            "Examples are `stax.Dense(3)`, `stax.Tanh` and `stax.serial(...)`."
        )
    stax_init, apply = pair

    def init(key, in_shape):
        with_batch = jax.tree.map(lambda shape: (-1, *shape), as_shapes("from_stax", in_shape), is_leaf=is_shape)
        out_shape, params = stax_init(key, with_batch)
        return params, jax.tree.map(lambda shape: tuple(shape[1:]), out_shape, is_leaf=is_shape)

    return from_function(init, apply, "stax")


def _of_a_module(who: str, name: str, weights: Params, apply, dtype) -> Layer:
    """The layer of a module that already holds its weights."""

    def init(key, in_shape):
        shapes = as_shapes(who, in_shape)
        _, y = traced(who, name, lambda x: apply(weights, x), shapes, dtype, dtype_of(weights))
        return weights, without_batch(y)

    return from_function(init, apply, name)


def _with_values(nnx, state, values):
    """A copy of an NNX state that holds the values of a nested dictionary."""
    state = jax.tree.map(lambda leaf: leaf, state)
    nnx.replace_by_pure_dict(state, values)
    return state


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
