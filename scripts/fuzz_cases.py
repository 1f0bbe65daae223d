"""A cheap valid call of every public callable: what `scripts/fuzz_inputs.py` changes one argument at a time."""

import functools
import importlib
import inspect
import pkgutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import bpjax as bp

ROOMS = ("losses", *sorted(module.name for module in pkgutil.iter_modules(bp.__path__) if module.ispkg))
"""Where public names live: what each room lists in `__all__`."""


class Call(NamedTuple):
    """A call that works: a callable, by name, with the arguments to change."""

    name: str
    """As a user finds it: "layers.dense", "layers.dense(…).forward"."""
    function: Callable
    arguments: dict[str, Any]
    """Parameter to value; a parameter named *0, *1, … is positional."""

    def __call__(self, **changes):
        """Call with some arguments changed."""
        arguments = self.arguments | changes
        positional = [value for name, value in arguments.items() if name.startswith("*")]
        first = [p.name for p in positional_before_star(self.function)] if positional else []
        named = {name: value for name, value in arguments.items() if name not in first and not name.startswith("*")}
        return self.function(*[arguments[name] for name in first], *positional, **named)


def positional_before_star(function) -> list[inspect.Parameter]:
    """The parameters in front of `*args`."""
    return [p for p in inspect.signature(function).parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]


# The values, each made once, when it is first asked for.
KEY = jax.random.key(0)
NETWORK = bp.mlp((3, 4, 2))
PARAMS, _ = NETWORK.init(KEY, (3,))
X, T = jnp.linspace(-1.0, 1.0, 15).reshape(5, 3), jnp.zeros((5, 2))
RULE = bp.backprop(NETWORK, bp.squared_error)
TOKENS = jnp.array([[0, 1, 2], [1, 2, 0]])
SGD = bp.momentum(0.1, 0.5)


def adam():
    """An optimizer that has a preconditioner."""
    return optax.adam(0.1)


def bare_trial(key, rate=0.1):
    """One small run of a sweep."""
    return bp.trial(RULE, bp.momentum(rate, 0.5), NETWORK.init(key, (3,))[0], (X, T), key=key, epochs=2)


def square(w):
    """A function to differentiate."""
    return (w * w).sum()


@functools.cache
def batch_normed():
    """A network with batch norm, its params and its statistics."""
    network = bp.chain(bp.dense(3), bp.layers.batch_norm(), bp.tanh)
    params, _ = network.init(KEY, (3,))
    return network, params, bp.layers.batch_statistics(network, params, X)


@functools.cache
def training():
    """A training and a run of it that has ended."""
    made = bp.training.make_training(RULE, SGD, chunk=2)
    run, _ = bp.training.run_to_end(lambda run: made.advance(run, (X, T)), made.init(KEY, PARAMS, 2))
    return made, run


def advance(run):
    """A chunk of epochs."""
    return training()[0].advance(run, (X, T))


@functools.cache
def forward_forward():
    """A network for Forward-Forward."""
    network = bp.chain(bp.dense(4), bp.relu, bp.layers.unit_length, bp.dense(4), bp.relu)
    return network, network.init(KEY, (6,))[0]


@functools.cache
def linen():
    """A module of Flax Linen."""
    import flax.linen as nn

    return nn.Dense(2)


@functools.cache
def nnx():
    """A module of Flax NNX."""
    from flax import nnx

    return nnx.Linear(3, 2, rngs=nnx.Rngs(0))


@functools.cache
def equinox():
    """A module of Equinox."""
    import equinox

    return equinox.nn.Linear(3, 2, key=KEY)


@functools.cache
def saved():
    """A file of params."""
    path = Path(tempfile.mkdtemp()) / "params.safetensors"
    bp.save(path, PARAMS)
    return path


@functools.cache
def stored():
    """A sweep that is stored."""
    folder = Path(tempfile.mkdtemp()) / "store"
    bp.sweep(bare_trial, {"seed": [0, 1]}, key=KEY, store=folder, progress=False)
    return folder


def keyed_rule():
    """A rule of a network with dropout."""
    return bp.backprop(bp.layers.keyed(bp.chain(bp.dense(3), bp.dropout(0.5))), bp.squared_error)


def stopping_trial(key, optimizer=SGD, rule=RULE):
    """One small run of a comparison, with a stop that means success."""
    params = NETWORK.init(key, (3,))[0]
    return bp.trial(rule, optimizer, params, (X, T), key=key, epochs=2, stops=bp.error_below(0.1))


def spiking():
    """A chain with one layer of spiking units."""
    return bp.chain(bp.unroll(bp.layers.leaky_integrate_and_fire(2), last=True))


BY_PARAMETER: dict[str, Callable[[], Any]] = {
    "network": lambda: NETWORK,
    "params": lambda: PARAMS,
    "loss": lambda: bp.squared_error,
    "rule": lambda: RULE,
    "reference": lambda: bp.autodiff(NETWORK, bp.squared_error),
    "key": lambda: KEY,
    "batch": lambda: (X, T),
    "data": lambda: (X, T),
    "x": lambda: X,
    "features": lambda: 3,
    "layer": lambda: bp.dense(3),
    "optimizer": lambda: SGD,
    "activation": lambda: bp.tanh,
    "learning_rate": lambda: 0.1,
    "momentum": lambda: 0.5,
    "rate": lambda: 0.1,
    "heads": lambda: 2,
    "window": lambda: 2,
    "kernel": lambda: 2,
    "cell": lambda: bp.layers.elman(3),
    "n": lambda: 2,
    "vocabulary": lambda: 5,
    "bits": lambda: 2,
    "address_bits": lambda: 1,
    "inputs": lambda: 4,
    "outputs": lambda: 3,
    "width": lambda: 1,
    "state": lambda: SGD.init(PARAMS),
    "grads": lambda: PARAMS,
    "gradient": lambda: PARAMS,
    "direction": lambda: PARAMS,
    "make": lambda: bp.backprop,
    "module": equinox,
    "factor": lambda: 0.5,
    "weights": lambda: "he",
    "biases": lambda: "zeros",
    "recurrent": lambda: "orthogonal",
    "groups": lambda: 1,
    "epsilon": lambda: 1e-5,
    "use_bias": lambda: True,
    "scale": lambda: 1.0,
    "name": lambda: "name",
    "length": lambda: 4,
    "radius": lambda: 1.0,
    "low": lambda: 0.1,
    "high": lambda: 1.0,
    "samples": lambda: 3,
    "taps": lambda: 2,
    "edges": lambda: bp.layers.banded_edges(4, 3, 1),
    "statistics": lambda: batch_normed()[2],
    "change": lambda: lambda layer: layer,
    "sizes": lambda: (3, 4, 2),
    "blocks": lambda: 1,
    "steps": lambda: 2,
    "deviation": lambda: 0.1,
    "lender": lambda: bp.sigmoid,
    "pre": lambda: jnp.ones((2, 4, 3)),
    "post": lambda: jnp.ones((2, 4, 2)),
    "classes": lambda: 2,
    "shape": lambda: (3, 3),
    "share": lambda: 0.5,
    "unit": lambda: 1,
    "units": lambda: 2,
    "goal": lambda: 0.1,
    "floor": lambda: 0.1,
    "epochs": lambda: 2,
    "f": lambda: square,
    "form": lambda: "heavy_ball",
    "curvature": lambda: 0.5,
    "curvatures": lambda: [0.5, 1.0],
    "slope": lambda: 0.1,
    "velocity": lambda: 0.0,
    "start": lambda: 0.1,
    "end": lambda: 1.0,
    "condition": lambda: 10.0,
    "smallest": lambda: 0.1,
    "largest": lambda: 1.0,
    "delay": lambda: 1,
    "u": lambda: 0.1,
    "s": lambda: 1.0,
    "u0": lambda: 0.1,
    "t": lambda: [0.0, 1.0],
    "Q": lambda: np.eye(2),
    "R": lambda: np.zeros((2, 2)),
    "T": lambda: np.eye(2),
    "times": lambda: [0.0, 0.1],
    "durations": lambda: [1.0, 2.0, 3.0],
    "observed": lambda: [True, False, True],
    "other_durations": lambda: [2.0, 4.0],
    "other_observed": lambda: [True, True],
    "error": lambda: np.linspace(1, 0, 100)[None],
    "horizon": lambda: 2.0,
    "curve": lambda: bp.results.kaplan_meier([1.0, 2.0, 3.0], [True, False, True]),
    "value": lambda: 0.5,
    "plateaus": lambda: bp.results.find_plateaus(np.linspace(1, 0, 100)[None]),
    "steepness": lambda: 1.0,
    "threshold": lambda: 1.0,
    "in_shape": lambda: (3,),
    "path": saved,
    "levels": lambda: (0.0, 1.0),
    "target_levels": lambda: (0.0, 1.0),
    "noise": lambda: jax.random.normal,
    "in_axes": lambda: 0,
    "out_axes": lambda: 0,
    "per_example": lambda: True,
    "tree": lambda: PARAMS,
    "dtype": lambda: jnp.float32,
    "training": lambda: training()[0],
    "run": lambda: training()[1],
    "advance": lambda: advance,
    "trial": lambda: bare_trial,
    "show": lambda: False,
    "axes": lambda: {"seed": [0, 1]},
    "progress": lambda: False,
    "timed": lambda: False,
    "hidden": lambda: (2,),
    "split": lambda: "test",
    "tolerance": lambda: 0.1,
    "stops": lambda: (),
    "batch_size": lambda: 5,
    "chunk": lambda: 2,
    "validation": lambda: (X, T),
    "shuffle": lambda: True,
    "offset": lambda: 0.1,
    "truncate": lambda: 2,
    "padding": lambda: "SAME",
    "stride": lambda: 1,
    "dilation": lambda: 1,
    "per_unit": lambda: 2,
}
"""A value for a parameter of this name, wherever it has the same meaning."""

INPUTS = jnp.ones((4, 2))
OMIT = object()
"""Leave an optional parameter out of the valid call, and out of the fuzzing."""

BY_CALLABLE: dict[str, dict[str, Callable[[], Any]]] = {
    "layers.attention": {"head_features": lambda: 2},
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
    "layers.init_statistics": {"network": lambda: batch_normed()[0], "params": lambda: batch_normed()[1]},
    "layers.keyed": {"network": lambda: bp.chain(bp.dense(3), bp.dropout(0.5))},
    "layers.learned_positions": {"length": lambda: 4},
    "layers.map_layers": {},
    "layers.masked": {"network": lambda: bp.attention(2)},
    "layers.parallel": {"*0": lambda: bp.dense(3), "*1": lambda: bp.dense(3)},
    "layers.plain_attention": {"head_features": lambda: 2},
    "layers.random_edges": {"per_unit": lambda: 2, "density": lambda: OMIT},
    "layers.repeat": {"layer": lambda: bp.tanh},
    "layers.reshape": {"shape": lambda: (3, 1)},
    "layers.residual": {"layer": lambda: bp.tanh},
    "layers.running_statistics": {
        "residuals": lambda: batch_normed()[0].forward(batch_normed()[1], X)[1],
        "momentum": lambda: 0.9,
    },
    "layers.scaled_sigmoid": {"low": lambda: 0.0},
    "layers.tie": {"network": lambda: bp.chain(bp.dense(3), bp.dense(3)), "*0": lambda: (0, 1)},
    "layers.unstack": {"params": lambda: jnp.ones((2, 3))},
    "layers.with_statistics": {"network": lambda: batch_normed()[0]},
    "networks.char_rnn": {"cells": lambda: (bp.layers.elman(3),)},
    "networks.lenet": {"image": lambda: (8, 8, 1), "maps": lambda: (2, 2), "hidden": lambda: (3,)},
    "networks.resnet": {"image": lambda: (8, 8, 1), "channels": lambda: (2, 2), "norm": lambda: OMIT},
    "networks.transformer": {"features": lambda: 4, "heads": lambda: 2, "positions": lambda: "learned"},
    "networks.transformer_block": {"features": lambda: 4},
    "optimizers.convert_momentum": {"source": lambda: "heavy_ball", "target": lambda: "convex"},
    "optimizers.hyperparameter": {"name": lambda: "learning_rate"},
    "optimizers.set_hyperparameters": {"learning_rate": lambda: 0.2},
    "optimizers.bold_driver": {"tolerance": lambda: 1.04, "momentum": lambda: 0.5},
    "optimizers.traingda": {"tolerance": lambda: 1.04},
    "optimizers.traingdx": {"tolerance": lambda: 1.04},
    "theory.saddle_distance": {"curvature": lambda: -0.5},
    "theory.saddle_growth": {"curvature": lambda: -0.5},
    "theory.saddle_steps": {"curvature": lambda: -0.5},
    "results.find_plateaus": {"unit": lambda: "run"},
    "results.holm": {"p_values": lambda: [0.01, 0.2]},
    "results.success_contrast": {"first": lambda: [True, False, True], "second": lambda: [True, True, False]},
    "results.time_contrast": {"first": lambda: [10.0, 20.0, np.inf], "second": lambda: [12.0, np.inf, 30.0]},
    "rules.delayed": {"steps": lambda: 1},
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
    "rules.fresh_keys": {"rule": keyed_rule},
    "rules.forward_forward": {
        "network": lambda: forward_forward()[0],
        "loss": lambda: bp.softmax_cross_entropy,
        "in_shape": lambda: OMIT,
    },
    "rules.kolen_pollack": {"decay": lambda: 0.99},
    "rules.mono_forward": {"loss": lambda: bp.softmax_cross_entropy},
    "rules.mono_predict": {"heads": lambda: bp.rules.mono_forward(NETWORK, bp.softmax_cross_entropy).init(KEY, PARAMS)},
    "rules.predictive_coding": {"steps": lambda: 2},
    "rules.stdp": {"network": spiking, "loss": lambda: bp.softmax_cross_entropy},
    "second_order.least_squares": {"max_steps": lambda: 2},
    "sweeps.lanes": {"f": lambda: lambda x: x + 1},
    "sweeps.replay": {"store": stored, "seed": lambda: 0},
    "sweeps.compare_choices": {
        "choices": lambda: {"SGD": SGD},
        "make_trial": lambda: lambda choice: lambda key, rate: bare_trial(key, rate),
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
    "sweeps.merge_sweeps": {"stores": lambda: [stored()]},
    "sweeps.open_sweep": {"store": stored},
    "sweeps.sweep_over": {
        "structure": lambda: {"rate": [0.1, 0.2]},
        "make_trial": lambda: lambda rate: lambda key: bare_trial(key, rate),
    },
    "sweeps.sweep": {"store": lambda: OMIT},
    "tape.count_operations": {"*0": lambda: jnp.ones(2)},
    "tape.tape": {"*0": lambda: jnp.ones(2)},
    "tape.vjp": {"*0": lambda: jnp.ones(2)},
    "gradcheck.check_gradient": {"*0": lambda: jnp.ones(2), "gradient": lambda: lambda w: 2 * w, "argnums": lambda: 0},
    "gradcheck.compare": {},
    "analysis.preconditioned_curvature": {"preconditioner": lambda: jax.tree.map(jnp.ones_like, PARAMS)},
    "analysis.preconditioner_of": {"state": lambda: adam().update(PARAMS, adam().init(PARAMS))[1]},
    "analysis.recording": {"at": lambda: [0, 1]},
    "audit.ledger_of_rules": {"rules": lambda: {"backprop": bp.rules.RULES["backprop"]}},
    "audit.ledger_table": {
        "rows": lambda: [bp.ledger(bp.backprop, NETWORK, bp.squared_error, PARAMS, (X, T), key=KEY)]
    },
    "tasks.task": {"name": lambda: "parity", "bits": lambda: 2},
    "tasks.encoder": {"n": lambda: 4, "hidden": lambda: 2},
    "tasks.spike_patterns": {"examples": lambda: 4, "inputs": lambda: 3, "steps": lambda: 5},
    "tasks.truth_table": {"function": lambda: lambda bits: bits},
    "theory.deep_linear_invariants": {"weights": lambda: [np.ones((3, 2)), np.ones((2, 1))]},
    "theory.lms_limit": {"inputs": lambda: np.ones((4, 2))},
    "theory.lms_weights": {
        "inputs": lambda: INPUTS,
        "start": lambda: jnp.zeros((2, 1)),
        "targets": lambda: jnp.ones((4, 1)),
    },
    "training.accuracy": {"data": lambda: (X, jnp.array([0, 1, 0, 1, 0])), "threshold": lambda: OMIT},
    "training.restart_unsolved": {"start": lambda: lambda key: NETWORK.init(key, (3,))[0]},
    "training.diverged": {"factor": lambda: 10.0},
    "training.run_to_end": {"run": lambda: training()[0].init(KEY, PARAMS, 2)},
    "training.stop_when": {"condition": lambda: lambda run: run.error < 0.1, "reason": lambda: "solved"},
    "training.time_limit": {"seconds": lambda: 10.0},
    "training.fit": {"on_chunk": lambda: OMIT},
    "interop.export_network": {"path": lambda: OMIT},
    "interop.from_function": {
        "init": lambda: lambda key, shape: (jnp.ones(shape), shape),
        "apply": lambda: lambda p, x: p * x,
    },
    "interop.from_linen": {"module": linen},
    "interop.from_nnx": {"module": nnx},
    "interop.from_stax": {"pair": lambda: (lambda key, shape: (shape, ()), lambda p, x: x)},
    "interop.save": {"path": lambda: Path(tempfile.mkdtemp()) / "w.safetensors", "metadata": lambda: {"epoch": 3}},
    "interop.to_equinox": {"params": lambda: bp.interop.from_equinox(equinox()).init(KEY, (3,))[0]},
    "interop.to_nnx": {"module": nnx, "params": lambda: bp.interop.from_nnx(nnx()).init(KEY, (3,))[0]},
    "interop.load": {"like": lambda: PARAMS},
    "util.compile_small_loops": {"threshold": lambda: 65_536},
    "util.cache_compilations": {"folder": lambda: Path(tempfile.mkdtemp())},
}
"""What a callable takes in place of, or beside, the values by parameter name."""


def public(room: str) -> dict[str, Any]:
    """The public names of a room, "layers.dense", with what they stand for."""
    module = importlib.import_module(f"bpjax.{room}")
    return {f"{room}.{name}": getattr(module, name) for name in getattr(module, "__all__", [])}


def is_record(thing) -> bool:
    """Whether it is a class: records hold what they are given; the functions that take them check it."""
    return inspect.isclass(thing)


def missing(room: str) -> list[str]:
    """The required parameters of a room's callables that have no valid value here, "layers.dense(features)"."""
    without = []
    for name, function in public(room).items():
        if not callable(function) or is_record(function) or hasattr(function, "_fields"):
            continue
        known = BY_PARAMETER | BY_CALLABLE.get(name, {})
        for parameter in inspect.signature(function).parameters.values():
            if parameter.default is parameter.empty and parameter.kind not in (2, 4) and parameter.name not in known:
                without.append(f"{name}({parameter.name})")
    return without


def valid_call(name: str, function) -> Call:
    """The valid call of a callable; a `LookupError` names the parameter that has no value yet."""
    special = BY_CALLABLE.get(name, {})
    arguments = {}
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        if parameter.name.startswith("_"):  # for other modules, not for users
            continue
        make = special.get(parameter.name, BY_PARAMETER.get(parameter.name))
        if parameter.name not in special and parameter.default is None:
            make = None  # an optional argument of which each callable has its own idea
        if make is not None and (value := make()) is not OMIT:
            arguments[parameter.name] = value
        elif parameter.default is not parameter.empty:
            if make is None:
                arguments[parameter.name] = parameter.default
        else:
            raise LookupError(f"`{name}` has no valid value for `{parameter.name}`: add one to scripts/fuzz_cases.py")
    extra = {parameter: make() for parameter, make in special.items() if parameter not in arguments}
    return Call(name, function, arguments | {k: v for k, v in extra.items() if v is not OMIT})


def calls(room: str) -> Iterator[Call]:
    """The valid calls of a room: its functions, and what they make."""
    for name, function in public(room).items():
        if callable(function) and not is_record(function) and not hasattr(function, "_fields"):
            yield valid_call(name, function)
