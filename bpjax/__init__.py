"""Backpropagation written out by hand, held against `jax.grad`, and fast enough to study by the million.

Every public name is importable from its room: `bpjax.layers.group_norm`, `bpjax.rules.kolen_pollack`,
`bpjax.gradcheck.compare`. The names that a first program needs are also here: one or two of each kind. `bpjax.tape` is
a room and a function: `bp.tape(f, x)` records `f`; `from bpjax.tape import Tape` imports another name of the room.
"""

# ruff: noqa: I001  (in the order data flows)
import sys

from bpjax import analysis, audit, gradcheck, interop, layers, losses, networks, optimizers, results, rules
from bpjax import second_order, sweeps, tasks, teaching, theory, training, types, util
from bpjax.util.missing_names import missing_name

# 1. present an example
from bpjax.tasks import xor, parity, encoder, digits

# 2. propagate it forward
from bpjax.layers import (
    Layer,
    dense,
    conv,
    flatten,
    embedding,
    attention,
    layer_norm,
    dropout,
    lstm,
    unroll,
    chain,
    residual,
    over_positions,
    sigmoid,
    tanh,
    relu,
    gelu,
    softmax,
    uniform,
)
from bpjax.networks import mlp, transformer

# 3. compare with the target
from bpjax.losses import squared_error, mean_squared_error, softmax_cross_entropy, binary_cross_entropy

# 4. propagate the error back
from bpjax.rules import Rule, backprop, autodiff, feedback_alignment

# 5. change the weights
from bpjax.optimizers import momentum, quickprop, rprop

# 6. again, until the error is small
from bpjax.training import fit, trial, make_train_step, error_below, outputs_within, stop_when, accuracy, predict

# 7. a million times at once
from bpjax.sweeps import sweep, sweep_over, replay, log_draws, points, open_sweep, merge_sweeps
from bpjax.sweeps import compare_optimizers, compare_rules

# look inside
from bpjax.tape import tape, reverse
from bpjax.gradcheck import check_gradient, compare
from bpjax.analysis import signals, alignment, precision, health, suggest_learning_rate
from bpjax.audit import receipt, ledger

# teach it
from bpjax.teaching import anatomy, derivation, exercise, lesson

# other libraries and files
from bpjax.interop import from_function, save, load

__version__ = "0.2.0"


def __getattr__(name: str):
    """Say in which room a name is that is not here."""
    raise missing_name(sys.modules[__name__], name)


__all__ = [
    "analysis",
    "audit",
    "gradcheck",
    "interop",
    "layers",
    "losses",
    "networks",
    "optimizers",
    "results",
    "rules",
    "second_order",
    "sweeps",
    "tasks",
    "teaching",
    "theory",
    "training",
    "types",
    "util",
    "xor",
    "parity",
    "encoder",
    "digits",
    "Layer",
    "dense",
    "conv",
    "flatten",
    "embedding",
    "attention",
    "layer_norm",
    "dropout",
    "lstm",
    "unroll",
    "chain",
    "residual",
    "over_positions",
    "sigmoid",
    "tanh",
    "relu",
    "gelu",
    "softmax",
    "uniform",
    "mlp",
    "transformer",
    "squared_error",
    "mean_squared_error",
    "softmax_cross_entropy",
    "binary_cross_entropy",
    "Rule",
    "backprop",
    "autodiff",
    "feedback_alignment",
    "momentum",
    "quickprop",
    "rprop",
    "fit",
    "trial",
    "make_train_step",
    "error_below",
    "outputs_within",
    "stop_when",
    "accuracy",
    "predict",
    "sweep",
    "sweep_over",
    "compare_optimizers",
    "compare_rules",
    "replay",
    "log_draws",
    "points",
    "open_sweep",
    "merge_sweeps",
    "tape",
    "reverse",
    "check_gradient",
    "compare",
    "signals",
    "alignment",
    "precision",
    "health",
    "suggest_learning_rate",
    "receipt",
    "ledger",
    "anatomy",
    "derivation",
    "exercise",
    "lesson",
    "from_function",
    "save",
    "load",
]
