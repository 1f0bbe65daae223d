"""Backpropagation written out by hand, held against `jax.grad`, and fast enough to study by the million."""

# ruff: noqa: F401, I001  (the public names, in the order data flows)
from bpjax.types import Array, Batch, Key, Params, Shape
from bpjax.util.precision import cast

__version__ = "0.1.0"

# 1. present an example
from bpjax.tasks.task import Task
from bpjax.tasks.registry import TASKS, task
from bpjax.tasks.boolean import binary_addition, multiplexer, negation, parity, symmetry, truth_table, xor
from bpjax.tasks.encoders import encoder
from bpjax.tasks.digits import digits
from bpjax.tasks.two_spirals import two_spirals
from bpjax.tasks.spike_patterns import spike_patterns

# 2. propagate it forward
from bpjax.layers.layer import Layer, map_layers
from bpjax.layers.activations import (
    elementwise,
    elu,
    gelu,
    gelu_tanh,
    identity,
    leaky_relu,
    relu,
    scaled_sigmoid,
    sigmoid,
    silu,
    softmax,
    softplus,
    tanh,
)
from bpjax.layers.dense import Affine, dense
from bpjax.layers.sparse import SparseAffine, sparse
from bpjax.layers.edges import Edges, banded_edges, edges_from_mask, random_edges
from bpjax.layers.convolution.conv import conv, conv_transpose
from bpjax.layers.convolution.pooling import average_pool, global_average_pool, global_max_pool, max_pool
from bpjax.layers.recurrent.recurrent import Cell, bidirectional, unroll
from bpjax.layers.recurrent.cells import elman, gru, jordan, lstm
from bpjax.layers.recurrent.stage import dynamics, stage
from bpjax.layers.recurrent.spiking import heaviside, leaky_integrate_and_fire, leaky_integrator, spike, superspike
from bpjax.layers.recurrent.fir import fir
from bpjax.layers.embedding import Embedding, embedding
from bpjax.layers.attention.positions import learned_positions, sinusoidal_positions
from bpjax.layers.attention.attention import attention, cross_attention, plain_attention
from bpjax.layers.attention.masked import masked
from bpjax.layers.normalization.layer import Gains, group_norm, layer_norm, rms_norm
from bpjax.layers.normalization.batch import (
    BatchStatistics,
    batch_norm,
    batch_statistics,
    init_statistics,
    running_statistics,
    with_statistics,
)
from bpjax.layers.normalization.weight import WeightNormed, weight_norm
from bpjax.layers.normalization.unit_length import unit_length
from bpjax.layers.combinators.chain import chain, freeze, parallel, residual, shortcut
from bpjax.layers.combinators.over_positions import over_positions
from bpjax.layers.combinators.repeat import repeat, unstack
from bpjax.layers.combinators.remat import remat
from bpjax.layers.combinators.tie import tie
from bpjax.layers.dropout import dropout, keyed, without_dropout
from bpjax.layers.shapes import flatten, last_position, reshape
from bpjax.layers.backward_transforms import flat_spot, scaled_error, without_derivative
from bpjax.layers.initializers import (
    initializer,
    delta_orthogonal,
    glorot_normal,
    glorot_uniform,
    he_normal,
    he_uniform,
    lecun_normal,
    lecun_uniform,
    orthogonal,
    sparse_weights,
    uniform,
    zeros,
)
from bpjax.networks.mlp import mlp
from bpjax.networks.two_spirals import two_spirals_net
from bpjax.networks.lenet import lenet
from bpjax.networks.resnet import resnet
from bpjax.networks.char_rnn import char_rnn
from bpjax.networks.transformer import transformer, transformer_block

# doors to everyone else's models
from bpjax.interop.as_function import as_function
from bpjax.interop.from_function import from_function
from bpjax.interop.adapters import from_equinox, from_linen, from_nnx, from_stax, to_equinox, to_nnx
from bpjax.interop.checkpoints import Checkpoint, load, save
from bpjax.interop.export import export_network

# 3. compare with the target
from bpjax.losses import (
    Loss,
    batch_mean,
    binary_cross_entropy,
    error_tolerance,
    huber,
    hyper_error,
    mean_squared_error,
    softmax_cross_entropy,
    squared_error,
)

# 4. propagate the error back
from bpjax.rules.rule import Rule
from bpjax.rules.backprop import autodiff, backprop
from bpjax.rules.transforms import fresh_keys, weight_decay, weight_noise
from bpjax.rules.feedback import batch_manhattan, feedback_alignment, sign_symmetry
from bpjax.rules.kolen_pollack import kolen_pollack
from bpjax.rules.weight_mirror import weight_mirror
from bpjax.rules.direct import direct_feedback, direct_random_target_projection
from bpjax.rules.slopes import borrowed_slope, noisy_slopes, with_slopes
from bpjax.rules.targets import difference_target_propagation
from bpjax.rules.local import local_losses
from bpjax.rules.forward_forward import (
    ff_goodness,
    ff_predict,
    forward_forward,
    mono_forward,
    mono_predict,
)
from bpjax.rules.perturbation import forward_gradient, node_perturbation, weight_perturbation
from bpjax.rules.predictive import predictive_coding
from bpjax.rules.equilibrium import equilibrium_propagation, hopfield
from bpjax.rules.delayed import delayed
from bpjax.rules.synthetic import synthetic_gradients
from bpjax.rules.stdp import stdp, stdp_change
from bpjax.rules.registry import RULES

# 5. change the weights
from bpjax.optimizers.momentum import convert_momentum, momentum
from bpjax.optimizers.global_rate import bold_driver, traingda, traingdx
from bpjax.optimizers.local_rates import delta_bar_delta, silva_almeida, supersab
from bpjax.optimizers.quickprop import fan_in, quickprop
from bpjax.optimizers.rprop import rprop
from bpjax.optimizers.hyperparameters import hyperparameter, set_hyperparameters
from bpjax.optimizers.undo import take_step

from bpjax.second_order.least_squares import least_squares
from bpjax.second_order.result import LeastSquares

# 6. again, until the error is small
from bpjax.training.stops import Stop, diverged, error_below, gradient_below, no_improvement, outputs_within
from bpjax.training.fit import Fit, Run, Training, TrainState, fit, make_train_step, make_training, run_to_end
from bpjax.training.restarts import restart_unsolved
from bpjax.training.evaluate import accuracy, predict

# 7. a million times at once
from bpjax.training.trial import Trial, trial
from bpjax.sweeps.axes import draws, log_draws
from bpjax.sweeps.lanes import lanes
from bpjax.sweeps.sweep import sweep
from bpjax.sweeps.replay import Replay, replay
from bpjax.util.compilation import cache_compilations, compile_small_loops

# look inside
from bpjax.analysis.signals import Signals, signals
from bpjax.gradcheck.compare import compare
from bpjax.gradcheck.report import Report
from bpjax.analysis.alignment import Alignment, alignment, recording
from bpjax.audit.receipt import Receipt, receipt
from bpjax.audit.ledger import LedgerRow, ledger, ledger_of_rules, ledger_table
from bpjax.analysis.curvature import (
    extreme_curvatures,
    hessian_vector_product,
    largest_curvature,
    share_along,
    steepest_direction,
)
from bpjax.results.plateaus import escape_times, find_plateaus
from bpjax.results.survival import kaplan_meier, log_rank, restricted_mean, survival_quantile
from bpjax import theory
