"""E-prop: the paper's traces in NumPy, the gradient with the recurrent path stopped, and backpropagation in time."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from oracles import relative_error
from passes import quick_jit

import bpjax as bp
from bpjax.layers import Adaptation, leaky_integrate_and_fire, leaky_integrator, spike
from bpjax.rules.eprop import eprop

FIRE = spike(2.0)
KEY = jax.random.key(1)
X = jax.random.normal(jax.random.key(2), (3, 14, 3)) + 0.4
T = jax.random.normal(jax.random.key(3), (3, 14, 2))
THETA, KAPPA, BETA, RHO, OUT = 0.6, 0.7, np.exp(-1 / 10), np.exp(-1 / 25), np.exp(-1 / 4)

ADAPTATION = Adaptation(KAPPA, 25.0)


def network(recurrent=None, adaptation=ADAPTATION, convention="bellec", **options):
    """Units without a synaptic filter, in the equations of Bellec et al. 2020."""
    cell = leaky_integrate_and_fire(
        4, synapse=0.0, threshold=THETA, fire=FIRE, convention=convention, adaptation=adaptation, recurrent=recurrent,
        **options,
    )  # fmt: skip
    return bp.chain(bp.unroll(cell), bp.unroll(leaky_integrator(2, 4.0, 0.0, order="current-potential-spike")))


def params_of(net):
    return jax.tree.map(lambda w: 1.5 * w, net.init(KEY, (14, 3))[0])


def direction(rule, params, state=None):
    state = rule.init(KEY, params) if state is None else state
    return quick_jit(rule.grads)(params, state, (X, T))[1]


def by_the_paper(w, v, w_out, b):
    """Bellec et al. 2020, eqs. 22 to 25 and 28, example by example: dW, dV, dW_out."""
    dw, dv, dw_out = np.zeros_like(w), np.zeros_like(v), np.zeros_like(w_out)
    slope = lambda u: 1 / (2 * np.abs(u) + 1) ** 2
    for x, target in zip(np.asarray(X), np.asarray(T), strict=True):
        u = a = z = np.zeros(4)
        psi, o = np.zeros(4), np.zeros(2)
        bar, adapted, filtered, z_bar = np.zeros(7), np.zeros((7, 4)), np.zeros((7, 4)), np.zeros(4)
        for t in range(len(x)):
            a = RHO * a + z
            adapted = psi * bar[:, None] + (RHO - psi * KAPPA) * adapted  # ε_a
            bar = BETA * bar + np.concatenate([x[t], z])  # ε_v: the same for all units
            u = BETA * u + x[t] @ w + z @ v - THETA * z
            above = u - THETA - KAPPA * a
            z, psi = (above > 0).astype(float), slope(above)
            trace = psi * (bar[:, None] - KAPPA * adapted)
            filtered, z_bar = OUT * filtered + trace, OUT * z_bar + z
            o = OUT * o + z @ w_out
            signal = (o - target[t]) @ b.T
            change = filtered * signal
            dw, dv, dw_out = dw + change[:3], dv + change[3:], dw_out + np.outer(z_bar, o - target[t])
    return dw, dv, dw_out


def test_the_traces_of_the_paper():
    net = network("lecun_normal")
    params = params_of(net)
    (w, v), w_out = map(np.asarray, params[0][:2]), np.asarray(params[1].w)
    spikes = np.asarray(net.layers[0].forward(params[0], X)[0])
    assert 10 < spikes.sum() < 0.9 * spikes.size
    found = direction(eprop(net, bp.squared_error), params)
    truth = by_the_paper(w, v, w_out, w_out)
    for own, exact in zip((found[0].w, found[0].recurrent, found[1].w), truth, strict=True):
        np.testing.assert_allclose(own, exact, rtol=1e-10, atol=1e-13)


@jax.custom_vjp
def fires(u):
    return FIRE.forward((), u)[0]


fires.defvjp(lambda u: (fires(u), FIRE.forward((), u)[1]), lambda residuals, dy: (FIRE.backward((), residuals, dy)[1],))


def stopped_gradient(params, stop):
    """`jax.grad` of the forward pass written out, without errors through the recurrent weights and the reset."""

    def error(params):
        hidden, readout = params

        def step(state, x):
            u, a, z, o = state
            held = jax.lax.stop_gradient(z)
            sent = held if stop else z
            a = RHO * a + z
            u = BETA * u + x @ hidden.w + sent @ hidden.recurrent - THETA * held
            z = fires(u - THETA - KAPPA * a)
            o = OUT * o + z @ readout.w
            return (u, a, z, o), o

        zeros = (jnp.zeros((3, 4)),) * 3
        _, o = jax.lax.scan(step, (*zeros, jnp.zeros((3, 2))), jnp.swapaxes(X, 0, 1))
        return 0.5 * jnp.sum((jnp.swapaxes(o, 0, 1) - T) ** 2)

    return quick_jit(jax.grad(error))(params)


@pytest.mark.thorough
def test_it_is_the_gradient_with_the_recurrent_path_stopped():
    net = network("lecun_normal")
    params = params_of(net)
    found = direction(eprop(net, bp.squared_error), params)
    assert relative_error(found, stopped_gradient(params, stop=True)) < 1e-12
    full = stopped_gradient(params, stop=False)
    assert relative_error(direction(bp.backprop(net, bp.squared_error), params), full) < 1e-12
    assert relative_error(found, full) > 0.01
    zeroed = (params[0]._replace(recurrent=jnp.zeros((4, 4))), params[1])  # feedback 0 in place of V
    y, residuals = net.forward(params, X)
    assert relative_error(found, net.backward(zeroed, residuals, y - T)[0]) < 1e-12


@pytest.mark.parametrize(
    "options",
    [
        {"convention": "spytorch", "adaptation": None},
        {"convention": "bellec"},
        pytest.param({"convention": "spyx"}, marks=pytest.mark.thorough),
        pytest.param({"convention": "spikingjelly soft"}, marks=pytest.mark.thorough),
        pytest.param({"convention": "snntorch zero", "refractory": 2.0}, marks=pytest.mark.thorough),
    ],
    ids=str,
)
def test_without_recurrent_weights_it_is_backpropagation_through_time(options):
    net = network(**options)
    params = params_of(net)
    truth = direction(bp.backprop(net, bp.squared_error), params)
    assert relative_error(direction(eprop(net, bp.squared_error), params), truth) < 1e-12


def test_random_feedback_and_its_receipt():
    net = network()
    params = params_of(net)
    rule = eprop(net, bp.squared_error, "random")
    state = rule.init(KEY, params)
    found = direction(rule, params, state)
    w, w_out = np.asarray(params[0].w), np.asarray(params[1].w)
    dw, _, dw_out = by_the_paper(w, np.zeros((4, 4)), w_out, np.asarray(state[1].w))
    np.testing.assert_allclose(found[0].w, dw, rtol=1e-10, atol=1e-13)
    np.testing.assert_allclose(found[1].w, dw_out, rtol=1e-10)


@pytest.mark.thorough
def test_the_receipt():
    """`jax.grad` sees the step function, whose derivative is 0; the receipt compares with backpropagation too."""
    net = network()
    params = params_of(net)
    receipt = bp.receipt(eprop(net, bp.squared_error, "random"), params, (X, T), key=KEY, show=False)
    assert receipt.feedback == ("rule_state",) and receipt.with_params is not None and receipt.with_params < 1e-12
    assert receipt.layers[1].angle < 1e-4 and np.isnan(receipt.layers[0].angle) and receipt.backprop_error > 1e-3
    symmetric = bp.receipt(eprop(net, bp.squared_error), params, (X, T), key=KEY, show=False)
    assert symmetric.backprop_error < 1e-12 and symmetric.verdict.startswith("backprop, to ")


def test_adaptive_feedback_converges_to_the_readout():
    """W − B = λᵗ (W₀ − B₀), with the decay of `kolen_pollack` in the optimizer."""
    net, decay = network(), 0.8
    params = params_of(net)
    rule = eprop(net, bp.squared_error, "adaptive", decay=decay)
    optimizer = optax.chain(optax.sgd(0.01, momentum=0.9), optax.add_decayed_weights(decay - 1))
    state, memory = rule.init(KEY, params), optimizer.init(params)
    gap, grads = np.asarray(params[1].w - state.feedback[1].w), quick_jit(rule.grads)
    for step in range(4):
        _, found, state = grads(params, state, (X, T))
        np.testing.assert_allclose(params[1].w - state.feedback[1].w, gap * decay**step, rtol=1e-9)
        updates, memory = optimizer.update(found, memory, params)
        params = optax.apply_updates(params, updates)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: eprop(bp.mlp((3, 2)), bp.squared_error), "expected `chain\\(unroll\\(leaky_integrate_and_fire"),
        (lambda: eprop(bp.dense, bp.squared_error), "expected a Layer"),
        (lambda: eprop(network(), bp.squared_error, "fixed"), "one of symmetric, random, adaptive"),
        (lambda: eprop(network(), bp.squared_error, "adaptive", decay=1.5), "`decay`.*≤ 1"),
        (lambda: eprop(network(), bp.squared_error).init(KEY, ((), ())), "without learnt constants"),
        (
            lambda: eprop(net := network(learnt=("membrane",)), bp.squared_error).init(KEY, params_of(net)),
            "without learnt constants",
        ),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
