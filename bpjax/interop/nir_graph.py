"""The order of the nodes of a NIR graph: weights and neurons in turn, with recurrent weights beside the neurons."""

from typing import Any, NamedTuple

import numpy as np


class Stage(NamedTuple):
    """One layer: a node of weights and a node of neurons."""

    name: str  # of the node of neurons
    weights: np.ndarray  # (H, D), as NIR has them
    bias: np.ndarray | None  # (H,)
    neurons: Any
    recurrent: np.ndarray | None  # (H, H)


def stages(nir, graph) -> list[Stage]:
    """The layers of a graph in order.

    Args:
        nir: The package.
        graph: A `nir.NIRGraph`.

    Raises:
        ValueError: a node is not supported, or the graph is not one chain; the node's name is in the message.
    """
    nodes, edges = flattened(nir, graph.nodes, graph.edges)
    neurons = (nir.LIF, nir.CubaLIF, nir.LI, nir.CubaLI)
    for name, node in nodes.items():
        if not isinstance(node, (*neurons, nir.Linear, nir.Affine, nir.Input, nir.Output)):
            raise ValueError(
                f"`from_nir` has no layer for node {name} of type {type(node).__name__}. It reads Linear, Affine, LIF, "
                "CubaLIF, LI and CubaLI."
            )
    loops = {b: b_to for b in nodes for b_to in [_loop(nodes, edges, b, neurons)] if b_to}
    forward = [(a, b) for a, b in edges if a not in loops.values() and b not in loops.values()]
    order = _path(nodes, forward, nir)
    if len(order) % 2:
        raise ValueError(
            f"`from_nir` expected weights and neurons in turn, got {', '.join(order)}. Put a Linear node before each "
            "node of neurons."
        )
    found = []
    for weights, cell in zip(order[::2], order[1::2], strict=True):
        linear, node = nodes[weights], nodes[cell]
        if not isinstance(linear, nir.Linear | nir.Affine) or not isinstance(node, neurons):
            wrong = cell if isinstance(linear, nir.Linear | nir.Affine) else weights
            raise ValueError(
                f"`from_nir` expected weights and neurons in turn, got node {wrong} of type "
                f"{type(nodes[wrong]).__name__} in the place of the other. Put a Linear before each node of neurons."
            )
        back = None if cell not in loops else np.asarray(nodes[loops[cell]].weight)
        bias = np.asarray(linear.bias) if isinstance(linear, nir.Affine) else None
        found.append(Stage(cell, np.asarray(linear.weight), bias, node, back))
    return found


def flattened(nir, nodes, edges, prefix: str = ""):
    """Nodes and edges with the nodes of subgraphs in their place, named `subgraph.node`."""
    flat, inputs, outputs, inner = {}, {}, {}, []
    for name, node in nodes.items():
        full = prefix + name
        if not isinstance(node, nir.NIRGraph):
            flat[full] = node
            continue
        below, links = flattened(nir, node.nodes, node.edges, f"{full}.")
        ends = {key for key, value in below.items() if isinstance(value, nir.Input | nir.Output)}
        inputs[full] = [b for a, b in links if a in ends and isinstance(below[a], nir.Input)]
        outputs[full] = [a for a, b in links if b in ends and isinstance(below[b], nir.Output)]
        flat |= {key: value for key, value in below.items() if key not in ends}
        inner += [(a, b) for a, b in links if a not in ends and b not in ends]
    outer = [
        (start, end)
        for a, b in edges
        for start in outputs.get(prefix + a, [prefix + a])
        for end in inputs.get(prefix + b, [prefix + b])
    ]
    return flat, [*outer, *inner]


def _loop(nodes, edges, name: str, neurons) -> str | None:
    """The node of weights from these neurons to themselves."""
    if not isinstance(nodes[name], neurons):
        return None
    after = {b for a, b in edges if a == name}
    return next((b for b, end in edges if end == name and b in after and hasattr(nodes[b], "weight")), None)


def _path(nodes, edges, nir) -> list[str]:
    """The names from the input to the output, both left out."""
    starts = [name for name, node in nodes.items() if isinstance(node, nir.Input)]
    if len(starts) != 1:
        raise ValueError(f"`from_nir` expected one Input node, got {len(starts)}: {', '.join(starts)}.")
    at, path = starts[0], []
    while True:
        after = sorted({b for a, b in edges if a == at})
        if len(after) != 1 or after[0] in path:
            raise ValueError(
                f"`from_nir` expected one chain of nodes, got {len(after)} edges from node {at}"
                f"{': ' + ', '.join(after) if after else ''}."
            )
        at = after[0]
        if isinstance(nodes[at], nir.Output):
            return path
        path.append(at)
