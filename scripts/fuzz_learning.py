"""Valid arguments of single callables: rules, optimizers, training, sweeps, analysis and results."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from fuzz_parameters import OMIT
from fuzz_things import (
    KEY,
    NETWORK,
    PARAMS,
    RULE,
    SGD,
    T,
    X,
    adam,
    bare_trial,
    forward_forward,
    keyed_rule,
    spiking,
    spiking_with_readout,
    stopping_trial,
    stored,
    training,
)

import bpjax as bp

TEMPORAL: dict[str, Callable[[], Any]] = {
    "params": lambda: bp.chain(bp.layers.fir(2, 2), bp.tanh, bp.layers.fir(1, 2)).init(KEY, (5, 3))[0],
    "x": lambda: X[None],
    "target": lambda: X[None, :, :1],
}
"""A network of FIR filters, a series and its targets."""

LEARNING: dict[str, dict[str, Callable[[], Any]]] = {
    "optimizers.bold_driver": {"tolerance": lambda: 1.04, "momentum": lambda: 0.5},
    "optimizers.convert_momentum": {"source": lambda: "heavy_ball", "target": lambda: "convex"},
    "optimizers.hyperparameter": {"name": lambda: "learning_rate"},
    "optimizers.set_hyperparameters": {"learning_rate": lambda: 0.2},
    "optimizers.quickprop": {"split": lambda: True},
    "optimizers.rprop": {"smallest": lambda: 0.01},
    "optimizers.traingda": {"tolerance": lambda: 1.04},
    "optimizers.traingdx": {"tolerance": lambda: 1.04},
    "results.find_plateaus": {"unit": lambda: "run"},
    "results.holm": {"p_values": lambda: [0.01, 0.2]},
    "results.success_contrast": {"first": lambda: [True, False, True], "second": lambda: [True, True, False]},
    "results.time_contrast": {"first": lambda: [10.0, 20.0, np.inf], "second": lambda: [12.0, np.inf, 30.0]},
    "teaching.lesson": {"path": lambda: Path(tempfile.mkdtemp()) / "page.html", "key": lambda: KEY},
    "rules.delayed": {"steps": lambda: 1},
    "rules.eprop": {"network": spiking_with_readout},
    "rules.equilibrium_propagation": {"nudged_steps": lambda: 1},
    "rules.ff_goodness": {
        "network": lambda: forward_forward()[0],
        "params": lambda: forward_forward()[1],
        "x": lambda: jnp.ones((2, 6)),
    },
    "rules.ff_predict": {
        "network": lambda: forward_forward()[0],
        "params": lambda: forward_forward()[1],
        "x": lambda: jnp.ones((2, 6)),
    },
    "rules.forward_forward": {
        "network": lambda: forward_forward()[0],
        "loss": lambda: bp.softmax_cross_entropy,
        "in_shape": lambda: OMIT,
    },
    "rules.fresh_keys": {"rule": keyed_rule},
    "rules.kolen_pollack": {"decay": lambda: 0.99},
    "rules.mono_forward": {"loss": lambda: bp.softmax_cross_entropy},
    "rules.mono_predict": {"heads": lambda: bp.rules.mono_forward(NETWORK, bp.softmax_cross_entropy).init(KEY, PARAMS)},
    "rules.predictive_coding": {"steps": lambda: 2},
    "rules.reward_modulated_stdp": {"network": spiking, "constants": bp.rules.PairConstants},
    "rules.reward_stdp_change": {"reward": lambda: jnp.ones((2, 4)), "constants": bp.rules.PairConstants},
    "rules.stdp": {"network": spiking, "loss": lambda: bp.softmax_cross_entropy},
    "rules.triplet_stdp": {"network": spiking, "constants": bp.rules.TripletConstants},
    "rules.triplet_stdp_change": {"constants": bp.rules.TripletConstants},
    "rules.temporal_epoch": TEMPORAL,
    "rules.temporal_gradient": TEMPORAL,
    "second_order.least_squares": {"max_steps": lambda: 2},
    "sweeps.compare_choices": {
        "choices": lambda: {"SGD": SGD},
        "make_trial": lambda: (
            lambda choice: lambda key, learning_rate: stopping_trial(key, bp.momentum(learning_rate, 0.5))
        ),
        "rates": lambda: [0.1, 0.2],
        "seeds": lambda: 2,
    },
    "sweeps.compare_optimizers": {
        "trial": lambda: stopping_trial,
        "optimizers": lambda: {"momentum": lambda rate: bp.momentum(rate, 0.5)},
        "rates": lambda: [0.1, 0.2],
        "seeds": lambda: 2,
    },
    "sweeps.compare_rules": {
        "trial": lambda: lambda key, rule, learning_rate: stopping_trial(key, bp.momentum(learning_rate, 0.5), rule),
        "rules": lambda: {"backprop": RULE},
        "rates": lambda: [0.1, 0.2],
        "seeds": lambda: 2,
    },
    "sweeps.delete_runs": {"store": stored, "seed": lambda: [0]},
    "sweeps.lanes": {"f": lambda: lambda x: x + 1},
    "sweeps.merge_sweeps": {"stores": lambda: [stored()]},
    "sweeps.open_sweep": {"store": stored},
    "sweeps.replay": {"store": stored, "seed": lambda: 0},
    "sweeps.sweep": {"store": lambda: OMIT},
    "sweeps.sweep_over": {
        "structure": lambda: {"rate": [0.1, 0.2]},
        "make_trial": lambda: lambda rate: lambda key: bare_trial(key, rate),
    },
    "analysis.loss_plane": {
        "path": lambda: jax.tree.map(lambda w: jnp.stack([w, w + 1, w - 1]), PARAMS),
        "normalization": lambda: "filter",
        "points": lambda: 2,
    },
    "analysis.precision": {"formats": lambda: ["float32"], "forecast": lambda: False},
    "analysis.suggest_learning_rate": {"optimizer": lambda: bp.momentum, "starts": lambda: 2, "epochs": lambda: 2},
    "analysis.preconditioned_curvature": {"preconditioner": lambda: jax.tree.map(jnp.ones_like, PARAMS)},
    "analysis.preconditioner_of": {"state": lambda: adam().update(PARAMS, adam().init(PARAMS))[1]},
    "analysis.recording": {"at": lambda: [0, 1]},
    "analysis.unit_states": {"net_input": lambda: X},
    "teaching.exercise": {"name": lambda: "net_input"},
    "teaching.derivation": {"*0": lambda: bp.squared_error, "*1": lambda: PARAMS, "*2": lambda: (X, T)},
    "teaching.anatomy": {"weights": lambda: 3},
    "training.accuracy": {"data": lambda: (X, jnp.array([0, 1, 0, 1, 0])), "threshold": lambda: OMIT},
    "training.data_parallel": {"mesh": lambda: jax.make_mesh((1,), ("batch",))},
    "training.diverged": {"factor": lambda: 10.0},
    "training.fit": {"on_chunk": lambda: OMIT},
    "training.restart_unsolved": {"start": lambda: lambda key: NETWORK.init(key, (3,))[0]},
    "training.run_to_end": {"run": lambda: training()[0].init(KEY, PARAMS, 2)},
    "training.stop_when": {"condition": lambda: lambda run: run.error < 0.1, "reason": lambda: "solved"},
    "training.time_limit": {"seconds": lambda: 10.0},
}
"""What a callable takes in place of, or beside, the values by parameter name."""
