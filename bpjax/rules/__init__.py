"""Learning rules: how the error is propagated back."""

from bpjax.rules.backprop import autodiff, backprop
from bpjax.rules.delayed import delayed
from bpjax.rules.direct import direct_feedback, direct_random_target_projection
from bpjax.rules.eprop import eprop
from bpjax.rules.equilibrium import equilibrium_propagation, hopfield
from bpjax.rules.feedback import batch_manhattan, feedback_alignment, sign_symmetry
from bpjax.rules.forward_forward import ff_goodness, ff_predict, forward_forward, mono_forward, mono_predict
from bpjax.rules.kolen_pollack import kolen_pollack
from bpjax.rules.lagrangian import pc_alm
from bpjax.rules.local import local_losses
from bpjax.rules.perturbation import forward_gradient, node_perturbation, weight_perturbation
from bpjax.rules.predictive import predictive_coding
from bpjax.rules.predictive_graph import graph_predictive_coding
from bpjax.rules.registry import RULES
from bpjax.rules.reward_stdp import PairConstants, reward_modulated_stdp, reward_stdp_change
from bpjax.rules.rule import Rule
from bpjax.rules.slopes import borrowed_slope, noisy_slopes, with_slopes
from bpjax.rules.stdp import stdp, stdp_change
from bpjax.rules.synthetic import synthetic_gradients
from bpjax.rules.targets import difference_target_propagation
from bpjax.rules.temporal import TemporalEpoch, temporal_epoch, temporal_gradient
from bpjax.rules.transforms import fresh_keys, weight_decay, weight_noise
from bpjax.rules.triplet_stdp import TripletConstants, triplet_stdp, triplet_stdp_change
from bpjax.rules.weight_mirror import weight_mirror

__all__ = [
    "RULES",
    "PairConstants",
    "Rule",
    "TemporalEpoch",
    "TripletConstants",
    "autodiff",
    "backprop",
    "batch_manhattan",
    "borrowed_slope",
    "delayed",
    "difference_target_propagation",
    "direct_feedback",
    "direct_random_target_projection",
    "eprop",
    "equilibrium_propagation",
    "feedback_alignment",
    "ff_goodness",
    "ff_predict",
    "forward_forward",
    "forward_gradient",
    "fresh_keys",
    "graph_predictive_coding",
    "hopfield",
    "kolen_pollack",
    "local_losses",
    "mono_forward",
    "mono_predict",
    "node_perturbation",
    "noisy_slopes",
    "pc_alm",
    "predictive_coding",
    "reward_modulated_stdp",
    "reward_stdp_change",
    "sign_symmetry",
    "stdp",
    "stdp_change",
    "synthetic_gradients",
    "temporal_epoch",
    "temporal_gradient",
    "triplet_stdp",
    "triplet_stdp_change",
    "weight_decay",
    "weight_mirror",
    "weight_noise",
    "weight_perturbation",
    "with_slopes",
]
