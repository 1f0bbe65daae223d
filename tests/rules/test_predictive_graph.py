"""Predictive coding on graphs: a line is predictive coding, a cycle is the gradient of its fixed point."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import relative_error
from passes import quick_jit

import bpjax as bp
from bpjax.layers import Node, graph
from bpjax.rules.predictive import predictive_coding
from bpjax.rules.predictive_graph import graph_predictive_coding

KEY = jax.random.key(3)
X, T = jax.random.normal(KEY, (4, 3)), jax.random.normal(jax.random.key(4), (4, 2))
UNIT = lambda n: bp.chain(bp.dense(n), bp.tanh)
LINE = graph({"h": Node(("input",), UNIT(4), 4), "k": Node(("h",), UNIT(3), 3), "y": Node(("k",), bp.dense(2), 2)}, "y")
CYCLE = graph(
    {
        "h": Node(("input", "k"), UNIT(4), 4),
        "k": Node(("h", "k"), UNIT(3), 3),  # also an edge from a node to itself
        "y": Node(("k", "input"), bp.dense(2), 2),
    },
    "y",
    steps=80,
)


def made(network, scale=1.0):
    params, _ = network.init(KEY, (3,))
    return jax.tree.map(lambda w: scale * w, params)


def direction(rule, params):
    return quick_jit(rule.grads)(params, (), (X, T))[1]


def error(found, exact):
    return relative_error(jax.tree.leaves(found), jax.tree.leaves(exact))


def test_a_graph_without_cycles_is_its_chain_and_predictive_coding():
    network = bp.chain(bp.dense(4), bp.tanh, bp.dense(3), bp.tanh, bp.dense(2))
    params, _ = network.init(KEY, (3,))
    by_node = (params[:2], params[2:4], params[4])
    y, _ = LINE.forward(by_node, X)
    np.testing.assert_allclose(y, network.forward(params, X)[0], rtol=1e-14)
    exact = quick_jit(bp.backprop(network, bp.squared_error).grads)(params, (), (X, T))[1]
    assert error(direction(bp.backprop(LINE, bp.squared_error), by_node), exact) < 1e-14
    strict = direction(predictive_coding(network, bp.squared_error, "strict", 9, 0.2, 2.0), params)
    for net, own in ((LINE, by_node), (network, params)):
        found = direction(graph_predictive_coding(net, bp.squared_error, 9, 0.2, 2.0), own)
        assert error(found, strict) < 1e-14


@pytest.mark.thorough
def test_backward_of_a_cycle_is_the_vjp_of_forward():
    layer, params = (
        graph(dict(zip(CYCLE.made_from.names, CYCLE.made_from.nodes, strict=True)), "y", steps=3),
        made(CYCLE),
    )

    @quick_jit
    def both(params, x, dy):
        y, vjp = jax.vjp(lambda p, x: layer.forward(p, x)[0], params, x)
        return layer.backward(params, layer.forward(params, x)[1], dy), vjp(dy)

    found, exact = both(params, X, T)
    assert relative_error(found, exact) < 1e-13


def implicit_gradient(params):
    """dy (I − ∂f/∂v)⁻¹ ∂f/∂params at the fixed point of each example, in NumPy from the Jacobians."""

    def f(params, v, x):
        h, k = jnp.tanh(jnp.concatenate([x, v[4:7]]) @ params[0][0].w + params[0][0].b), v[4:7]
        k = jnp.tanh(jnp.concatenate([v[:4], k]) @ params[1][0].w + params[1][0].b)
        return jnp.concatenate([h, k, jnp.concatenate([v[4:7], x]) @ params[2].w + params[2].b])

    @quick_jit
    def settled(x):
        return jax.lax.fori_loop(0, 400, lambda _, v: f(params, v, x), jnp.zeros(9))

    jacobians = quick_jit(lambda v, x: (jax.jacobian(f, 1)(params, v, x), jax.jacobian(f, 0)(params, v, x)))
    total = jax.tree.map(lambda w: np.zeros(w.shape), params)
    for x, t in zip(X, T, strict=True):
        v = settled(x)
        by_value, by_params = jacobians(v, x)
        dy = np.concatenate([np.zeros(7), v[7:] - t])
        adjoint = np.linalg.solve(np.eye(9) - np.asarray(by_value).T, dy)
        total = jax.tree.map(
            lambda s, j, adjoint=adjoint: s + np.tensordot(adjoint, np.asarray(j), 1), total, by_params
        )
    return total


@pytest.mark.thorough
def test_a_cycle_learns_along_the_gradient_of_its_fixed_point():
    params = made(CYCLE, 0.7)
    truth = implicit_gradient(params)
    assert relative_error(direction(bp.backprop(CYCLE, bp.squared_error), params), truth) < 1e-7  # 80 steps, unfolded
    errors = []
    for variance in (1e3, 1e5):
        rule = graph_predictive_coding(CYCLE, bp.squared_error, 600, 0.3, variance)
        errors.append(relative_error(direction(rule, params), truth))
    assert errors[1] < 1e-4 and errors[0] / errors[1] == pytest.approx(100, rel=0.1)  # falls as 1/Σ


def test_inference_stops_at_the_tolerance():
    params = made(CYCLE, 0.7)
    by = lambda **options: direction(graph_predictive_coding(CYCLE, bp.squared_error, rate=0.3, **options), params)
    settled = by(steps=500)
    assert relative_error(by(steps=500, tolerance=1e-9), settled) < 1e-7
    early = relative_error(by(steps=500, tolerance=1e-2), settled)
    assert 1e-6 < early < 0.3


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: graph({}, "y"), "a dict of nodes by name"),
        (lambda: graph({"y": Node(("z",), bp.dense(2), 2)}, "y"), "node 'y' to have known sources"),
        (lambda: graph({"y": Node(("input",), bp.dense(2), 2)}, "z"), "`output` to be one of y, got"),
        (lambda: graph({"input": Node(("input",), bp.dense(2), 2)}, "input"), "names other than 'input'"),
        (lambda: graph({"y": Node(("input",), bp.dense(2), 3)}, "y").init(KEY, (3,)), "'y' to have 3 features, got"),
        (lambda: graph({"y": Node(("input", "y"), bp.dense(2), 2)}, "y", steps=0), "`steps`.*≥ 1"),
        (
            lambda: graph_predictive_coding(graph({"y": Node(("input", "y"), bp.dense(2), 2)}, "y"), bp.squared_error),
            "an output node that no node reads",
        ),
        (lambda: graph_predictive_coding(LINE, bp.squared_error, tolerance=-1.0), "`tolerance`.*≥ 0"),
    ],
)  # fmt: skip
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
