"""A table of all learning rules: one row adds a rule to all laws, to the ledger and to the experiment."""

import itertools
from collections.abc import Callable
from typing import NamedTuple

from bpjax.layers.activations import tanh
from bpjax.layers.combinators.chain import chain
from bpjax.layers.dense import dense
from bpjax.layers.embedding import unit_normal
from bpjax.layers.layer import Layer
from bpjax.layers.normalization.unit_length import unit_length
from bpjax.layers.recurrent.recurrent import unroll
from bpjax.layers.spiking.integrator import leaky_integrator
from bpjax.layers.spiking.neuron import leaky_integrate_and_fire
from bpjax.layers.spiking.steps import Adaptation
from bpjax.layers.spiking.surrogates import spike
from bpjax.losses import Loss, softmax_cross_entropy, squared_error
from bpjax.rules.backprop import autodiff, backprop
from bpjax.rules.delayed import delayed
from bpjax.rules.direct import direct_feedback, direct_random_target_projection
from bpjax.rules.eprop import eprop
from bpjax.rules.equilibrium import equilibrium_propagation, hopfield
from bpjax.rules.feedback import batch_manhattan, feedback_alignment, sign_symmetry
from bpjax.rules.forward_forward import forward_forward, mono_forward
from bpjax.rules.kolen_pollack import kolen_pollack
from bpjax.rules.lagrangian import pc_alm
from bpjax.rules.local import local_losses
from bpjax.rules.perturbation import forward_gradient, node_perturbation, weight_perturbation
from bpjax.rules.predictive import predictive_coding
from bpjax.rules.predictive_graph import graph_predictive_coding
from bpjax.rules.reward_stdp import PairConstants, reward_modulated_stdp
from bpjax.rules.rule import Rule
from bpjax.rules.slopes import is_activation, noisy_slopes
from bpjax.rules.stdp import stdp
from bpjax.rules.synthetic import synthetic_gradients
from bpjax.rules.targets import difference_target_propagation
from bpjax.rules.triplet_stdp import TripletConstants, triplet_stdp
from bpjax.rules.weight_mirror import weight_mirror
from bpjax.types import Shape

WEIGHTS = "symmetric weights"
SLOPES = "exact derivatives"
TEACHER = "a teacher at every synapse"
STEPS = "synchronized steps"
ENERGIES = "a phase for feedback"
SPIKES = "spikes and timing"


SPIKING = unroll(leaky_integrate_and_fire(2, weights=unit_normal))
"""A layer of spiking units, for the laws."""

RECURRENT_SPIKES = chain(
    unroll(
        leaky_integrate_and_fire(
            3, fire=spike(1.0), weights=unit_normal, adaptation=Adaptation(0.5, 20.0), recurrent="lecun_normal"
        )
    ),
    unroll(leaky_integrator(2)),
)
"""Spiking units with adaptive thresholds and recurrent weights, and a readout, for the laws."""


class RuleCase(NamedTuple):
    """A rule, as a function of network and loss, and what the tests need to run it."""

    make: Callable[..., Rule]
    """(network, loss) -> Rule, or (network, loss, hyperparameter) -> Rule for a row with a `hyperparameter`."""
    exact: bool = False
    """Whether its direction is the gradient, to rounding."""
    hyperparameter: float | None = None
    """A value of the hyperparameter a user would sweep first; `make` takes it as third argument, also traced."""
    network: Layer = chain(dense(4), tanh, dense(2))
    """A small network that the rule can train, for the laws."""
    in_shape: Shape = (3,)
    """Of the network, without the batch axis."""
    loss: Loss = squared_error
    """A loss that the rule supports; the laws pass one-hot targets of the output's shape."""
    adapt: Callable[[Layer], Layer] = lambda network: network
    """A chain -> a network with the same weights that the rule can train."""
    answers: str = ""
    """Which objection of the encyclopedia article on backpropagation it answers; "" for backpropagation itself."""


def with_unit_lengths(network: Layer) -> Layer:
    """The chain with a `unit_length` at the end of every hidden layer of units, for `forward_forward`."""
    *hidden, last = network.layers
    members = [(layer, unit_length) if is_activation(layer) else (layer,) for layer in hidden]
    return chain(*itertools.chain(*members), last)


RULES: dict[str, RuleCase] = {
    "backprop": RuleCase(backprop, exact=True),
    "autodiff": RuleCase(autodiff, exact=True),
    # weights that errors travel back through
    "feedback alignment": RuleCase(feedback_alignment, hyperparameter=1.0, answers=WEIGHTS),
    "sign symmetry, uSF": RuleCase(
        lambda n, l, scale=0.3: sign_symmetry(n, l, "uSF", scale), hyperparameter=0.3, answers=WEIGHTS
    ),
    "sign symmetry, brSF": RuleCase(lambda n, l: sign_symmetry(n, l, "brSF"), answers=WEIGHTS),
    "sign symmetry, frSF": RuleCase(lambda n, l: sign_symmetry(n, l, "frSF"), answers=WEIGHTS),
    "batch Manhattan": RuleCase(lambda n, l: batch_manhattan(backprop(n, l)), answers=WEIGHTS),
    "Kolen-Pollack": RuleCase(kolen_pollack, hyperparameter=0.9, answers=WEIGHTS),
    "weight mirror": RuleCase(weight_mirror, hyperparameter=0.05, answers=WEIGHTS),
    "direct feedback": RuleCase(direct_feedback, hyperparameter=1.0, answers=WEIGHTS),
    # derivatives
    "noisy slopes": RuleCase(
        lambda n, l, deviation=0.1: noisy_slopes(backprop, n, l, deviation), hyperparameter=0.1, answers=SLOPES
    ),
    # a target for each layer, or one scalar for all
    "direct random target projection": RuleCase(direct_random_target_projection, hyperparameter=1.0, answers=TEACHER),
    "difference target propagation": RuleCase(
        difference_target_propagation,
        hyperparameter=0.3,
        network=chain(dense(4), tanh, dense(3), tanh, dense(2)),
        answers=TEACHER,
    ),
    "local losses": RuleCase(local_losses, hyperparameter=0.1, answers=TEACHER),
    "mono-forward": RuleCase(mono_forward, hyperparameter=0.1, loss=softmax_cross_entropy, answers=TEACHER),
    "forward-forward": RuleCase(
        forward_forward,
        hyperparameter=2.0,
        network=chain(dense(4), tanh, unit_length, dense(4), tanh, unit_length, dense(2)),
        loss=softmax_cross_entropy,
        adapt=with_unit_lengths,
        answers=TEACHER,
    ),
    "node perturbation": RuleCase(node_perturbation, hyperparameter=0.01, answers=TEACHER),
    "weight perturbation": RuleCase(weight_perturbation, hyperparameter=0.01, answers=TEACHER),
    "symmetric weight perturbation": RuleCase(
        lambda n, l, deviation=0.01: weight_perturbation(n, l, deviation, symmetric=True),
        hyperparameter=0.01,
        answers=TEACHER,
    ),
    "forward gradient": RuleCase(forward_gradient, answers=TEACHER),
    # error signals of other steps
    "delayed": RuleCase(lambda n, l: delayed(backprop(n, l), 2), answers=STEPS),
    "synthetic gradients": RuleCase(synthetic_gradients, hyperparameter=0.1, answers=STEPS),
    # energies
    "predictive coding, strict": RuleCase(
        lambda n, l, rate=0.1: predictive_coding(n, l, rate=rate), hyperparameter=0.1, answers=ENERGIES
    ),
    "predictive coding, fixed prediction": RuleCase(
        lambda n, l, rate=0.1: predictive_coding(n, l, "fixed_prediction", rate=rate),
        hyperparameter=0.1,
        answers=ENERGIES,
    ),
    "predictive coding, zero divergence": RuleCase(
        lambda n, l: predictive_coding(n, l, "zero_divergence"), exact=True, answers=ENERGIES
    ),
    "predictive coding with multipliers": RuleCase(
        lambda n, l, rate=0.2: pc_alm(n, l, rate=rate), hyperparameter=0.2, answers=ENERGIES
    ),
    "predictive coding on a graph": RuleCase(
        lambda n, l, rate=0.1: graph_predictive_coding(n, l, rate=rate), hyperparameter=0.1, answers=ENERGIES
    ),
    "equilibrium propagation": RuleCase(
        lambda n, l, beta=0.1: equilibrium_propagation(n, l, beta, steps=20),
        hyperparameter=0.1,
        network=hopfield(chain(dense(4), tanh, dense(2)), steps=20),
        adapt=lambda network: hopfield(network, steps=20),
        answers=ENERGIES,
    ),
    # spikes
    "spike-timing-dependent plasticity": RuleCase(
        stdp,
        hyperparameter=0.01,
        network=SPIKING,
        in_shape=(12, 3),
        answers=SPIKES,
    ),
    "e-prop, symmetric feedback": RuleCase(eprop, network=RECURRENT_SPIKES, in_shape=(12, 3), answers=SPIKES),
    "e-prop, random feedback": RuleCase(
        lambda n, l, scale=1.0: eprop(n, l, "random", scale),
        hyperparameter=1.0,
        network=RECURRENT_SPIKES,
        in_shape=(12, 3),
        answers=SPIKES,
    ),
    "e-prop, adaptive feedback": RuleCase(
        lambda n, l, decay=0.9: eprop(n, l, "adaptive", decay=decay),
        hyperparameter=0.9,
        network=RECURRENT_SPIKES,
        in_shape=(12, 3),
        answers=SPIKES,
    ),
    "triplet plasticity": RuleCase(
        lambda n, l, amplitude=0.0062: triplet_stdp(n, l, TripletConstants(triplet_potentiation=amplitude)),
        hyperparameter=0.0062,
        network=SPIKING,
        in_shape=(12, 3),
        answers=SPIKES,
    ),
    "reward-modulated plasticity": RuleCase(
        lambda n, l, amplitude=0.01: reward_modulated_stdp(n, l, PairConstants(amplitude)),
        hyperparameter=0.01,
        network=unroll(leaky_integrate_and_fire(2, threshold=0.3, weights=unit_normal)),  # the output spikes
        in_shape=(12, 3),
        answers=SPIKES,
    ),
}
"""All rules by name: a row adds a rule to the laws, the ledger, the experiment and the pages of the site."""
