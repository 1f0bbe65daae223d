"""Cells made of a layer, or of a function in JAX: for models of dynamic systems and optimal control."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from bpjax.layers.layer import Kind, Layer, Parts, check_in_shape, check_layer, is_shape
from bpjax.layers.recurrent.cell import Cell
from bpjax.util.call_text import call_text, shown
from bpjax.util.checks import check_count, check_function
from bpjax.util.trees import described


def stage(layer: Layer, features: int) -> Cell:
    """A layer as one stage of a dynamic system: [sₜ, xₜ] (N, H + D) to the next state (N, H), which is also the output.

    forward    sₜ₊₁ = yₜ = f([sₜ, xₜ])
    backward   [dsₜ, dxₜ] = (∂f/∂[s, x])ᵀ (dsₜ₊₁ + dyₜ)

    `unroll(stage(chain(dense(20), tanh, dense(4)), 4))` is a trainable model of a plant with 4 state variables.
    Residuals: those of the layer at every step. A key or a mask of the context is the same at every step.

    Raises:
        ValueError: `layer` is not a Layer; in `init`, its output shape is not (features,).
    """
    check_layer("stage", layer)
    features = check_count("stage", "features", features)

    def init(key, in_shape):
        (in_features,) = check_in_shape("stage", in_shape, rank=1)
        params, out_shape = layer.init(key, (features + in_features,))
        if out_shape != (features,):
            raise ValueError(
                f"`stage` expected `{layer.name}` to output the next state, shape ({features},), got {out_shape}. "
                "The layer needs as many outputs as the state has features."
            )
        return params, out_shape

    def step(params, state, x):
        state, residuals = layer.forward(params, jnp.concatenate([state, x], axis=1))
        return state, state, residuals

    def back(params, residuals, dstate, dy):
        dparams, dinput = layer.backward(params, residuals, dstate + dy)
        return dinput[:, :features], (dparams, dinput[:, features:])

    parts = Parts((layer,), lambda changed: stage(changed, features))
    arguments = f"{{parts}}, {features}"
    return Cell(
        f"stage({layer.name})", (features,), init, step, back, kind=Kind.COMBINATOR, parts=parts, arguments=arguments
    )


def no_params(key, in_shape):
    """The params of dynamics without trainable parameters."""
    return ()


def check_state_shape(state_shape, who: str = "dynamics") -> Any:
    """A shape or a pytree of shapes with axes ≥ 1 as tuples of `int`, or a `ValueError`."""
    shapes = jax.tree.leaves(state_shape, is_leaf=is_shape)
    whole = all(is_shape(s) and all(n > 0 and not isinstance(n, bool) for n in s) for s in shapes)
    if not shapes or not whole:
        raise ValueError(
            f"`{who}` expected `state_shape` to be a tuple of positive integers, or a pytree of them, got "
            f"{shown(state_shape)}."
        )
    return jax.tree.map(lambda s: tuple(map(int, s)), state_shape, is_leaf=is_shape)


def dynamics(function: Callable, state_shape: Any, params: Callable = no_params) -> Cell:
    """A function as a cell: the state s, any pytree, becomes `function(params, s, x)`, which is also the output.

    forward    sₜ₊₁ = yₜ = f(sₜ, xₜ)
    backward   λₜ = (∂f/∂s)ᵀ (λₜ₊₁ + dyₜ),   dxₜ = (∂f/∂x)ᵀ (λₜ₊₁ + dyₜ)        the Jacobians by `jax.vjp`

    x are the controls of Bryson & Ho's multi-stage system: gradient descent along dx optimizes the trajectory.
    Residuals: sₜ and xₜ; the backward pass recomputes the step with the params it receives.

    Args:
        function: (params, s (N, ...), x (N, D)) -> s (N, ...), for a whole batch; use `jax.vmap` on a function of one
            example.
        state_shape: Shape of s without the batch axis, or a pytree of shapes.
        params: (key, (D,)) -> params, if there are trainable parameters.

    Raises:
        ValueError: `function` or `params` is no function, or `state_shape` no shape; the function returns a state of
            another structure, shape or dtype than the one it received.
    """
    check_function("dynamics", "function", function)
    check_function("dynamics", "params", params)
    state_shape = check_state_shape(state_shape)

    def init(key, in_shape):
        return params(key, in_shape), state_shape

    def step(weights, state, x):
        moved = function(weights, state, x)
        if described(moved) != described(state):
            raise ValueError(
                f"`dynamics` expected the function to return a state {described(state)}, got {described(moved)}."
            )
        return moved, moved, (state, x)

    def back(weights, residuals, dstate, dy):
        _, vjp = jax.vjp(function, weights, *residuals)
        dweights, dstate, dx = vjp(jax.tree.map(jnp.add, dstate, dy))
        return dstate, (dweights, dx)

    return Cell("dynamics", state_shape, init, step, back, arguments=call_text(function, state_shape))
