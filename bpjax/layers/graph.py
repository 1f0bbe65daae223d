"""A network of nodes and edges, cycles included, that settles into a fixed point."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from bpjax.layers.combinators.chain import add_trees, alike, check_length
from bpjax.layers.layer import Kind, Layer, Parts, check_in_shape, check_layer, uses_of
from bpjax.types import Array
from bpjax.util.call_text import shown
from bpjax.util.checks import check_count
from bpjax.util.precision import widen

INPUT = "input"
"""The name of the node that holds the data."""


class Node(NamedTuple):
    """One node of a graph: its value v (N, H) is predicted from the concatenated values of its sources."""

    sources: tuple[str, ...]
    """Names of nodes; "input" is the data."""
    layer: Layer
    """f, from the sources' features to `features`."""
    features: int
    """H."""


class Graph(NamedTuple):
    """The nodes of a network in the order of its params, and which of them is its output."""

    names: tuple[str, ...]
    nodes: tuple[Node, ...]
    output: str
    steps: int
    """How often the values are updated in the forward pass."""

    def inputs_of(self, node: Node, values: Mapping[str, Array]) -> Array:
        """The values of the node's sources, concatenated (N, D)."""
        return jnp.concatenate([values[source] for source in node.sources], axis=-1)

    def by_source(self, node: Node, dinput: Array, widths: Mapping[str, int]) -> list[tuple[str, Array]]:
        """The cotangent of a node's input, divided among its sources."""
        ends = [sum(widths[s] for s in node.sources[: i + 1]) for i in range(len(node.sources))]
        return list(zip(node.sources, jnp.split(dinput, ends[:-1], axis=-1), strict=True))


def graph(nodes: Mapping[str, Node], output: str, steps: int = 30) -> Layer:
    """Nodes that predict each other, x (N, D) to the value y (N, H) of the output node.

    forward    v_i ← f_i(v_sources) of all nodes at once, `steps` times, from v = 0;   v_input = x,   y = v_output
    backward   λ_output = dy;  in reverse order  dparams_i += (∂f_i/∂params)ᵀ λ_i,   λ_j ← Σ_i (∂f_i/∂v_j)ᵀ λ_i

    A graph without cycles is exact once `steps` is at least its depth; `chain` is the graph of a line. With cycles the
    values approach a fixed point v = f(v) where f contracts, and the gradient that of the fixed point,
    dy (I − ∂f/∂v)⁻¹ ∂f/∂params. `bp.rules.graph_predictive_coding` learns such networks from local errors.

    Params are a tuple with one entry per node. Residuals: x, and those of every node's layer at all steps.

    Args:
        nodes: by name, `Node(sources, layer, features)`.
        output: the name of the output node.
        steps: of the iteration.

    Raises:
        ValueError: there is no node, a source or the output is unknown, a node has no source, a layer is not a Layer or
            uses a context; in `init`, a layer does not give `features`.
    """
    who = "graph"
    structure = _checked(who, nodes, output, check_count(who, "steps", steps))
    layers = tuple(node.layer for node in structure.nodes)

    def init(key, in_shape):
        widths = _widths(structure, check_in_shape(who, in_shape, rank=1)[0])
        params = []
        for name, node, node_key in zip(
            structure.names, structure.nodes, jax.random.split(key, len(layers)), strict=True
        ):
            own, out_shape = node.layer.init(node_key, (sum(widths[s] for s in node.sources),))
            if out_shape != (node.features,):
                raise ValueError(
                    f"`{who}` expected the layer of the node {name!r} to have {node.features} features, got "
                    f"{out_shape}. Make both the same."
                )
            params.append(own)
        return tuple(params), (widths[structure.output],)

    def forward(params, x):
        check_length(who, layers, params)
        values, residuals = settle(structure, params, x)
        return values[structure.output], (x, residuals)

    def backward(params, residuals, dy):
        check_length(who, layers, params)
        x, stacked = residuals
        widths = _widths(structure, x.shape[-1])
        zeros = {name: jnp.zeros((len(x), widths[name]), dy.dtype) for name in (*structure.names, INPUT)}

        def step(carry, residuals):
            errors, dparams, dx = carry
            found = [node.layer.backward(*own) for node, *own in zip(
                structure.nodes, params, residuals, [errors[name] for name in structure.names], strict=True
            )]  # fmt: skip
            dparams = jax.tree.map(lambda total, d: total + widen(d), dparams, tuple(own for own, _ in found))
            before = {**zeros}
            for node, (_, dinput) in zip(structure.nodes, found, strict=True):
                for source, part in structure.by_source(node, dinput, widths):
                    before[source] = add_trees(before[source], part)
            dx = dx + widen(before.pop(INPUT))
            return (before, dparams, dx), None

        errors = {name: zeros[name] for name in structure.names} | {structure.output: dy}
        start = errors, jax.tree.map(lambda p: jnp.zeros_like(widen(p)), tuple(params)), widen(zeros[INPUT])
        (_, dparams, dx), _ = jax.lax.scan(step, start, stacked, reverse=True)
        return alike(params, jax.tree.map(lambda d, p: d.astype(p.dtype), dparams, tuple(params))), dx.astype(x.dtype)

    def rebuild(*layers):
        changed = zip(structure.names, structure.nodes, layers, strict=True)
        return graph({name: node._replace(layer=layer) for name, node, layer in changed}, output, steps)

    parts, arguments = Parts(layers, rebuild), f"{{parts}}, output={output!r}, steps={steps}"
    return Layer(who, init, forward, backward, Kind.GRAPH, parts, arguments, uses_of(layers), made_from=structure)


def settle(structure: Graph, params, x: Array) -> tuple[dict[str, Array], tuple]:
    """The values of all nodes after the iteration of the forward pass, and the residuals of all steps."""
    widths = _widths(structure, x.shape[-1])
    start = {name: jnp.zeros((len(x), widths[name]), x.dtype) for name in structure.names}
    step = lambda values, _: predictions(structure, params, {**values, INPUT: x})
    return jax.lax.scan(step, start, None, length=structure.steps)


def predictions(structure: Graph, params, values: Mapping[str, Array]) -> tuple[dict[str, Array], tuple]:
    """f_i(v_sources) of every node, and the residuals of every node's layer."""
    found, residuals = {}, []
    for name, node, own in zip(structure.names, structure.nodes, params, strict=True):
        found[name], stored = node.layer.forward(own, structure.inputs_of(node, values))
        residuals.append(stored)
    return found, tuple(residuals)


def _widths(structure: Graph, inputs: int) -> dict[str, int]:
    return {name: node.features for name, node in zip(structure.names, structure.nodes, strict=True)} | {INPUT: inputs}


def _checked(who: str, nodes: Any, output: Any, steps: int) -> Graph:
    """The graph, or a `ValueError`."""
    if not isinstance(nodes, Mapping) or not nodes or not all(isinstance(node, Node) for node in nodes.values()):
        raise ValueError(
            f"`{who}` expected `nodes` to be a dict of nodes by name, got {shown(nodes)}. For example "
            "{'y': bp.layers.Node(('input',), bp.dense(2), 2)}."
        )
    if INPUT in nodes or not all(isinstance(name, str) for name in nodes):
        raise ValueError(
            f"`{who}` expected names other than 'input', which is the data, got {sorted(map(str, nodes))}."
        )
    for name, node in nodes.items():
        check_layer(who, node.layer)
        check_count(who, f"features of {name}", node.features)
        unknown = [source for source in node.sources if source != INPUT and source not in nodes]
        if unknown or not node.sources or node.layer.uses:
            raise ValueError(
                f"`{who}` expected the node {name!r} to have known sources and a layer without a context, got "
                f"{node.sources} and {node.layer!r}."
            )
    if output not in nodes:
        raise ValueError(f"`{who}` expected `output` to be one of {', '.join(nodes)}, got {shown(output)}.")
    return Graph(tuple(nodes), tuple(nodes.values()), output, steps)
