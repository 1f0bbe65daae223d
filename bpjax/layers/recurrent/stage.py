"""Cells from any layer, and from any dynamics written in JAX: for optimal control, and where no cell is at hand."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from bpjax.layers.layer import Kind, Layer, Parts, check_in_shape, check_layer
from bpjax.layers.recurrent.recurrent import Cell
from bpjax.util.call_text import call_text
from bpjax.util.trees import described


def stage(layer: Layer, features: int) -> Cell:
    """A layer as one stage of a dynamic system: from [sₜ, xₜ] (N, H + D) to the next state (N, H), which is also y.

    forward    sₜ₊₁ = yₜ = f([sₜ, xₜ])
    backward   [dsₜ, dxₜ] = (∂f/∂[s, x])ᵀ (dsₜ₊₁ + dyₜ)

    `unroll(stage(chain(dense(20), tanh, dense(4)), 4))` is a learnt model of a plant with 4 state variables. Kept: what
    the layer keeps of each step. A key or a mask bound to the layer is the same at every step.

    Raises:
        ValueError: `layer` is not a Layer; in `init`, its output is not (features,).
    """
    check_layer("stage", layer)

    def init(key, in_shape):
        (in_features,) = check_in_shape("stage", in_shape, rank=1)
        params, out_shape = layer.init(key, (features + in_features,))
        if out_shape != (features,):
            raise ValueError(
                f"`stage` expected `{layer.name}` to give the next state, shape ({features},), got {out_shape}. "
                "Give the layer as many outputs as the state has features."
            )
        return params, out_shape

    def step(params, state, x):
        state, kept = layer.forward(params, jnp.concatenate([state, x], axis=1))
        return state, state, kept

    def back(params, kept, dstate, dy):
        dparams, dinput = layer.backward(params, kept, dstate + dy)
        return dinput[:, :features], (dparams, dinput[:, features:])

    parts = Parts((layer,), lambda changed: stage(changed, features))
    arguments = f"{{parts}}, {features}"
    return Cell(
        f"stage({layer.name})", (features,), init, step, back, kind=Kind.COMBINATOR, parts=parts, arguments=arguments
    )


def no_params(key, in_shape):
    """Of dynamics that nothing is learnt of."""
    return ()


def dynamics(function: Callable, state_shape: Any, params: Callable = no_params) -> Cell:
    """A plant: s, of any pytree, moves by `function(params, s (N, ...), x (N, D)) -> s (N, ...)`, and y is the new s.

    forward    sₜ₊₁ = yₜ = f(sₜ, xₜ)
    backward   λₜ = (∂f/∂s)ᵀ (λₜ₊₁ + dyₜ),   dxₜ = (∂f/∂x)ᵀ (λₜ₊₁ + dyₜ)        the Jacobians by `jax.vjp`

    The controls of Bryson & Ho's multi-stage system are x: descend along dx and the trajectory becomes optimal. The
    function is for a whole batch; `jax.vmap` one for a single pattern. `params` is `(key, (D,)) -> params`, where there
    is something to learn. Kept: sₜ and xₜ; the step is computed again on the way back, at the params handed.

    Raises:
        ValueError: the function's state has another structure, shape or dtype than the one that went in.
    """

    def init(key, in_shape):
        return params(key, in_shape), state_shape

    def step(weights, state, x):
        moved = function(weights, state, x)
        if described(moved) != described(state):
            raise ValueError(
                f"`dynamics` expected the function to give a state {described(state)}, got {described(moved)}."
            )
        return moved, moved, (state, x)

    def back(weights, kept, dstate, dy):
        _, vjp = jax.vjp(function, weights, *kept)
        dweights, dstate, dx = vjp(jax.tree.map(jnp.add, dstate, dy))
        return dstate, (dweights, dx)

    return Cell("dynamics", state_shape, init, step, back, arguments=call_text(function, state_shape))
