"""Layers: a forward pass beside the backward pass written out by hand."""

from bpjax.layers.activations import (
    Slopes,
    celu,
    elementwise,
    elu,
    gated,
    geglu,
    gelu,
    gelu_tanh,
    glu,
    hardshrink,
    hardsigmoid,
    hardswish,
    hardtanh,
    identity,
    leaky_relu,
    log_sigmoid,
    log_softmax,
    mish,
    prelu,
    reglu,
    relu,
    relu6,
    scaled_sigmoid,
    selu,
    sigmoid,
    silu,
    softmax,
    softplus,
    softshrink,
    softsign,
    swiglu,
    tanh,
    tanhshrink,
    threshold,
)
from bpjax.layers.attention.attention import attention, cross_attention, plain_attention
from bpjax.layers.attention.masked import masked
from bpjax.layers.attention.positions import learned_positions, sinusoidal_positions
from bpjax.layers.backward_transforms import flat_spot, scaled_error, without_derivative
from bpjax.layers.bilinear import bilinear
from bpjax.layers.combinators.chain import chain, freeze, parallel, residual, shortcut
from bpjax.layers.combinators.mixture import Mixture, mixture_of_experts
from bpjax.layers.combinators.over_positions import over_positions
from bpjax.layers.combinators.remat import remat
from bpjax.layers.combinators.repeat import repeat, unstack
from bpjax.layers.combinators.scaled import scaled
from bpjax.layers.combinators.tie import tie
from bpjax.layers.combinators.tied_embedding import tied_embedding
from bpjax.layers.convolution.conv import conv, conv_transpose
from bpjax.layers.convolution.global_pool import global_average_pool, global_max_pool
from bpjax.layers.convolution.lp_pool import lp_pool
from bpjax.layers.convolution.pooling import average_pool, max_pool
from bpjax.layers.convolution.separable import depthwise_conv, separable_conv
from bpjax.layers.dense import Affine, dense
from bpjax.layers.dropout import dropout, keyed, without_dropout
from bpjax.layers.edges import Edges, banded_edges, edges_from_mask, random_edges
from bpjax.layers.embedding import Embedding, embedding
from bpjax.layers.fourier import Frequencies, fourier_features
from bpjax.layers.graph import Graph, Node, graph
from bpjax.layers.initializers import (
    delta_orthogonal,
    glorot_normal,
    glorot_uniform,
    he_normal,
    he_uniform,
    initializer,
    lecun_normal,
    lecun_uniform,
    orthogonal,
    sparse_weights,
    uniform,
    zeros,
)
from bpjax.layers.layer import Context, Kind, Layer, Parts, map_layers
from bpjax.layers.low_rank import Lora, lora, low_rank, merge_lora
from bpjax.layers.normalization.batch import BatchStatistics, batch_norm
from bpjax.layers.normalization.group import group_norm
from bpjax.layers.normalization.instance import instance_norm
from bpjax.layers.normalization.layer import Gains, layer_norm, rms_norm
from bpjax.layers.normalization.response import global_response_norm, local_response_norm
from bpjax.layers.normalization.statistics import (
    batch_statistics,
    init_statistics,
    running_statistics,
    with_statistics,
)
from bpjax.layers.normalization.unit_length import unit_length
from bpjax.layers.normalization.weight import WeightNormed, weight_norm
from bpjax.layers.recurrent.cell import Cell
from bpjax.layers.recurrent.cells import elman, jordan
from bpjax.layers.recurrent.control import (
    Adjoint,
    FreeTime,
    Multipliers,
    adjoint,
    augmented_lagrangian,
    free_final_time,
    mayer_form,
    update_multipliers,
)
from bpjax.layers.recurrent.fir import fir
from bpjax.layers.recurrent.gated import gru, lstm
from bpjax.layers.recurrent.normalized import layer_norm_lstm
from bpjax.layers.recurrent.peephole import peephole_lstm
from bpjax.layers.recurrent.recurrent import bidirectional, unroll
from bpjax.layers.recurrent.runge_kutta import runge_kutta
from bpjax.layers.recurrent.short_term import ShortTerm, tsodyks_markram
from bpjax.layers.recurrent.stage import dynamics, stage
from bpjax.layers.shapes import flatten, last_position, reshape
from bpjax.layers.snapshots import Action, binomial_schedule, repeated_steps
from bpjax.layers.sparse import SparseAffine, sparse
from bpjax.layers.spatial.adaptive_pool import adaptive_average_pool, adaptive_max_pool
from bpjax.layers.spatial.padding import pad
from bpjax.layers.spatial.pixel_shuffle import pixel_shuffle, pixel_unshuffle
from bpjax.layers.spatial.upsample import upsample
from bpjax.layers.spiking.constants import Spiking
from bpjax.layers.spiking.convention import CONVENTIONS, Convention
from bpjax.layers.spiking.integrator import leaky_integrator
from bpjax.layers.spiking.neuron import leaky_integrate_and_fire
from bpjax.layers.spiking.steps import Adaptation, SpikingState
from bpjax.layers.spiking.surrogates import heaviside, soft_spike, spike, superspike

__all__ = [
    "CONVENTIONS",
    "Action",
    "Adaptation",
    "Adjoint",
    "Affine",
    "BatchStatistics",
    "Cell",
    "Context",
    "Convention",
    "Edges",
    "Embedding",
    "FreeTime",
    "Frequencies",
    "Gains",
    "Graph",
    "Kind",
    "Layer",
    "Lora",
    "Mixture",
    "Multipliers",
    "Node",
    "Parts",
    "ShortTerm",
    "Slopes",
    "SparseAffine",
    "Spiking",
    "SpikingState",
    "WeightNormed",
    "adaptive_average_pool",
    "adaptive_max_pool",
    "adjoint",
    "attention",
    "augmented_lagrangian",
    "average_pool",
    "banded_edges",
    "batch_norm",
    "batch_statistics",
    "bidirectional",
    "bilinear",
    "binomial_schedule",
    "celu",
    "chain",
    "conv",
    "conv_transpose",
    "cross_attention",
    "delta_orthogonal",
    "dense",
    "depthwise_conv",
    "dropout",
    "dynamics",
    "edges_from_mask",
    "elementwise",
    "elman",
    "elu",
    "embedding",
    "fir",
    "flat_spot",
    "flatten",
    "fourier_features",
    "free_final_time",
    "freeze",
    "gated",
    "geglu",
    "gelu",
    "gelu_tanh",
    "global_average_pool",
    "global_max_pool",
    "global_response_norm",
    "glorot_normal",
    "glorot_uniform",
    "glu",
    "graph",
    "group_norm",
    "gru",
    "hardshrink",
    "hardsigmoid",
    "hardswish",
    "hardtanh",
    "he_normal",
    "he_uniform",
    "heaviside",
    "identity",
    "init_statistics",
    "initializer",
    "instance_norm",
    "jordan",
    "keyed",
    "last_position",
    "layer_norm",
    "layer_norm_lstm",
    "leaky_integrate_and_fire",
    "leaky_integrator",
    "leaky_relu",
    "learned_positions",
    "lecun_normal",
    "lecun_uniform",
    "local_response_norm",
    "log_sigmoid",
    "log_softmax",
    "lora",
    "low_rank",
    "lp_pool",
    "lstm",
    "map_layers",
    "masked",
    "max_pool",
    "mayer_form",
    "merge_lora",
    "mish",
    "mixture_of_experts",
    "orthogonal",
    "over_positions",
    "pad",
    "parallel",
    "pixel_shuffle",
    "pixel_unshuffle",
    "peephole_lstm",
    "plain_attention",
    "prelu",
    "random_edges",
    "reglu",
    "relu",
    "relu6",
    "remat",
    "repeat",
    "repeated_steps",
    "reshape",
    "residual",
    "rms_norm",
    "runge_kutta",
    "running_statistics",
    "scaled",
    "scaled_error",
    "scaled_sigmoid",
    "selu",
    "separable_conv",
    "shortcut",
    "sigmoid",
    "silu",
    "sinusoidal_positions",
    "soft_spike",
    "softmax",
    "softplus",
    "softshrink",
    "softsign",
    "sparse",
    "sparse_weights",
    "spike",
    "stage",
    "superspike",
    "swiglu",
    "tanh",
    "tanhshrink",
    "threshold",
    "tie",
    "tied_embedding",
    "tsodyks_markram",
    "uniform",
    "unit_length",
    "unroll",
    "unstack",
    "update_multipliers",
    "upsample",
    "weight_norm",
    "with_statistics",
    "without_derivative",
    "without_dropout",
    "zeros",
]
