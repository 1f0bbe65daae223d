"""Equilibrium propagation: against the paper's equations in NumPy, and against the gradient at the fixed point."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from oracles import central_difference, relative_error
from passes import quick_jit

import bpjax as bp
from bpjax.rules.equilibrium import equilibrium_propagation, hopfield


def problem(keys, sizes=(4, 5, 3), output=None):
    network = bp.mlp(sizes, bp.tanh, output=output)
    params, _ = network.init(next(keys), sizes[:1])
    return (
        network,
        params,
        (jax.random.normal(next(keys), (5, sizes[0])), jax.random.normal(next(keys), (5, sizes[-1]))),
    )


def energy(params, x, u):
    """½ Σ ‖u‖² − Σ ρ_{l-1} W_l ρ_l − Σ b_l ρ_l with ρ = tanh, the last one linear: Scellier & Bengio's, in layers."""
    (w1, b1), _, (w2, b2) = params
    hidden, output = jnp.tanh(u[0]), u[1]
    bonds = jnp.einsum("ni,ij,nj", x, w1, hidden) + jnp.einsum("ni,ij,nj", hidden, w2, output)
    return 0.5 * jnp.sum(u[0] ** 2) + 0.5 * jnp.sum(u[1] ** 2) - bonds - jnp.sum(hidden @ b1) - jnp.sum(output @ b2)


def settled(params, x, target=None, beta=0.0, steps=600):
    """The states at the minimum of E + β ½ Σ (o − t)², by jax.grad."""
    u = [jnp.zeros((len(x), 5)), jnp.zeros((len(x), 3))]

    def total(u):
        return energy(params, x, u) + (0.0 if target is None else beta * 0.5 * jnp.sum((u[1] - target) ** 2))

    slope = jax.grad(total)
    step = lambda _, u: jax.tree.map(lambda a, b: a - 0.3 * b, u, slope(u))
    return jax.lax.fori_loop(0, steps, step, u)


# --- The Hopfield network --------------------------------------------------------------------------------------------


def test_the_network_converges_to_a_minimum_of_the_energy(keys):
    network, params, (x, _) = problem(keys)
    y, (_, states, _) = quick_jit(hopfield(network, 600, 0.3).forward)(params, x)
    assert relative_error(states, quick_jit(settled)(params, x)) < 1e-12
    assert (y == states[1]).all()
    assert max(jnp.abs(slope).max() for slope in quick_jit(jax.grad(energy, 2))(params, x, states)) < 1e-14
    curvature = quick_jit(jax.hessian(lambda flat: energy(params, x[:1], [flat[None, :5], flat[None, 5:]])))
    assert np.linalg.eigvalsh(curvature(jnp.concatenate([states[0][0], states[1][0]]))).min() > 0


def test_its_backward_is_the_derivative_of_the_fixed_point(keys):
    """Against central differences of the loss at the fixed point, and jax.vjp through every step of the settling."""
    network, params, (x, t) = problem(keys, (3, 2, 2), output=bp.sigmoid)
    layer = hopfield(network, 400, 0.5)
    flat, unravel = jax.flatten_util.ravel_pytree(params)
    error = quick_jit(lambda p: bp.squared_error.value(layer.forward(unravel(p), x)[0], t))

    @quick_jit
    def passes(params, x):
        y, vjp = jax.vjp(lambda p, x: layer.forward(p, x)[0], params, x)
        return layer.backward(params, layer.forward(params, x)[1], y - t), vjp(y - t)

    found, through_every_step = passes(params, x)
    assert relative_error(found, through_every_step) < 1e-11
    assert relative_error(jax.flatten_util.ravel_pytree(found[0])[0], central_difference(error, flat)) < 1e-8
    truth = quick_jit(bp.backprop(layer, bp.squared_error).grads)(params, (), (x, t))[1]
    assert relative_error(truth, found[0]) < 1e-14


def test_one_unit_by_hand():
    """E = ½ u² − (x w + b) u for one linear unit: its minimum is at a = x w + b, that of F at (a + β t) / (1 + β).

    ∂F/∂w = −x u, so dw = (1/β) x (u⁰ − u^β) = x (a − t) / (1 + β): the gradient up to 1 + β. The symmetric
    difference gives x (a − t) / (1 − β²).
    """
    network = bp.dense(1)
    params = network.init(jax.random.key(0), (1,))[0]._replace(w=jnp.array([[0.5]]), b=jnp.array([0.25]))
    batch = jnp.array([[2.0]]), jnp.array([[0.0]])  # a = 1.25, the gradient 2.5
    for nudging, share in (("one_sided", 1 / 1.2), ("symmetric", 1 / (1 - 0.04))):
        rule = equilibrium_propagation(network, bp.squared_error, 0.2, nudging, 200)
        value, grads, _ = quick_jit(rule.grads)(params, (), batch)
        assert float(value) == pytest.approx(0.78125, rel=1e-14)
        assert float(grads.w[0, 0]) == pytest.approx(2.5 * share, rel=1e-12)
        assert float(grads.b[0]) == pytest.approx(1.25 * share, rel=1e-12)


# --- The rule --------------------------------------------------------------------------------------------------------


def by_hand(weights, x, t, beta, symmetric, steps, nudged, rate):
    """Scellier & Bengio, example by example: all units tanh, C = ½ Σ (ρ(u₂) − t)²."""
    (w1, b1), (w2, b2) = weights
    total = [np.zeros_like(w) for w in (w1, b1, w2, b2)]
    for x_n, t_n in zip(x, t, strict=True):

        def relax(u, strength, count, x_n=x_n, t_n=t_n):
            u1, u2 = u
            for _ in range(count):
                r1, r2 = np.tanh(u1), np.tanh(u2)
                down1 = (1 - r1**2) * (x_n @ w1 + b1 + w2 @ r2) - u1
                down2 = (1 - r2**2) * (r1 @ w2 + b2 - strength * (r2 - t_n)) - u2
                u1, u2 = u1 + rate * down1, u2 + rate * down2
            return u1, u2

        def slopes(u, x_n=x_n):
            r1, r2 = np.tanh(u[0]), np.tanh(u[1])
            return [-np.outer(x_n, r1), -r1, -np.outer(r1, r2), -r2]

        free = relax((np.zeros(3), np.zeros(2)), 0.0, steps)
        high = relax(free, beta, nudged)
        low, distance = (relax(free, -beta, nudged), 2 * beta) if symmetric else (free, beta)
        for part, a, b in zip(total, slopes(high), slopes(low), strict=True):
            part += (a - b) / distance
    return total


@pytest.mark.parametrize("nudging", ["one_sided", "symmetric"])
def test_five_steps_on_a_3_3_2_net(nudging, keys):
    network, params, (x, t) = problem(keys, (3, 3, 2), output=bp.tanh)
    rule = equilibrium_propagation(network, bp.squared_error, 0.5, nudging, 12, 5, 0.4)
    weights = [(np.array(params[l].w), np.array(params[l].b)) for l in (0, 2)]
    compiled = quick_jit(rule.grads)
    for _ in range(5):
        params = jax.tree.map(lambda w, g: w - 0.2 * g, params, compiled(params, (), (x, t))[1])
        w1, b1, w2, b2 = by_hand(weights, np.asarray(x), np.asarray(t), 0.5, nudging == "symmetric", 12, 5, 0.4)
        weights = [
            (weights[0][0] - 0.2 * w1, weights[0][1] - 0.2 * b1),
            (weights[1][0] - 0.2 * w2, weights[1][1] - 0.2 * b2),
        ]
        for l, (w, b) in zip((0, 2), weights, strict=True):
            np.testing.assert_allclose(params[l].w, w, rtol=1e-12, atol=1e-12)
            np.testing.assert_allclose(params[l].b, b, rtol=1e-12, atol=1e-12)


@quick_jit
def gradient_at_the_fixed_point(params, x, t):
    """Of ½ Σ (ρ(u_L) − t)² at the free fixed point, by implicit differentiation of `energy`."""
    free = settled(params, x)
    flat, unravel = jax.flatten_util.ravel_pytree(free)
    curvature = jax.hessian(lambda u: energy(params, x, unravel(u)))(flat)
    force = jax.flatten_util.ravel_pytree([jnp.zeros_like(free[0]), free[1] - t])[0]
    response = unravel(-jnp.linalg.solve(curvature, force))
    return jax.jvp(lambda u: jax.grad(energy)(params, x, u), (free,), (response,))[1]


@pytest.mark.parametrize(("nudging", "order"), [("one_sided", 1), ("symmetric", 2)])
def test_the_bias_is_of_order_beta_or_beta_squared(nudging, order, keys):
    """X22: against the gradient of the loss at the free fixed point."""
    network, params, (x, t) = problem(keys)
    truth = gradient_at_the_fixed_point(params, x, t)
    betas = jnp.array([0.1, 0.01, 0.001])

    def gap(beta):
        rule = equilibrium_propagation(network, bp.squared_error, beta, nudging, 600, rate=0.3)
        found = rule.grads(params, (), (x, t))[1]
        return jnp.sqrt(sum(jnp.sum((a - b) ** 2) for a, b in zip(*map(jax.tree.leaves, (found, truth)), strict=True)))

    gaps = quick_jit(jax.vmap(gap))(betas)  # β is data: one program
    np.testing.assert_allclose(np.diff(np.log10(gaps)) / np.diff(np.log10(betas)), order, atol=0.1)


def test_the_rule_measures_and_trains_the_hopfield_network(keys):
    network = bp.mlp((2, 6, 1), bp.tanh)
    params, _ = network.init(next(keys), (2,))
    data = bp.xor().present()
    rule = equilibrium_propagation(network, bp.squared_error)
    value, _, _ = quick_jit(rule.grads)(params, (), data)
    error = bp.squared_error.value(quick_jit(hopfield(network).forward)(params, data[0])[0], data[1])
    assert float(value) == pytest.approx(float(error), rel=1e-15)
    result = bp.fit(rule, optax.sgd(0.03), params, data, key=next(keys), epochs=800)
    output = rule.network.forward(result.params, data[0])[0]
    assert jnp.abs(output - data[1]).max() < 0.1


def test_half_precision_stays_half(keys):
    network, params, batch = problem(keys)
    rule = equilibrium_propagation(network, bp.squared_error, 0.5)
    grads = quick_jit(rule.grads)(*bp.util.cast((params, (), batch), jnp.bfloat16))[1]
    assert all(g.dtype == jnp.bfloat16 and jnp.isfinite(g).all() for g in jax.tree.leaves(grads))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda n: hopfield(bp.dense), "`hopfield` expected a Layer"),
        (lambda n: hopfield(n, 0), "`steps`.*≥ 1"),
        (lambda n: hopfield(n, rate=-0.1), "`rate`.*> 0"),
        (
            lambda n: hopfield(bp.tanh).init(jax.random.key(0), (3,)),
            "`hopfield` expected a network with weights",
        ),
        (lambda n: equilibrium_propagation(n, jnp.sum), "expected a Loss"),
        (lambda n: equilibrium_propagation(n, bp.squared_error, nudging="both"), "one of one_sided, symmetric.*'both'"),
        (lambda n: equilibrium_propagation(n, bp.squared_error, 0.0), "`beta`.*> 0"),
        (lambda n: equilibrium_propagation(n, bp.squared_error, steps=0), "`steps`.*≥ 1"),
        (lambda n: equilibrium_propagation(n, bp.squared_error, nudged_steps=0.5), "`nudged_steps`.*≥ 1"),
        (lambda n: equilibrium_propagation(n, bp.squared_error, rate=0), "`rate`.*> 0"),
        (lambda n: equilibrium_propagation(n, bp.squared_error).init(None, ()), "params made by its `init`"),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(ValueError, match=message):
        make(bp.mlp((3, 2, 2)))
