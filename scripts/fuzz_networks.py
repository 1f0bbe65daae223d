"""Valid arguments of single callables: layers and networks, their tasks, theory, checks and interop."""

import importlib.util
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from fuzz_parameters import OMIT
from fuzz_things import INPUTS, KEY, NETWORK, PARAMS, T, X, batch_normed, equinox, linen, nnx

import bpjax as bp


def integrator():
    """A step of ds/dt = u."""
    return bp.layers.runge_kutta(lambda p, s, u: 0 * s + u, (2,), 0.1)


def regulator():
    """A regulator with two state variables and one control."""
    return bp.theory.LinearQuadratic(jnp.eye(2), jnp.ones((2, 1)), jnp.eye(2), jnp.eye(1), jnp.eye(2))


MEMBRANE = bp.theory.Membrane(10.0, 5.0, 0.3)


def spiking_chain():
    """A layer of neurons that NIR can say, with its params."""
    return bp.layers.unroll(bp.layers.leaky_integrate_and_fire(2, convention="snntorch zero"))


def nir_graph():
    """A graph of NIR; None where the package nir is not installed."""
    if importlib.util.find_spec("nir") is None:
        return None
    return bp.interop.to_nir(spiking_chain(), bp.layers.Affine(jnp.ones((3, 2))))


NETWORKS: dict[str, dict[str, Callable[[], Any]]] = {
    "layers.adjoint": {
        "cell": lambda: integrator(),
        "terminal_cost": lambda: lambda p, s: (s**2).sum(1),
        "params": lambda: (),
        "state": lambda: jnp.ones((1, 2)),
        "controls": lambda: jnp.ones((1, 3, 1)),
        "path_cost": lambda: OMIT,
    },
    "layers.adaptive_average_pool": {"size": lambda: 2},
    "layers.adaptive_max_pool": {"size": lambda: 2},
    "layers.attention": {"head_features": lambda: 2},
    "layers.augmented_lagrangian": {
        "terminal_cost": lambda: lambda p, s: (s**2).sum(1),
        "constraints": lambda: lambda p, s: s,
    },
    "layers.banded_edges": {"width": lambda: 1},
    "layers.batch_statistics": {"network": lambda: batch_normed()[0], "params": lambda: batch_normed()[1]},
    "layers.borrowed_slope": {},
    "layers.chain": {"*0": lambda: bp.dense(3), "*1": lambda: bp.tanh},
    "layers.conv": {"features": lambda: 2},
    "layers.dropout": {"rate": lambda: 0.5},
    "layers.dynamics": {
        "function": lambda: lambda p, x, s: (s, s),
        "state_shape": lambda: (2,),
        "params": lambda: OMIT,
    },
    "layers.edges_from_mask": {"mask": lambda: np.ones((3, 2), bool)},
    "layers.elementwise": {
        "phi": lambda: jnp.sin,
        "derivative": lambda: jnp.cos,
        "of": lambda: "input",
        "arguments": lambda: OMIT,
    },
    "layers.elman": {"weights": lambda: "he"},
    "layers.free_final_time": {"function": lambda: lambda p, s, u: s + u},
    "layers.graph": {
        "nodes": lambda: {"y": bp.layers.Node(("input", "y"), bp.dense(2), 2)},
        "output": lambda: "y",
    },
    "layers.init_statistics": {"network": lambda: batch_normed()[0], "params": lambda: batch_normed()[1]},
    "layers.keyed": {"network": lambda: bp.chain(bp.dense(3), bp.dropout(0.5))},
    "layers.leaky_integrate_and_fire": {
        "convention": lambda: "snntorch",
        "adaptation": lambda: bp.layers.Adaptation(1.0, 5.0),
        "recurrent": lambda: "lecun",
        "learnt": lambda: ("membrane",),
        "use_bias": lambda: True,
    },
    "layers.leaky_integrator": {
        "order": lambda: "current-potential-spike",
        "learnt": lambda: ("membrane",),
        "use_bias": lambda: True,
    },
    "layers.layer_norm": {"axes": lambda: 1},
    "layers.learned_positions": {"length": lambda: 4},
    "layers.local_response_norm": {"size": lambda: 3, "beta": lambda: 0.75, "k": lambda: 1.0},
    "layers.lora": {"rank": lambda: 2, "alpha": lambda: 2.0},
    "layers.low_rank": {"rank": lambda: 2},
    "layers.lp_pool": {"power": lambda: 2.0},
    "layers.map_layers": {},
    "layers.merge_lora": {"params": lambda: bp.layers.lora(bp.dense(3), 2).init(KEY, (3,))[0], "alpha": lambda: 2.0},
    "layers.mixture_of_experts": {"*0": lambda: bp.dense(3), "*1": lambda: bp.dense(3), "top": lambda: 1},
    "layers.masked": {"network": lambda: bp.attention(2)},
    "layers.mayer_form": {
        "function": lambda: lambda p, s, u: s + u,
        "running_cost": lambda: lambda p, s, u: (u**2).sum(1),
    },
    "layers.pad": {"padding": lambda: ((1, 1),), "value": lambda: 0.5},
    "layers.pixel_shuffle": {"factor": lambda: 2},
    "layers.pixel_unshuffle": {"factor": lambda: 2},
    "layers.parallel": {"*0": lambda: bp.dense(3), "*1": lambda: bp.dense(3)},
    "layers.plain_attention": {"head_features": lambda: 2},
    "layers.random_edges": {"per_unit": lambda: 2, "density": lambda: OMIT},
    "layers.repeat": {"layer": lambda: bp.tanh},
    "layers.reshape": {"shape": lambda: (3, 1)},
    "layers.residual": {"layer": lambda: bp.tanh},
    "layers.rms_norm": {"axes": lambda: 1},
    "layers.runge_kutta": {
        "function": lambda: lambda p, s, u: s + u,
        "state_shape": lambda: (2,),
        "step": lambda: 0.1,
        "params": lambda: OMIT,
        "stage_controls": lambda: False,
    },
    "layers.running_statistics": {
        "residuals": lambda: batch_normed()[0].forward(batch_normed()[1], X)[1],
        "momentum": lambda: 0.9,
    },
    "layers.scaled": {"factor": lambda: 0.5},
    "layers.scaled_sigmoid": {"low": lambda: 0.0},
    "layers.soft_spike": {"surrogate": lambda: "arctan", "height": lambda: 0.5},
    "layers.spike": {"surrogate": lambda: "arctan", "height": lambda: 0.5},
    "layers.tied_embedding": {"network": lambda: bp.tanh},
    "layers.tie": {"network": lambda: bp.chain(bp.dense(3), bp.dense(3)), "*0": lambda: (0, 1)},
    "layers.unstack": {"params": lambda: jnp.ones((2, 3))},
    "layers.update_multipliers": {
        "multipliers": lambda: bp.layers.Multipliers(jnp.zeros((1, 2)), jnp.asarray(10.0)),
        "residual": lambda: jnp.ones((1, 2)),
    },
    "layers.upsample": {"factor": lambda: 2.0, "size": lambda: OMIT},
    "layers.with_statistics": {"network": lambda: batch_normed()[0]},
    "networks.char_rnn": {"cells": lambda: (bp.layers.elman(3),)},
    "networks.deep_residual": {
        "inputs": lambda: 3,
        "width": lambda: 4,
        "depth": lambda: 3,
        "outputs": lambda: 2,
        "parameterization": lambda: "standard",
    },
    "networks.lenet": {"image": lambda: (8, 8, 1), "maps": lambda: (2, 2), "hidden": lambda: (3,)},
    "networks.resnet": {"image": lambda: (8, 8, 1), "channels": lambda: (2, 2), "norm": lambda: OMIT},
    "networks.decoder_block": {"features": lambda: 4},
    "networks.encoder_decoder": {"source_vocabulary": lambda: 5, "features": lambda: 4},
    "networks.transformer": {"features": lambda: 4, "heads": lambda: 2, "positions": lambda: "learned"},
    "networks.transformer_block": {"features": lambda: 4},
    "theory.cost_to_go": {
        "problem": lambda: regulator(),
        "start": lambda: jnp.ones(2),
        "controls": lambda: jnp.ones((3, 1)),
    },
    "theory.riccati": {"problem": lambda: regulator(), "steps": lambda: 3},
    "theory.deep_linear_invariants": {"weights": lambda: [np.ones((3, 2)), np.ones((2, 1))]},
    "theory.lms_limit": {"inputs": lambda: np.ones((4, 2))},
    "theory.lms_weights": {
        "inputs": lambda: INPUTS,
        "start": lambda: jnp.zeros((2, 1)),
        "targets": lambda: jnp.ones((4, 1)),
    },
    "theory.saddle_distance": {"curvature": lambda: -0.5},
    "theory.saddle_growth": {"curvature": lambda: -0.5},
    "theory.saddle_steps": {"curvature": lambda: -0.5},
    "theory.spike_time_gradient": {
        "weights": lambda: np.ones((2, 1)),
        "inputs": lambda: np.array([0.0, 1.0]),
        "sources": lambda: np.array([0, 1]),
        "spikes": lambda: bp.theory.spike_times(np.ones((2, 1)), [0.0, 1.0], [0, 1], 20.0, MEMBRANE),
        "dtimes": lambda: [np.ones(2)],
        "membrane": lambda: MEMBRANE,
    },
    "theory.spike_times": {
        "weights": lambda: np.ones((2, 1)),
        "inputs": lambda: np.array([0.0, 1.0]),
        "sources": lambda: np.array([0, 1]),
        "duration": lambda: 20.0,
        "membrane": lambda: MEMBRANE,
    },
    "tape.count_operations": {"*0": lambda: jnp.ones(2)},
    "tape.tape": {"*0": lambda: jnp.ones(2)},
    "tape.vjp": {"*0": lambda: jnp.ones(2)},
    "gradcheck.check_gradient": {"*0": lambda: jnp.ones(2), "gradient": lambda: lambda w: 2 * w, "argnums": lambda: 0},
    "gradcheck.compare": {},
    "audit.ledger_of_rules": {"rules": lambda: {"backprop": bp.rules.RULES["backprop"]}},
    "audit.timing_receipt": {"make": lambda: bp.rules.stdp, "lags": lambda: (1, 2)},
    "audit.ledger_table": {
        "rows": lambda: [bp.ledger(bp.backprop, NETWORK, bp.squared_error, PARAMS, (X, T), key=KEY)]
    },
    "tasks.encoder": {"n": lambda: 4, "hidden": lambda: 2},
    "tasks.letter_sequences": {"codes": lambda: ("12", "21")},
    "tasks.shift_register": {"bits": lambda: 3, "steps": lambda: 2},
    "tasks.t_c": {"size": lambda: 7, "margin": lambda: 2, "everywhere": lambda: True},
    "tasks.spike_patterns": {"examples": lambda: 4, "inputs": lambda: 3, "steps": lambda: 5},
    "tasks.task": {"name": lambda: "parity", "bits": lambda: 2},
    "tasks.truth_table": {"function": lambda: lambda bits: bits},
    "interop.export_network": {"path": lambda: OMIT},
    "interop.from_function": {
        "init": lambda: lambda key, shape: (jnp.ones(shape), shape),
        "apply": lambda: lambda p, x: p * x,
    },
    "interop.from_linen": {"module": linen},
    "interop.from_nir": {
        "graph": nir_graph,
        "dt": lambda: 1.0,
        "discretization": lambda: "exact",
        "time_unit": lambda: 1.0,
        "convention": lambda: "snntorch zero",
    },
    "interop.from_nnx": {"module": nnx},
    "interop.from_stax": {"pair": lambda: (lambda key, shape: (shape, ()), lambda p, x: x)},
    "interop.load": {"like": lambda: PARAMS},
    "interop.save": {"path": lambda: Path(tempfile.mkdtemp()) / "w.safetensors", "metadata": lambda: {"epoch": 3}},
    "interop.to_equinox": {"params": lambda: bp.interop.from_equinox(equinox()).init(KEY, (3,))[0]},
    "interop.to_nir": {
        "network": spiking_chain,
        "params": lambda: bp.layers.Affine(jnp.ones((3, 2))),
        "discretization": lambda: "exact",
        "time_unit": lambda: 1.0,
    },
    "interop.to_nnx": {"module": nnx, "params": lambda: bp.interop.from_nnx(nnx()).init(KEY, (3,))[0]},
    "util.cache_compilations": {"folder": lambda: Path(tempfile.mkdtemp())},
    "util.compile_small_loops": {"threshold": lambda: 65_536},
}
"""What a callable takes in place of, or beside, the values by parameter name."""
