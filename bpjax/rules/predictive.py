"""Predictive coding: every layer of units predicts the next one and learns from its own prediction error."""

from typing import Literal, get_args

import jax
import jax.numpy as jnp

from bpjax.layers.layer import Layer
from bpjax.losses import Loss
from bpjax.rules.rule import Rule, call_of, check_made_of
from bpjax.rules.units import check_units, merge_units, propagate, propagate_each, unit_backward, units
from bpjax.types import Array
from bpjax.util.checks import check_choice, check_count, check_number

Inference = Literal["strict", "fixed_prediction", "zero_divergence"]


def predictive_coding(
    network: Layer,
    loss: Loss,
    kind: Inference = "strict",
    steps: int | None = None,
    rate: float | Array | None = None,
    output_variance: float | Array = 1.0,
) -> Rule:
    """Inference relaxes the values, then every layer learns to predict the next value (Whittington & Bogacz 2017).

    A layer of units (a layer with parameters and the activations after it) is a map f_l. It has a value v_l in the
    shape of its output, which may differ from the prediction f_l(v_{l-1}); v_0 is the input.

        prediction error   e_l = v_l − f_l(v_{l-1})  of hidden layers l = 1 … L−1,      e_L = −(∂E/∂o) / Σ_L
        energy             F = ½ Σ_l ‖e_l‖² + E(f_L(v_{L-1}), t) / Σ_L
        inference          v_l ← v_l − γ ∂F/∂v_l = v_l + γ (−e_l + J_{l+1}ᵀ e_{l+1}),   all layers at once
        update             ΔW_l ∝ −∂F/∂W_l = (∂f_l/∂W_l)ᵀ e_l

    Prediction errors travel back between neighbouring layers, through J_lᵀ = (∂f_l/∂v_{l-1})ᵀ of each layer's
    `backward`; any chain of layers works. Every layer learns only from the error at its own value. For the squared
    error the output is a value clamped to the target with variance Σ_L, as in the paper; for other losses that term of
    F is the loss. Values start at the forward pass. The direction is Σ_L ∂F/∂W, in units of the loss for every Σ_L.

        strict            Relax F for `steps` of inference at `rate` γ. Differs from the gradient by a fraction of order
                          1/Σ_L, because the errors that move the values shrink with Σ_L.
        fixed_prediction  Predictions and J_l stay those of the forward pass (Millidge, Tschantz & Buckley 2020).
                          Converges to the gradient; equals it after L steps at rate 1. Σ_L cancels.
        zero_divergence   Strict at γ = 1, and layer l learns at step t = L − l, when the error first reaches it (Song,
                          Lukasiewicz, Xu & Bogacz 2020): the gradient, to rounding. Σ_L cancels.

    Deviation: values represent the outputs of units, as in Millidge et al. and Rosenbaum 2022; in Whittington & Bogacz
    they represent the net inputs.

    Args:
        network: a chain of layers.
        loss: the loss of its output; the rule's value is that of the forward pass, before inference.
        kind: "strict", "fixed_prediction" or "zero_divergence".
        steps: of inference, 20 unless given; zero-divergence inference takes as many as there are layers.
        rate: step size γ of inference, 0.1 unless given; 1 for zero-divergence inference.
        output_variance: Σ_L. A loss that is a mean over N examples has the effect of a Σ_L that is N times larger.

    Raises:
        ValueError: `network` is not a Layer or `loss` not a Loss; `kind` is none of the three; `steps` is not an
            integer above 0, `rate` or `output_variance` is not above 0, or steps or rate are given for zero-divergence
            inference; in `init`, the network has no parameters or the params belong to another network.
    """
    who = "predictive_coding"
    check_made_of(who, network, loss)
    check_choice(who, "kind", kind, get_args(Inference))
    if kind == "zero_divergence" and not (steps is None and rate is None):
        raise ValueError(
            f"`{who}` expected no `steps` and no `rate` for zero-divergence inference, got {steps!r} and {rate!r}: "
            "it takes as many steps as there are layers, at rate 1. Omit them, or pass kind='strict'."
        )
    steps, rate = 20 if steps is None else steps, 0.1 if rate is None else rate
    check_count(who, "steps", steps)
    check_number(who, "rate", rate, above=0.0)
    check_number(who, "output_variance", output_variance, above=0.0)

    def init(key, params):
        check_units(who, network, params)
        return ()

    def grads(params, rule_state, batch):
        x, target = batch
        layers = units(network, params)
        forward = propagate(layers, x)
        output, values = forward[-1].output, [x, *(p.output for p in forward[:-1])]
        dparams = direction[kind](layers, values, target)
        return loss.value(output, target), merge_units(params, dparams), rule_state

    def errors_at(layers, values, target):
        """−e_l = ∂F/∂f_l and the forward pass of every layer; `values` are v_0 … v_{L-1}."""
        forward = propagate_each(layers, values)
        top = loss.gradient(forward[-1].output, target)
        hidden = [p.output - v for p, v in zip(forward[:-1], values[1:], strict=True)]
        return [*hidden, top / jnp.asarray(output_variance, top.dtype)], forward

    def value_gradients(layers, forward, errors):
        """∂F/∂v_l = e_l − J_{l+1}ᵀ e_{l+1} of every hidden layer."""
        from_next = [unit_backward(*layer).input for layer in zip(layers[1:], forward[1:], errors[1:], strict=True)]
        return [dx - e for dx, e in zip(from_next, errors[:-1], strict=True)]

    def param_gradients(layers, forward, errors):
        """Σ_L ∂F/∂W_l of every layer."""
        errors = [e * jnp.asarray(output_variance, e.dtype) for e in errors]
        return [unit_backward(*layer).params for layer in zip(layers, forward, errors, strict=True)]

    def strict(layers, values, target):
        x, *hidden = values

        def relax(_, hidden):
            errors, forward = errors_at(layers, [x, *hidden], target)
            return descend(hidden, value_gradients(layers, forward, errors), rate)

        hidden = jax.lax.fori_loop(0, steps, relax, hidden)
        errors, forward = errors_at(layers, [x, *hidden], target)
        return param_gradients(layers, forward, errors)

    def fixed_prediction(layers, values, target):
        (*_, top), forward = errors_at(layers, values, target)

        def relax(_, hidden):  # f_l is constant, so a step of v_l is a step of the error
            return descend(hidden, [-s for s in value_gradients(layers, forward, [*hidden, top])], rate)

        hidden = jax.lax.fori_loop(0, steps, relax, [jnp.zeros_like(v) for v in values[1:]])
        return param_gradients(layers, forward, [*hidden, top])

    def zero_divergence(layers, values, target):
        dparams = []
        for layer in reversed(range(len(layers))):  # the values of earlier layers have not moved yet
            errors, forward = errors_at(layers, values, target)
            dparams += param_gradients(*(of_all[layer : layer + 1] for of_all in (layers, forward, errors)))
            values = [values[0], *descend(values[1:], value_gradients(layers, forward, errors), 1.0)]
        return dparams[::-1]

    direction = {"strict": strict, "fixed_prediction": fixed_prediction, "zero_divergence": zero_divergence}
    name, call = f"predictive coding, {kind.replace('_', ' ')}", call_of("predictive_coding", network, loss, kind)
    return Rule(name, init, grads, network, loss, call)


def descend(values, gradients, rate):
    """One step of gradient descent, each value in its dtype."""
    return [v - jnp.asarray(rate, v.dtype) * g for v, g in zip(values, gradients, strict=True)]
