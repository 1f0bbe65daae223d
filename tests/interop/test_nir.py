"""Spiking networks to NIR and back: the same bits, the same equation, and what NIR cannot say."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import relative_error

import bpjax as bp
from bpjax.interop import from_nir, to_nir
from bpjax.layers import Adaptation, leaky_integrate_and_fire, leaky_integrator, unroll

nir = pytest.importorskip("nir")


def network():
    taus = np.array([4.0, 7.0, 11.0])
    options = {"convention": "snntorch zero", "dt": 0.5}
    return bp.chain(
        unroll(leaky_integrate_and_fire(3, taus, 3.0, threshold=taus / 9, recurrent="lecun", use_bias=True, **options)),
        unroll(leaky_integrate_and_fire(4, 6.0, 0.0, threshold=0.3, **options)),
        unroll(leaky_integrator(2, 9.0, 5.0, 0.5, order="current-potential-spike")),
    )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_round_trip_through_a_file_is_equal_to_the_bit(dtype, keys, tmp_path):
    net = network()
    params = bp.util.cast(jax.tree.map(lambda w: 2 * w + 0.1, net.init(next(keys), (20, 5))[0]), dtype)
    nir.write(tmp_path / "net.nir", to_nir(net, params))
    again, params_again = from_nir(nir.read(tmp_path / "net.nir"))
    assert jax.tree.structure(params) == jax.tree.structure(params_again)
    pairs = zip(jax.tree.leaves(params), jax.tree.leaves(params_again), strict=True)
    assert all(a.dtype == b.dtype and (a == b).all() for a, b in pairs)
    x = jax.random.normal(next(keys), (3, 20, 5)).astype(dtype)
    y, y_again = (jax.jit(n.forward)(p, x)[0] for n, p in ((net, params), (again, params_again)))
    assert (y == y_again).all() and y.any()


def test_the_nodes_by_hand(keys):
    """τ = 10, dt = 1: R = 1 / (1 − e^(−0.1)) = 10.508; by Euler τ = R dt, as v′ = v + dt/τ (R I − v) has gain 1."""
    net = unroll(leaky_integrate_and_fire(2, 10.0, 5.0, convention="snntorch zero"))
    params = net.init(next(keys), (7, 3))[0]
    node = to_nir(net, params).nodes["neurons0"]
    np.testing.assert_allclose(node.tau_mem, 10.0, rtol=0)
    np.testing.assert_allclose(node.r, 1 / (1 - math.exp(-0.1)), rtol=1e-15)
    np.testing.assert_allclose(node.w_in, 1 / (1 - math.exp(-0.2)), rtol=1e-15)
    assert (node.v_threshold == 1).all() and (node.v_reset == 0).all()
    euler = to_nir(net, params, "euler", 1e-3)
    np.testing.assert_allclose(euler.nodes["neurons0"].tau_mem, 1e-3 / (1 - math.exp(-0.1)), rtol=1e-14)
    back = from_nir(euler, time_unit=1e-3)[0].layers[0].settings.neurons
    assert back.membrane == pytest.approx(10, rel=1e-13) and back.synapse == pytest.approx(5, rel=1e-13)
    assert back.dt == pytest.approx(1.0, rel=1e-15)


def test_a_graph_of_another_program_has_its_equation():
    """snnTorch's RLeaky as a subgraph; LIF with R = 2: potentials by an Euler loop of NIR's equation."""
    w, v, tau, r, dt = np.array([[0.9, -0.3], [0.4, 1.1]]), np.array([[0.2, -0.5], [0.3, 0.1]]), 8.0, 2.0, 0.5
    two = lambda value: np.full(2, value)
    lif = nir.LIF(tau=two(tau), r=two(r), v_leak=two(0.0), v_threshold=two(0.15))
    inner = {"input": nir.Input(np.array([2])), "lif": lif, "w_rec": nir.Linear(v), "output": nir.Output(np.array([2]))}
    cycle = [("input", "lif"), ("lif", "w_rec"), ("w_rec", "lif"), ("lif", "output")]
    nodes = {
        "in": nir.Input(np.array([2])), "fc": nir.Affine(w, two(0.05)), "rlif": nir.NIRGraph(inner, cycle),
        "out": nir.Output(np.array([2])),
    }  # fmt: skip
    graph = nir.NIRGraph(nodes, [("in", "fc"), ("fc", "rlif"), ("rlif", "out")])
    net, params = from_nir(graph, dt, "euler")
    x = np.random.default_rng(0).normal(0.5, 1, (1, 40, 2))
    y = net.forward(params, x)[0][0]
    u, z, expected = np.zeros(2), np.zeros(2), []
    for t in range(40):
        u = np.where(z > 0, 0, u)  # v := v_reset
        u = u + dt / tau * (r * (w @ x[0, t] + 0.05 + v @ z) - u)
        z = (u > 0.15).astype(float)
        expected.append(z)
    assert (y == np.array(expected)).all() and 5 < y.sum() < 75


def lone(node, name="odd"):
    edges = [("input", "fc"), ("fc", name), (name, "output")]
    ends = {"input": nir.Input(np.array([2])), "output": nir.Output(np.array([2]))}
    return nir.NIRGraph({**ends, "fc": nir.Linear(np.eye(2)), name: node}, edges)


def leaky(**options):
    return to_nir(unroll(leaky_integrate_and_fire(2, **options)), bp.layers.Affine(jnp.ones((2, 2))))


LIF = {"tau": np.ones(2), "r": np.ones(2), "v_leak": np.zeros(2), "v_threshold": np.ones(2)}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: from_nir(lone(nir.Scale(np.ones(2))), 1.0), "no layer for node odd of type Scale"),
        (lambda: from_nir(lone(nir.IF(np.ones(2), np.ones(2))), 1.0), "node odd of type IF"),
        (lambda: from_nir(lone(nir.Linear(np.eye(2))), 1.0), "got node odd of type Linear in the place"),
        (lambda: from_nir(lone(nir.LIF(**LIF))), "expected `dt`"),
        (lambda: from_nir(lone(nir.LIF(**{**LIF, "v_leak": np.ones(2)})), 1.0), "`v_leak` of 0 in node odd"),
        (lambda: from_nir(lone(nir.LIF(**LIF)), 2.0, "euler"), "above dt = 2.*node odd"),
        (lambda: from_nir(lone(nir.LIF(**LIF)), 1.0, convention="spyx"), "reset to zero.*subtract_after_leak"),
        (lambda: from_nir(nir.NIRGraph({"a": nir.Output(np.array([2]))}, [], type_check=False), 1.0), "one Input node"),
        (lambda: from_nir(3, 1.0), "expected a nir.NIRGraph, got int"),
        (lambda: leaky(convention="snntorch"), "a reset to zero, got subtract_after_leak in the layer unroll"),
        (lambda: leaky(refractory=2.0), "no refractory time.*index 0"),
        (lambda: leaky(adaptation=Adaptation(1.0, 2.0)), "no adaptation"),
        (lambda: to_nir(bp.dense(3), bp.layers.Affine(jnp.ones((2, 3)))), "got the layer dense at index 0"),
    ],
)
def test_what_nir_cannot_say(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_learnt_constants_are_written_as_they_are(keys):
    net = unroll(leaky_integrate_and_fire(3, 5.0, convention="snntorch zero", learnt=("membrane", "threshold")))
    params = net.init(next(keys), (7, 3))[0]._replace(log_membrane=jnp.log(jnp.array([2.0, 3.0, 4.0])))
    node = to_nir(net, params).nodes["neurons0"]
    assert relative_error(node.tau_mem, np.array([2.0, 3.0, 4.0])) < 1e-14
