"""Predictive coding: every layer of units predicts the next one, and learns from its own prediction error alone."""

from typing import Literal, get_args

import jax
import jax.numpy as jnp

from bpjax.layers.layer import Layer
from bpjax.losses import Loss
from bpjax.rules.rule import Rule, check_made_of
from bpjax.rules.units import check_units, merge_units, propagate, unit_backward, units
from bpjax.types import Array
from bpjax.util.checks import check_choice, check_count, check_number

Kind = Literal["strict", "fixed_prediction", "zero_divergence"]


def predictive_coding(
    network: Layer,
    loss: Loss,
    kind: Kind = "strict",
    steps: int | None = None,
    rate: float | Array | None = None,
    output_variance: float | Array = 1.0,
) -> Rule:
    """Inference relaxes the values, then every layer learns to predict the value above it (Whittington & Bogacz 2017).

    A layer of units, a layer with parameters and the activations that follow it, is a map f_l. It has a value v_l of
    its output's shape, free to move away from the prediction f_l(v_{l-1}); v_0 is the input.

        prediction error   e_l = v_l − f_l(v_{l-1})  of hidden layers l = 1 … L−1,      e_L = −(∂E/∂o) / Σ_L
        energy             F = ½ Σ_l ‖e_l‖² + E(f_L(v_{L-1}), t) / Σ_L
        inference          v_l ← v_l − γ ∂F/∂v_l = v_l + γ (−e_l + J_{l+1}ᵀ e_{l+1}),   all layers at once
        change             ΔW_l ∝ −∂F/∂W_l = (∂f_l/∂W_l)ᵀ e_l

    What travels back between neighbours are prediction errors, through J_lᵀ = (∂f_l/∂v_{l-1})ᵀ of each layer's own
    `backward`; any chain of layers will do. No layer learns from anything but the error at its own value. For the
    squared error the output is a value clamped to the target with variance Σ_L, as in the paper; for another loss that
    term of F is the loss. Values start as the forward pass leaves them. The direction is Σ_L ∂F/∂W: in units of the
    loss, whatever Σ_L is.

        strict            Relax F for `steps` of inference at `rate` γ. Differs from the gradient by a share of order
                          1/Σ_L, for the errors that move the values away shrink with Σ_L.
        fixed_prediction  Predictions and J_l stay as the forward pass left them (Millidge, Tschantz & Buckley 2020).
                          Settles at the gradient; is there, exactly, after L steps at rate 1. Σ_L cancels.
        zero_divergence   Strict at γ = 1, and layer l learns at step t = L − l, when the error first reaches it (Song,
                          Lukasiewicz, Xu & Bogacz 2020): the gradient, to rounding. Σ_L cancels.

    Deviation: values stand for the outputs of units, as in Millidge et al. and Rosenbaum 2022; Whittington & Bogacz let
    them stand for the net inputs.

    Args:
        network: a chain of layers.
        loss: its value is that of the forward pass, before inference.
        kind: which of the three.
        steps: of inference, 20 unless given; zero-divergence inference takes as many as there are layers.
        rate: of inference, γ, 0.1 unless given; of zero-divergence inference 1.
        output_variance: Σ_L, how loosely the output is held to the target. A loss that is a mean over N examples pulls
            at each of them N times more weakly, as a Σ_L N times larger would.

    Raises:
        ValueError: `network` is not a Layer or `loss` not a Loss; `kind` is another word; `steps` is not a whole
            number above 0, `rate` or `output_variance` not above 0, or steps or rate are given to zero-divergence
            inference; in `init`, the network has no parameters or they are another one's.
    """
    who = "predictive_coding"
    check_made_of(who, network, loss)
    check_choice(who, "kind", kind, get_args(Kind))
    if kind == "zero_divergence" and not (steps is None and rate is None):
        raise ValueError(
            f"`{who}` expected no `steps` and no `rate` for zero-divergence inference, got {steps!r} and {rate!r}: "
            "it takes as many steps as there are layers, at rate 1. Leave them out, or choose kind='strict'."
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
        passed = propagate(layers, x)
        output, values = passed[-1].output, [x, *(p.output for p in passed[:-1])]
        dparams = direction[kind](layers, values, target)
        return loss.value(output, target), merge_units(params, dparams), rule_state

    def errors_at(layers, values, target):
        """−e_l = ∂F/∂f_l of every layer, with what its backward pass needs; values are v_0 … v_{L-1}."""
        passed = [propagate([unit], v)[0] for unit, v in zip(layers, values, strict=True)]
        top = loss.gradient(passed[-1].output, target)
        hidden = [p.output - v for p, v in zip(passed[:-1], values[1:], strict=True)]
        return [*hidden, top / jnp.asarray(output_variance, top.dtype)], passed

    def slopes(layers, passed, errors):
        """∂F/∂v_l = e_l − J_{l+1}ᵀ e_{l+1} of every hidden layer."""
        below = [unit_backward(*layer).input for layer in zip(layers[1:], passed[1:], errors[1:], strict=True)]
        return [dx - e for dx, e in zip(below, errors[:-1], strict=True)]

    def changes(layers, passed, errors):
        """Σ_L ∂F/∂W_l of every layer."""
        errors = [e * jnp.asarray(output_variance, e.dtype) for e in errors]
        return [unit_backward(*layer).params for layer in zip(layers, passed, errors, strict=True)]

    def strict(layers, values, target):
        x, *hidden = values

        def relax(_, hidden):
            errors, passed = errors_at(layers, [x, *hidden], target)
            return descend(hidden, slopes(layers, passed, errors), rate)

        hidden = jax.lax.fori_loop(0, steps, relax, hidden)
        errors, passed = errors_at(layers, [x, *hidden], target)
        return changes(layers, passed, errors)

    def fixed_prediction(layers, values, target):
        (*_, top), passed = errors_at(layers, values, target)

        def relax(_, hidden):  # f_l is constant, so that a step of v_l is one of the error itself
            return descend(hidden, [-s for s in slopes(layers, passed, [*hidden, top])], rate)

        hidden = jax.lax.fori_loop(0, steps, relax, [jnp.zeros_like(v) for v in values[1:]])
        return changes(layers, passed, [*hidden, top])

    def zero_divergence(layers, values, target):
        found = []
        for layer in reversed(range(len(layers))):  # below it no value has moved yet
            errors, passed = errors_at(layers, values, target)
            found += changes(*(of_all[layer : layer + 1] for of_all in (layers, passed, errors)))
            values = [values[0], *descend(values[1:], slopes(layers, passed, errors), 1.0)]
        return found[::-1]

    direction = {"strict": strict, "fixed_prediction": fixed_prediction, "zero_divergence": zero_divergence}
    return Rule(f"predictive coding, {kind.replace('_', ' ')}", init, grads, network, loss)


def descend(values, slopes, rate):
    """One step down the slopes, every value in its own dtype."""
    return [v - jnp.asarray(rate, v.dtype) * s for v, s in zip(values, slopes, strict=True)]
