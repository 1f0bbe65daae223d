"""A jaxpr as one list of steps: calls are opened, repeated operations are shared, unused ones are left out."""

from collections import Counter
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core

from bpjax.sweeps.lanes.llvm.dtypes import Unsupported
from bpjax.util.jaxprs import CALL_JAXPR, opened, subjaxprs

SAME = {"copy", "copy_p", "stop_gradient", "optimization_barrier"}
"""Primitives that return their inputs."""


class Node:
    """A value: an input, a constant, or a result of a step."""

    def __init__(self, value: Any = None):
        """A node; `value` is that of a constant."""
        self.value = value


class Step(NamedTuple):
    """An equation with its inputs and results as nodes."""

    equation: Any
    inputs: list[Node]
    outputs: list[Node]


class Flat(NamedTuple):
    """The steps of a jaxpr."""

    inputs: list[Node]
    steps: list[Step]
    outputs: list[Node]
    reads: Counter  # of each node, by steps and as a result


def flatten(equations, inputs, outputs) -> Flat:
    """The steps of equations.

    Args:
        equations: of a jaxpr, in order.
        inputs: its variables, constants included.
        outputs: the variables and literals that are wanted.
    """
    walk, nodes = Walk(), [Node() for _ in inputs]
    results = walk.outputs_of(equations, dict(zip(inputs, nodes, strict=True)), outputs)
    return live(nodes, walk.steps, results)


def flatten_jaxpr(jaxpr) -> Flat:
    """The steps of a jaxpr; the inputs are its constants and arguments, or only those if it is closed."""
    if hasattr(jaxpr, "consts") and len(jaxpr.consts):
        walk, inner = Walk(), opened(jaxpr)
        nodes = [Node() for _ in inner.invars]
        known = dict(zip(inner.constvars, map(walk.constant, jaxpr.consts), strict=True))
        results = walk.outputs_of(inner.eqns, known | dict(zip(inner.invars, nodes, strict=True)), inner.outvars)
        return live(nodes, walk.steps, results)
    inner = opened(jaxpr)
    return flatten(inner.eqns, (*inner.constvars, *inner.invars), inner.outvars)


class Walk:
    """The state of a walk over a jaxpr."""

    def __init__(self):
        """Nothing seen yet."""
        self.steps: list[Step] = []
        self.seen: dict = {}
        self.constants: dict = {}

    def constant(self, value) -> Node:
        """The node of a constant, the same for equal numbers."""
        if jnp.issubdtype(getattr(value, "dtype", None) or float, jax.dtypes.prng_key):
            raise Unsupported("a constant key")
        array = np.asarray(value)
        if array.ndim:
            return Node(array)
        key = str(array.dtype), array.tobytes()
        return self.constants.setdefault(key, Node(array))

    def outputs_of(self, equations, nodes: dict, outputs) -> list[Node]:
        """Add the steps of equations; the nodes of their results.

        Args:
            equations: of a jaxpr, in order.
            nodes: of each variable that is known before; it grows.
            outputs: the variables and literals that are wanted.
        """

        def node_of(atom: Any) -> Node:
            if isinstance(atom, core.Literal):
                aval: Any = atom.aval
                return self.constant(np.asarray(atom.val, aval.dtype))
            return nodes[atom]

        for equation in equations:
            results = self.results(equation, [node_of(atom) for atom in equation.invars])
            nodes.update(zip(equation.outvars, results, strict=True))
        return [node_of(atom) for atom in outputs]

    def results(self, equation, inputs: list[Node]) -> list[Node]:
        """The nodes of the results of an equation."""
        name = equation.primitive.name
        if name in CALL_JAXPR:
            inner = equation.params[CALL_JAXPR[name]]
            constants = [self.constant(value) for value in getattr(inner, "consts", ())]
            inner = opened(inner)
            nodes = dict(zip((*inner.constvars, *inner.invars), [*constants, *inputs], strict=True))
            return self.outputs_of(inner.eqns, nodes, inner.outvars)
        if name in SAME:
            return inputs
        if name == "select_n" and len(set(map(id, inputs[1:]))) == 1:
            return inputs[1:2]
        outputs = [Node() for _ in equation.outvars]
        if not subjaxprs(equation):
            key = name, str(equation.params), str(equation.outvars[0].aval), tuple(map(id, inputs))
            if key in self.seen:
                return self.seen[key]
            self.seen[key] = outputs
        self.steps.append(Step(equation, inputs, outputs))
        return outputs


def live(inputs: list[Node], steps: list[Step], outputs: list[Node]) -> Flat:
    """Only the steps that the results depend on."""
    reads, kept = Counter(map(id, outputs)), []
    for step in reversed(steps):
        if any(id(node) in reads for node in step.outputs):
            reads.update(map(id, step.inputs))
            kept.append(step)
    return Flat(inputs, kept[::-1], outputs, reads)
