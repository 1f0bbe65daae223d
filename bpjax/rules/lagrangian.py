"""Predictive coding with a Lagrange multiplier for every layer: at equilibrium it is backpropagation."""

import jax
import jax.numpy as jnp

from bpjax.layers.layer import Layer
from bpjax.losses import Loss
from bpjax.rules.predictive import descend
from bpjax.rules.rule import Rule, call_of, check_made_of
from bpjax.rules.units import check_units, merge_units, propagate, propagate_each, unit_backward, units
from bpjax.types import Array
from bpjax.util.checks import check_count, check_number


def pc_alm(
    network: Layer,
    loss: Loss,
    steps: int = 20,
    rate: float | Array = 0.2,
    penalty: float | Array = 1.0,
    multiplier_rate: float | Array = 0.3,
) -> Rule:
    """Values descend and multipliers ascend the augmented Lagrangian of the layers as constraints (PC-ALM).

    Every hidden layer of units f_l has a value v_l in the shape of its output and a multiplier λ_l of that shape, which
    start at the forward pass and at 0; v_0 is the input.

        prediction error   e_l = v_l − f_l(v_{l−1})                    of the hidden layers l = 1 … L−1
        Lagrangian         ℒ = E(f_L(v_{L−1}), t) + Σ_l ⟨λ_l, e_l⟩ + ½ ρ Σ_l ‖e_l‖²
        errors             p_l = λ_l + ρ e_l,    p_L = −∂E/∂o
        inference          v_l ← v_l − γ ∂ℒ/∂v_l = v_l − γ (p_l − J_{l+1}ᵀ p_{l+1}),    then λ_l ← λ_l + α e_l
        update             ΔW_l ∝ −∂ℒ/∂W_l = (∂f_l/∂W_l)ᵀ p_l

    At a saddle point ∂ℒ/∂λ_l = e_l = 0: the values are those of the forward pass. ∂ℒ/∂v_l = 0 then reads
    λ_l = J_{l+1}ᵀ λ_{l+1} with λ_{L−1} = −J_Lᵀ ∂E/∂o: −λ_l is the error ∂E/∂v_l of backpropagation, whatever the
    network, the loss and ρ, and the direction is the gradient. Without multipliers (α = 0, ρ = 1) it is strict
    predictive coding. As there, all signals travel between neighbouring layers.

    Every step costs two forward passes and a backward pass. The values converge for γ ρ ‖I − J‖² < 2, J being the
    Jacobian of all layers at the values.

    Source: the method of multipliers (Hestenes 1969; Powell 1969) applied to predictive coding, as in PC-ALM,
    arXiv:2605.31022 (2026). That paper was not read: the equations here are derived from the Lagrangian above, with one
    step of the values for one of the multipliers, as Arrow, Hurwicz & Uzawa 1958.

    Args:
        network: a chain of layers.
        loss: the loss of its output; the rule's value is that of the forward pass, before inference.
        steps: of inference.
        rate: γ, the step size of the values.
        penalty: ρ.
        multiplier_rate: α, the step size of the multipliers.

    Raises:
        ValueError: `network` is not a Layer or `loss` not a Loss; `steps` is not an integer above 0, `rate` or
            `penalty` is not above 0, or `multiplier_rate` is negative; in `init`, the network has no parameters or the
            params belong to another network.
    """
    who = "pc_alm"
    check_made_of(who, network, loss)
    check_count(who, "steps", steps)
    check_number(who, "rate", rate, above=0.0)
    check_number(who, "penalty", penalty, above=0.0)
    check_number(who, "multiplier_rate", multiplier_rate, least=0.0)

    def init(key, params):
        check_units(who, network, params)
        return ()

    def grads(params, rule_state, batch):
        x, target = batch
        layers = units(network, params)
        forward = propagate(layers, x)

        def inference(_, at):
            values, multipliers = at
            passes, errors = errors_at(layers, [x, *values], multipliers, target)
            back = [unit_backward(*own).input for own in zip(layers[1:], passes[1:], errors[1:], strict=True)]
            values = descend(values, [dx - e for dx, e in zip(back, errors[:-1], strict=True)], rate)
            return values, ascend(layers, x, values, multipliers)

        values = [at.output for at in forward[:-1]]
        start = values, [jnp.zeros_like(v) for v in values]
        values, multipliers = jax.lax.fori_loop(0, steps, inference, start)
        passes, errors = errors_at(layers, [x, *values], multipliers, target)
        dparams = [unit_backward(*own).params for own in zip(layers, passes, errors, strict=True)]
        return loss.value(forward[-1].output, target), merge_units(params, dparams), rule_state

    def errors_at(layers, values, multipliers, target):
        """The forward pass of every layer at its value, and −p_l = ∂ℒ/∂f_l."""
        passes = propagate_each(layers, values)
        hidden = zip(passes[:-1], values[1:], multipliers, strict=True)
        errors = [jnp.asarray(penalty, v.dtype) * (at.output - v) - own for at, v, own in hidden]
        return passes, [*errors, loss.gradient(passes[-1].output, target)]

    def ascend(layers, x, values, multipliers):
        """λ_l + α e_l at the new values."""
        outputs = [at.output for at in propagate_each(layers[:-1], [x, *values[:-1]])]
        rows = zip(multipliers, values, outputs, strict=True)
        return [own + jnp.asarray(multiplier_rate, v.dtype) * (v - f) for own, v, f in rows]

    return Rule("predictive coding with multipliers", init, grads, network, loss, call_of("pc_alm", network, loss))
