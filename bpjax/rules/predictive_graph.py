"""Predictive coding on graphs: nodes predict each other along any edges, cycles included."""

import jax
import jax.numpy as jnp

from bpjax.layers.combinators.chain import chain
from bpjax.layers.graph import INPUT, Graph, Node, predictions, settle
from bpjax.layers.layer import Kind, Layer
from bpjax.losses import Loss
from bpjax.rules.rule import Rule, call_of, check_made_of
from bpjax.rules.units import check_units, merge_units, units
from bpjax.types import Array
from bpjax.util.checks import check_count, check_number


def graph_predictive_coding(
    network: Layer,
    loss: Loss,
    steps: int = 20,
    rate: float | Array = 0.1,
    output_variance: float | Array = 1.0,
    tolerance: float | Array = 0.0,
) -> Rule:
    """Inference relaxes the values of a graph's nodes, then every node learns to predict its value.

        prediction error   e_i = v_i − f_i(v_sources)         of every node but the output,   e_out = −(∂E/∂o) / Σ
        energy             F = ½ Σ_i ‖e_i‖² + E(f_out(v_sources), t) / Σ
        inference          v_j ← v_j − γ ∂F/∂v_j = v_j + γ (−e_j + Σ_i (∂f_i/∂v_j)ᵀ e_i)       all nodes at once
        update             ΔW_i ∝ −∂F/∂W_i = (∂f_i/∂W_i)ᵀ e_i

    Values start at those of the network's forward pass, a fixed point where F has no part but the loss. On a graph
    without cycles it is `predictive_coding`, strict. With cycles, at equilibrium, the direction tends to the gradient
    of the fixed point by the implicit function theorem, dy (I − ∂f/∂v)⁻¹ ∂f/∂W, as Σ grows; the relative difference
    falls as 1/Σ. No pass through time and no inverse is needed: errors travel along the edges while values settle.

    Salvatori, Pinchetti, Millidge, Song, Bao, Bogacz & Lukasiewicz 2022 ("Learning on arbitrary graph topologies via
    predictive coding"), from memory, not read. Deviation: the output is clamped to the target through the loss, and no
    node reads it. Cost: a forward and a backward pass of every node for each step.

    Args:
        network: made by `bp.layers.graph`, its output node a source of no other; or a chain, the graph of a line.
        loss: the loss of its output; the rule's value is that of the forward pass.
        steps: of inference, at most.
        rate: step size γ.
        output_variance: Σ; the direction is Σ ∂F/∂W, in units of the loss.
        tolerance: inference stops when no ∂F/∂v is larger; 0 for a fixed number of steps.

    Raises:
        ValueError: `network` is not a Layer or `loss` not a Loss, a node reads the output; `steps` is not an integer
            above 0, `rate` or `output_variance` not above 0, `tolerance` negative; in `init`, the network has no
            parameters or the params belong to another network.
    """
    who = "graph_predictive_coding"
    check_made_of(who, network, loss)
    check_count(who, "steps", steps)
    check_number(who, "rate", rate, above=0.0)
    check_number(who, "output_variance", output_variance, above=0.0)
    check_number(who, "tolerance", tolerance, least=0.0)
    if network.kind is Kind.GRAPH and any(network.made_from.output in node.sources for node in network.made_from.nodes):
        raise ValueError(
            f"`{who}` expected an output node that no node reads, got {network.made_from.output!r}. Add a node that "
            "reads it and is the output."
        )

    def init(key, params):
        check_units(who, network, params)
        return ()

    def grads(params, rule_state, batch):
        x, target = batch
        structure, by_node = _structure(network, params)
        values = dict(_values(network, structure, by_node, x))
        output = values.pop(structure.output)

        def relax(at):
            step, values, _ = at
            _, gradient = back(structure, by_node, x, values, target)
            values = {name: v - jnp.asarray(rate, v.dtype) * gradient[name] for name, v in values.items()}
            return step + 1, values, jnp.max(jnp.stack([jnp.max(jnp.abs(g)) for g in gradient.values()]))

        if values:
            start = jnp.asarray(0, jnp.int32), values, jnp.asarray(jnp.inf, output.dtype)
            _, values, _ = _repeat(relax, start, steps, tolerance)
        dparams, _ = back(structure, by_node, x, values, target)
        dparams = jax.tree.map(lambda g: g * jnp.asarray(output_variance, g.dtype), dparams)
        return loss.value(output, target), merge_units(params, dparams), rule_state

    def back(structure, params, x, values, target):
        """∂F/∂W of every node and ∂F/∂v of every hidden node."""
        found, residuals = predictions(structure, params, {**values, INPUT: x})
        widths = {name: v.shape[-1] for name, v in found.items()} | {INPUT: x.shape[-1]}
        gradient = {name: v - found[name] for name, v in values.items()}
        dparams = []
        for name, node, own, stored in zip(structure.names, structure.nodes, params, residuals, strict=True):
            if name == structure.output:
                top = loss.gradient(found[name], target)
                error = top / jnp.asarray(output_variance, top.dtype)
            else:
                error = found[name] - values[name]
            dnode, dinput = node.layer.backward(own, stored, error)
            dparams.append(dnode)
            for source, part in structure.by_source(node, dinput, widths):
                if source in gradient:
                    gradient[source] = gradient[source] + part
        return dparams, gradient

    return Rule("predictive coding on a graph", init, grads, network, loss, call_of(who, network, loss))


def _structure(network: Layer, params) -> tuple[Graph, list]:
    """The graph and the params of each node; the layers of units of a chain are the nodes of a line."""
    if network.kind is Kind.GRAPH:
        return network.made_from, list(params)
    layers = units(network, params)
    names = tuple(map(str, range(len(layers))))
    before = (INPUT, *names)
    nodes = tuple(
        Node((source,), chain(unit.net, unit.activation), 0) for source, unit in zip(before, layers, strict=False)
    )
    return Graph(names, nodes, names[-1], len(layers)), [unit.params for unit in layers]


def _values(network: Layer, structure: Graph, params: list, x) -> dict[str, Array]:
    """The values of all nodes after the forward pass."""
    if network.kind is Kind.GRAPH:
        return settle(structure, params, x)[0]
    values = {}
    for name, node, own in zip(structure.names, structure.nodes, params, strict=True):
        x = values[name] = node.layer.forward(own, x)[0]
    return values


def _repeat(relax, start, steps: int, tolerance):
    """`relax` repeated `steps` times, or until its last result is at most `tolerance`."""
    if isinstance(tolerance, float | int) and tolerance == 0:
        return jax.lax.fori_loop(0, steps, lambda _, at: relax(at), start)
    return jax.lax.while_loop(lambda at: (at[0] < steps) & (at[2] > tolerance), relax, start)
