"""Every learning rule, ready to be run: one row adds a new one to all laws, to the ledger and to the experiment."""

from collections.abc import Callable
from typing import NamedTuple

from bpjax.layers.activations import tanh
from bpjax.layers.combinators import chain
from bpjax.layers.dense import dense
from bpjax.layers.embedding import unit_normal
from bpjax.layers.layer import Layer
from bpjax.layers.recurrent import unroll
from bpjax.layers.spiking import leaky_integrate_and_fire
from bpjax.losses import Loss, softmax_cross_entropy, squared_error
from bpjax.rules.backprop import autodiff, backprop
from bpjax.rules.delayed import delayed
from bpjax.rules.direct import direct_feedback, direct_random_target_projection
from bpjax.rules.equilibrium import equilibrium_propagation, hopfield
from bpjax.rules.feedback import batch_manhattan, feedback_alignment, sign_symmetry
from bpjax.rules.forward_forward import forward_forward, mono_forward, unit_length
from bpjax.rules.kolen_pollack import kolen_pollack
from bpjax.rules.local import local_losses
from bpjax.rules.perturbation import forward_gradient, node_perturbation, weight_perturbation
from bpjax.rules.predictive import predictive_coding
from bpjax.rules.slopes import noisy_slopes
from bpjax.rules.stdp import stdp
from bpjax.rules.synthetic import synthetic_gradients
from bpjax.rules.targets import difference_target_propagation
from bpjax.rules.weight_mirror import weight_mirror
from bpjax.types import Shape


class RuleCase(NamedTuple):
    """A rule, as a function of the network and the loss it serves."""

    make: Callable
    """(network, loss) -> Rule, or (network, loss, number) -> Rule where there is a `number`."""
    exact: bool = False
    """Whether its direction is the gradient, to rounding."""
    number: float | None = None
    """A value of the hyperparameter a user would sweep first; `make` takes it as third argument, traced too."""
    network: Layer = chain(dense(4), tanh, dense(2))
    """A small one that suits the rule, for the laws."""
    in_shape: Shape = (3,)
    """Of the network, without the batch axis."""
    loss: Loss = squared_error
    """One that suits the rule; the laws hand it one-hot targets of the output's shape."""


RULES: dict[str, RuleCase] = {
    "backprop": RuleCase(backprop, exact=True),
    "autodiff": RuleCase(autodiff, exact=True),
    # other feedback weights
    "feedback alignment": RuleCase(feedback_alignment, number=1.0),
    "sign symmetry, uSF": RuleCase(lambda n, l, scale=0.3: sign_symmetry(n, l, "uSF", scale), number=0.3),
    "sign symmetry, brSF": RuleCase(lambda n, l: sign_symmetry(n, l, "brSF")),
    "sign symmetry, frSF": RuleCase(lambda n, l: sign_symmetry(n, l, "frSF")),
    "Kolen-Pollack": RuleCase(kolen_pollack, number=0.9),
    "weight mirror": RuleCase(weight_mirror, number=0.05),
    "direct feedback": RuleCase(direct_feedback, number=1.0),
    "direct random target projection": RuleCase(direct_random_target_projection, number=1.0),
    # other derivatives, other directions
    "noisy slopes": RuleCase(lambda n, l, deviation=0.1: noisy_slopes(backprop, n, l, deviation), number=0.1),
    "batch Manhattan": RuleCase(lambda n, l: batch_manhattan(backprop(n, l))),
    # energies, delays, decoupling
    "predictive coding, strict": RuleCase(lambda n, l, rate=0.1: predictive_coding(n, l, rate=rate), number=0.1),
    "predictive coding, fixed prediction": RuleCase(
        lambda n, l, rate=0.1: predictive_coding(n, l, "fixed_prediction", rate=rate), number=0.1
    ),
    "predictive coding, zero divergence": RuleCase(lambda n, l: predictive_coding(n, l, "zero_divergence"), exact=True),
    "equilibrium propagation": RuleCase(
        equilibrium_propagation, number=0.1, network=hopfield(chain(dense(4), tanh, dense(2)))
    ),
    "delayed": RuleCase(lambda n, l: delayed(backprop(n, l), (2, 0))),
    "synthetic gradients": RuleCase(synthetic_gradients, number=0.1),
    "spike-timing-dependent plasticity": RuleCase(
        stdp, number=0.01, network=unroll(leaky_integrate_and_fire(2, weights=unit_normal)), in_shape=(12, 3)
    ),
    # one number for all, or a teacher for each layer
    "weight perturbation": RuleCase(weight_perturbation, number=0.01),
    "symmetric weight perturbation": RuleCase(
        lambda n, l, deviation=0.01: weight_perturbation(n, l, deviation, symmetric=True), number=0.01
    ),
    "node perturbation": RuleCase(node_perturbation, number=0.01),
    "forward gradient": RuleCase(forward_gradient),
    "local losses": RuleCase(local_losses, number=0.1),
    "mono-forward": RuleCase(mono_forward, number=0.1, loss=softmax_cross_entropy),
    "forward-forward": RuleCase(
        forward_forward,
        number=2.0,
        network=chain(dense(4), tanh, unit_length, dense(4), tanh, unit_length, dense(2)),
        loss=softmax_cross_entropy,
    ),
    "difference target propagation": RuleCase(
        difference_target_propagation, number=0.3, network=chain(dense(4), tanh, dense(3), tanh, dense(2))
    ),
}
