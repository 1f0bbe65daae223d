"""The classical Runge-Kutta method as a cell: dynamics in continuous time, ds/dt = f(s, u)."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from bpjax.layers.recurrent.cell import Cell
from bpjax.layers.recurrent.stage import check_state_shape, no_params
from bpjax.util.call_text import call_text
from bpjax.util.checks import check_flag, check_function, check_number
from bpjax.util.trees import described

WEIGHTS = (1 / 6, 1 / 3, 1 / 3, 1 / 6)
"""Share of each stage of the classical Runge-Kutta method in a step."""
STAGE_TIMES = (0.0, 0.5, 0.5, 1.0)
"""Time of each stage, as a fraction of the step."""


def runge_kutta(
    function: Callable, state_shape: Any, step: float, params: Callable = no_params, *, stage_controls: bool = False
) -> Cell:
    """One step of ds/dt = f(params, s, u) by the classical method of Runge and Kutta, as a cell; y is the new state.

    forward    K₁ = f(s, u₁)              K₂ = f(s + ½h K₁, u₂)
               K₃ = f(s + ½h K₂, u₃)      K₄ = f(s + h K₃, u₄)        s′ = s + h/6 (K₁ + 2K₂ + 2K₃ + K₄)
    backward   λ′ = ds′ + dy,  dsᵢ = (∂f/∂s)ᵀ dKᵢ at stage i:
               dK₄ = h/6 λ′               dK₃ = h/3 λ′ + h ds₄
               dK₂ = h/3 λ′ + ½h ds₃      dK₁ = h/6 λ′ + ½h ds₂       λ = λ′ + ds₁ + ds₂ + ds₃ + ds₄
               duᵢ = (∂f/∂u)ᵀ dKᵢ,  dparams = Σᵢ (∂f/∂params)ᵀ dKᵢ    the Jacobians by `jax.vjp`

    x (N, D) is the control during the step. With `stage_controls`, x (N, 4 D) is [u₁, u₂, u₃, u₄], a control for each
    stage: the best controls then give the best cost of the continuous problem up to O(h⁴) (Hager 2000), while controls
    that are constant during a step give it up to O(h²). Residuals: s and x; the backward pass recomputes the stages.

    Args:
        function: (params, s (N, ...), u (N, D)) -> ds/dt, with the structure, shapes and dtypes of s.
        state_shape: Shape of s without the batch axis, or a pytree of shapes.
        step: h > 0, in the unit of time of `function`.
        params: (key, (D,)) -> params, if there are trainable parameters.
        stage_controls: One control for each of the four stages.

    Raises:
        ValueError: `function` or `params` is no function, `state_shape` no shape, `step` not positive; the function
            returns another structure, shape or dtype than that of the state; 4 D controls do not divide by 4.
    """
    check_function("runge_kutta", "function", function)
    check_function("runge_kutta", "params", params)
    check_number("runge_kutta", "step", step, above=0.0)
    stage_controls = check_flag("runge_kutta", "stage_controls", stage_controls)
    state_shape = check_state_shape(state_shape, "runge_kutta")

    def slope(weights, state, control):
        moved = function(weights, state, control)
        if described(moved) != described(state):
            raise ValueError(
                f"`runge_kutta` expected the function to return ds/dt as {described(state)}, got {described(moved)}."
            )
        return moved

    def controls_of(x):
        if not stage_controls:
            return (x, x, x, x)
        if x.shape[1] % 4:
            raise ValueError(
                f"`runge_kutta(..., stage_controls=True)` expected x (N, 4 D), the controls of four stages, got "
                f"{x.shape}. Repeat a control that is constant: `jnp.tile(u, 4)`."
            )
        return jnp.split(x, 4, axis=1)

    def init(key, in_shape):
        return params(key, in_shape), state_shape

    def step_forward(weights, state, x):
        u1, u2, u3, u4 = controls_of(x)
        k1 = slope(weights, state, u1)
        k2 = slope(weights, _add(state, (step / 2, k1)), u2)
        k3 = slope(weights, _add(state, (step / 2, k2)), u3)
        k4 = slope(weights, _add(state, (step, k3)), u4)
        moved = _add(state, *((step * share, k) for share, k in zip(WEIGHTS, (k1, k2, k3, k4), strict=True)))
        return moved, moved, (state, x)

    def step_backward(weights, residuals, dstate, dy):
        state, x = residuals
        u1, u2, u3, u4 = controls_of(x)
        k1, vjp1 = jax.vjp(function, weights, state, u1)
        k2, vjp2 = jax.vjp(function, weights, _add(state, (step / 2, k1)), u2)
        k3, vjp3 = jax.vjp(function, weights, _add(state, (step / 2, k2)), u3)
        _, vjp4 = jax.vjp(function, weights, _add(state, (step, k3)), u4)

        costate = jax.tree.map(jnp.add, dstate, dy)
        sixth, third = (jax.tree.map(lambda c, share=share: step * share * c, costate) for share in WEIGHTS[:2])
        dw4, ds4, du4 = vjp4(sixth)
        dw3, ds3, du3 = vjp3(_add(third, (step, ds4)))
        dw2, ds2, du2 = vjp2(_add(third, (step / 2, ds3)))
        dw1, ds1, du1 = vjp1(_add(sixth, (step / 2, ds2)))

        dweights = jax.tree.map(lambda a, b, c, d: a + b + c + d, dw1, dw2, dw3, dw4)
        dstate = jax.tree.map(lambda c, *stages: c + sum(stages), costate, ds1, ds2, ds3, ds4)
        dx = jnp.concatenate((du1, du2, du3, du4), axis=1) if stage_controls else du1 + du2 + du3 + du4
        return dstate, (dweights, dx)

    arguments = call_text(function, state_shape, step, stage_controls=(stage_controls, False))
    return Cell("runge_kutta", state_shape, init, step_forward, step_backward, arguments=arguments)


def _add(state, *terms):
    """The state plus factor times slope, for each (factor, slope)."""
    for factor, slope in terms:
        state = jax.tree.map(lambda s, k, factor=factor: s + factor * k, state, slope)
    return state
