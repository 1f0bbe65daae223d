"""Spiking networks as graphs of NIR, the Neuromorphic Intermediate Representation, and back (Pedersen et al. 2024).

NIR describes neurons in continuous time, bpjax one time step. The two are related by a discretization; with R and w_in
as below the synapses and the membrane have gain 1 in both, and weights are equal:

                  τ of NIR            R and w_in of NIR
    "exact"       τ                   1 / (1 − β), 1 / (1 − α)     the solution for a constant input within a step
    "euler"       dt / (1 − β)        τ_NIR / dt                   snnTorch's export, with dt = 1e-4 s

    LIF      τ v̇ = v_leak − v + R I,  v := v_reset where v > v_threshold         leaky_integrate_and_fire, synapse 0
    CubaLIF  τ_syn İ = −I + w_in S, and the same v̇                                leaky_integrate_and_fire
    LI, CubaLI                        without a threshold                         leaky_integrator

The weights of a layer of neurons are a node `Linear`, or `Affine` with a bias, before the node of the neurons. Times
are written in the unit of `dt` times `time_unit`: with milliseconds and `time_unit=1e-3` NIR has seconds.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bpjax.interop.nir_graph import Stage, stages
from bpjax.layers.combinators.chain import chain
from bpjax.layers.layer import Layer, check_layer, placed_layers
from bpjax.layers.params import check_params
from bpjax.layers.recurrent.recurrent import unroll
from bpjax.layers.spiking.constants import NeuronSettings
from bpjax.layers.spiking.convention import Convention, as_convention
from bpjax.layers.spiking.integrator import leaky_integrator
from bpjax.layers.spiking.neuron import leaky_integrate_and_fire
from bpjax.layers.spiking.surrogates import superspike
from bpjax.util.checks import check_choice, check_number
from bpjax.util.extras import require_extra

DISCRETIZATIONS = ("exact", "euler")


def nir_package() -> Any:
    """The package nir, or a `ModuleNotFoundError` that says how to install it."""
    with require_extra("Graphs of spiking networks need the package nir", "nir"):
        import nir
    return nir


def to_nir(network: Layer, params, discretization: str = "exact", time_unit: float = 1.0):
    """A chain of spiking layers as a graph of NIR, which `nir.write(path, graph)` stores.

    Surrogate derivatives and the order of the updates are not part of NIR; `from_nir` takes them again. With the
    discretization "exact" and `time_unit=1`, `from_nir(to_nir(network, params))` has the same params and outputs, bit
    for bit, if no time constant is learnt.

    Args:
        network: A chain of `unroll(leaky_integrate_and_fire(...))` and `unroll(leaky_integrator(...))`, or one.
        params: Its params.
        discretization: "exact" or "euler".
        time_unit: Of the network's times, in the unit of the graph.

    Returns:
        A `nir.NIRGraph` with the nodes input, weights0, neurons0, (recurrent0,) weights1, ..., output. Its metadata
        hold dt in the unit of the graph and the discretization.

    Raises:
        ValueError: a layer is not made of such neurons, or has what NIR cannot say: a reset by subtraction, a
            refractory time, adaptation, neurons of different dt.
        ModuleNotFoundError: nir is not installed: `pip install 'bpjax[nir]'`.
    """
    check_layer("to_nir", network)
    check_choice("to_nir", "discretization", discretization, DISCRETIZATIONS)
    check_number("to_nir", "time_unit", time_unit, above=0.0)
    placed = placed_layers(network, params)
    dts = {float(_exportable(i, layer, p).neurons.dt) for i, (_, layer, p) in enumerate(placed)}
    if len(dts) > 1:
        raise ValueError(f"`to_nir` expected one `dt` for all layers, got {sorted(dts)}. Make the layers with one.")
    nir, nodes, edges, last = nir_package(), {}, [], "input"
    nodes["input"] = nir.Input(input_type={"input": np.array([placed[0].params.w.shape[0]])})
    for i, (_, layer, p) in enumerate(placed):
        weights, neurons = f"weights{i}", f"neurons{i}"
        w = np.asarray(p.w).T
        nodes[weights] = nir.Linear(w) if p.b is None else nir.Affine(w, np.asarray(p.b))
        nodes[neurons] = _neurons_node(nir, layer.settings, p, discretization, time_unit)
        edges += [(last, weights), (weights, neurons)]
        if getattr(p, "recurrent", None) is not None:
            nodes[f"recurrent{i}"] = nir.Linear(np.asarray(p.recurrent).T)
            edges += [(neurons, f"recurrent{i}"), (f"recurrent{i}", neurons)]
        last = neurons
    nodes["output"] = nir.Output(output_type={"output": np.array([placed[-1].params.w.shape[1]])})
    metadata = {"dt": dts.pop() * time_unit, "discretization": discretization, "made_by": "bpjax"}
    return nir.NIRGraph(nodes, [*edges, (last, "output")], metadata=metadata)


def from_nir(
    graph,
    dt: float | None = None,
    discretization: str | None = None,
    time_unit: float = 1.0,
    fire: Layer = superspike,
    convention: str | Convention = "snntorch zero",
) -> tuple[Layer, Any]:
    """A network and its params from a graph of NIR, as read by `nir.read(path)`.

    Where R and w_in of a node are not those of gain 1, the weights before it are multiplied by the gain, R (1 − β)
    (1 − α) w_in, so that the potentials are those of NIR.

    Args:
        graph: A `nir.NIRGraph`: Input, then `Linear` or `Affine` and `LIF`, `CubaLIF`, `LI` or `CubaLI` in turn, then
            Output. Recurrent weights are a `Linear` from the neurons to themselves, also as a subgraph, as snnTorch
            writes them.
        dt: The time step, in the unit of the network's times; by default that of the metadata of `to_nir`.
        discretization: "exact" or "euler"; by default that of the metadata, else "exact".
        time_unit: Of the network's times, in the unit of the graph.
        fire: The step function with its surrogate derivative, for all layers.
        convention: The reset and the order; NIR resets to a potential, so that the reset must be one to zero.

    Returns:
        (network, params), the network for x (N, T, D).

    Raises:
        ValueError: a node is not supported, its name is in the message; `v_leak` or `v_reset` is not 0; `dt` is not
            known, or too long for "euler".
        ModuleNotFoundError: nir is not installed: `pip install 'bpjax[nir]'`.
    """
    nir = nir_package()
    if not isinstance(graph, nir.NIRGraph):
        raise ValueError(f"`from_nir` expected a nir.NIRGraph, got {type(graph).__name__}. Read one: `nir.read(path)`.")
    check_number("from_nir", "time_unit", time_unit, above=0.0)
    check_layer("from_nir", fire)
    stored = {key: value.decode() if isinstance(value, bytes) else value for key, value in graph.metadata.items()}
    dt = float(stored["dt"]) / time_unit if dt is None and "dt" in stored else dt
    if dt is None:
        raise ValueError("`from_nir` expected `dt`, as the graph does not say it. Pass the duration of a time step.")
    check_number("from_nir", "dt", dt, above=0.0)
    kind = str(stored.get("discretization", "exact")) if discretization is None else discretization
    check_choice("from_nir", "discretization", kind, DISCRETIZATIONS)
    made = as_convention("from_nir", convention)
    if not made.reset.startswith("zero"):
        raise ValueError(f"`from_nir` expected a reset to zero, as NIR defines it, got {made.reset}.")
    parts = [_layer(stage, dt, kind, time_unit, fire, made) for stage in stages(nir, graph)]
    return chain(*(layer for layer, _ in parts)), tuple(params for _, params in parts)


def _exportable(index: int, layer: Layer, params) -> NeuronSettings:
    """The settings of a layer of neurons with its params, or a `ValueError` that says what NIR lacks."""
    settings = layer.settings
    if not isinstance(settings, NeuronSettings):
        raise ValueError(
            f"`to_nir` expected layers of spiking neurons or leaky integrators, got the layer {layer.name} at index "
            f"{index}. NIR holds it as no node of neurons."
        )
    lacks = {
        f"a reset to zero, got {settings.convention.reset}": settings.spiking
        and not settings.convention.reset.startswith("zero"),
        "no refractory time": settings.refractory_steps > 0,
        "no adaptation": settings.adaptive,
    }
    for what, missing in lacks.items():
        if missing:
            raise ValueError(
                f"`to_nir` expected {what} in the layer {layer.name} at index {index}: NIR has no such node."
            )
    check_params(f"`{layer.name}`", params, type(params), settings.shapes or {})
    return settings


def _neurons_node(nir, settings: NeuronSettings, params, discretization: str, time_unit: float):
    """The node of a layer of neurons."""
    shape, dtype, dt = (settings.features,), np.asarray(params.w).dtype, settings.neurons.dt
    given, logs = settings.neurons, {name: getattr(params, f"log_{name}", None) for name in ("membrane", "synapse")}
    taus = {name: np.exp(np.asarray(log)) if log is not None else getattr(given, name) for name, log in logs.items()}
    theta = getattr(params, "threshold", None)
    full = lambda value: np.broadcast_to(np.asarray(value, np.float64), shape).copy()
    tau_m, r = _to_continuous(full(taus["membrane"]), dt, discretization, time_unit)
    potential = {"r": r, "v_leak": np.zeros(shape)}
    if settings.spiking:
        level = full(given.threshold if theta is None else np.asarray(theta, dtype))
        potential |= {"v_threshold": level, "v_reset": np.zeros(shape)}
    synapse = full(taus["synapse"])
    if not synapse.any():
        return (nir.LIF if settings.spiking else nir.LI)(tau=tau_m, **potential)
    if not synapse.all():
        raise ValueError("`to_nir` expected `synapse` > 0 for all neurons of a layer, or 0 for all of them.")
    tau_s, w_in = _to_continuous(synapse, dt, discretization, time_unit)
    return (nir.CubaLIF if settings.spiking else nir.CubaLI)(tau_mem=tau_m, tau_syn=tau_s, w_in=w_in, **potential)


def _to_continuous(tau, dt: float, discretization: str, time_unit: float):
    """(τ, gain) of NIR for gain 1 of bpjax, from τ in the network's unit."""
    gain = 1 / (1 - np.exp(-dt / tau))
    return (tau if discretization == "exact" else dt * gain) * time_unit, gain


def _to_discrete(name: str, tau, dt: float, discretization: str, time_unit: float):
    """(τ, 1 − decay) of bpjax from τ of NIR; the inverse of `_to_continuous`."""
    tau = np.asarray(tau, np.float64) / time_unit
    if discretization == "exact":
        return tau, 1 - np.exp(-dt / tau)
    if not np.all(tau > dt):
        raise ValueError(
            f"`from_nir` expected time constants above dt = {dt:g} for the discretization 'euler', got "
            f"{tau.min():g} in node {name}. Choose a shorter `dt` or 'exact'."
        )
    return -dt / np.log1p(-dt / tau), dt / tau


def _layer(stage: Stage, dt: float, kind: str, time_unit: float, fire: Layer, convention: Convention):
    """(layer, params) of one node of weights and one of neurons."""
    node, name = stage.neurons, stage.name
    for field in ("v_leak", "v_reset"):
        if np.any(np.asarray(getattr(node, field, 0.0))):
            raise ValueError(f"`from_nir` expected `{field}` of 0 in node {name}, got {getattr(node, field)}.")
    cuba = hasattr(node, "tau_syn")
    tau, rest = _to_discrete(name, node.tau_mem if cuba else node.tau, dt, kind, time_unit)
    gain = _factor(node.r, rest)
    synapse = np.zeros_like(tau)
    if cuba:
        synapse, rest = _to_discrete(name, node.tau_syn, dt, kind, time_unit)
        gain = gain * _factor(node.w_in, rest)
    weights = {"w": stage.weights.T * gain, "recurrent": None if stage.recurrent is None else stage.recurrent.T * gain}
    if stage.bias is not None:
        weights["b"] = stage.bias * gain
    arrays = {key: None if a is None else jnp.asarray(a.astype(stage.weights.dtype)) for key, a in weights.items()}
    shared = {"membrane": _one(tau), "synapse": _one(synapse), "dt": dt, "use_bias": stage.bias is not None}
    features = len(stage.weights)
    if not hasattr(node, "v_threshold"):
        if stage.recurrent is not None:
            raise ValueError(f"`from_nir` expected no recurrent weights at node {name}, a leaky integrator.")
        cell = leaky_integrator(features, **shared, order=convention.order)
    else:
        recurrent = None if stage.recurrent is None else "orthogonal"
        cell = leaky_integrate_and_fire(
            features, **shared, threshold=_one(np.asarray(node.v_threshold, np.float64)), fire=fire,
            convention=convention, recurrent=recurrent,
        )  # fmt: skip
    like = jax.eval_shape(lambda: cell.init(jax.random.key(0), (stage.weights.shape[1],))[0])
    return unroll(cell), like._replace(**{key: value for key, value in arrays.items() if key in like._fields})


def _factor(gain, rest):
    """gain · rest, exactly 1 where the gain was written as 1 / rest."""
    gain = np.broadcast_to(np.asarray(gain, np.float64), np.shape(rest))
    return np.where(gain == 1 / rest, 1.0, gain * rest)


def _one(values):
    """One number where all neurons have the same, else the array."""
    return float(values[0]) if np.all(values == values[0]) else values
