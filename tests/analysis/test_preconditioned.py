"""The preconditioned curvature against dense linear algebra, quadratics, and the steps of optax's optimizers."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree

import bpjax as bp
from bpjax.analysis import adaptive_limit, largest_curvature, preconditioned_curvature, preconditioner_of


@pytest.fixture
def net(keys):
    network = bp.mlp((2, 3, 1), bp.tanh)
    batch = jax.random.normal(next(keys), (6, 2)), jax.random.normal(next(keys), (6, 1))
    return bp.backprop(network, bp.squared_error), network.init(next(keys), (2,))[0], batch


def test_it_is_the_eigenvalue_of_the_dense_matrix(net, keys):
    rule, params, batch = net
    flat, unravel = ravel_pytree(params)
    diagonal = jnp.exp(jax.random.normal(next(keys), flat.shape))
    value = lambda p: bp.autodiff(rule.network, rule.loss).grads(unravel(p), (), batch)[0]
    hessian = np.asarray(jax.jit(jax.hessian(value))(flat))
    root = np.diag(np.asarray(diagonal) ** -0.5)
    measure = jax.jit(lambda p, d, key: preconditioned_curvature(rule, p, batch, d, key, steps=40))
    found = measure(params, unravel(diagonal), next(keys))
    assert float(found) == pytest.approx(np.linalg.eigvalsh(root @ hessian @ root)[-1], rel=1e-9)
    plain = measure(params, jax.tree.map(jnp.ones_like, params), next(keys))
    assert float(plain) == pytest.approx(np.linalg.eigvalsh(hessian)[-1], rel=1e-9)


def test_of_a_quadratic_it_is_the_largest_ratio(keys):
    """Curvatures 1, 4, 9 and P = 1, 2, 9: ratios 1, 2, 1, while the largest curvature alone is 9."""
    rule = bp.backprop(bp.dense(1, use_bias=False), bp.squared_error)
    params, _ = rule.network.init(next(keys), (3,))
    batch = jnp.diag(jnp.array([1.0, 2.0, 3.0])), jnp.ones((3, 1))
    diagonal = jax.tree.map(lambda leaf: jnp.array([1.0, 2.0, 9.0]).reshape(leaf.shape), params)
    assert float(preconditioned_curvature(rule, params, batch, diagonal, next(keys))) == pytest.approx(2.0)
    assert float(largest_curvature(rule, params, batch, next(keys))) == pytest.approx(9.0)


@pytest.mark.parametrize("b1", [0.0, 0.9])
@pytest.mark.parametrize(("factor", "is_stable"), [(0.99, True), (1.01, False)])
def test_the_limit_separates_stable_from_unstable_steps(b1, factor, is_stable):
    """w ← w − η m / p, m ← β₁ m + (1 − β₁) λ w, with λ / p at 0.99 and 1.01 of the limit."""
    rate, w, m = 0.1, 1.0, 0.0
    ratio = factor * adaptive_limit(rate, b1)
    for _ in range(3000):
        m = b1 * m + (1 - b1) * ratio * w
        w = w - rate * m
    assert (abs(w) < 1e-3) == is_stable
    assert adaptive_limit(1.0) == pytest.approx(38.0) and adaptive_limit(1.0, 0.0) == 2.0


FACTORIES = {
    "adam": (lambda rate: optax.adam(rate, b1=0.0, b2=0.9, eps=1e-2), {"b2": 0.9, "eps": 1e-2}),
    "adam, defaults": (lambda rate: optax.adam(rate, b1=0.0), {}),
    "amsgrad": (lambda rate: optax.amsgrad(rate, b1=0.0, eps=1e-2), {"eps": 1e-2}),
    "rmsprop": (lambda rate: optax.rmsprop(rate, eps=1e-2), {"eps": 1e-2}),
    "adagrad": (lambda rate: optax.adagrad(rate), {}),
    "chain": (lambda rate: optax.chain(optax.clip(1e9), optax.adam(rate, b1=0.0)), {}),
    "injected": (lambda rate: optax.inject_hyperparams(optax.adam)(rate, b1=0.0, b2=0.5, eps=1e-2), {}),
    "partition": (
        lambda rate: optax.multi_transform(
            {"a": optax.adam(rate, b1=0.0), "b": optax.adagrad(rate)}, {"x": "a", "y": "b"}
        ),
        {},
    ),
}


@pytest.mark.parametrize(("factory", "given"), FACTORIES.values(), ids=FACTORIES)
def test_it_is_what_the_optimizer_divides_by(factory, given):
    """Without momentum the step is −η g / P, so P = −η g / step: read from the optimizer, not from its formulas."""
    optimizer, rate = factory(0.1), 0.1
    params = {"x": jnp.array([1.0, -2.0]), "y": jnp.array([[3.0]])}
    state = optimizer.init(params)
    for scale in (1.0, -0.5, 2.0):
        g = jax.tree.map(lambda leaf, scale=scale: scale * leaf + 0.1, params)
        step, state = optimizer.update(g, state, params)
    expected = jax.tree.map(lambda g, step: -rate * g / step, g, step)
    found = preconditioner_of(state, **given)
    for name in params:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-6)


STATES = {
    "no adaptive optimizer": (lambda p: preconditioner_of(optax.sgd(0.1).init(p)), "Adam, AMSGrad, RMSprop or Adagrad"),
    "no step": (lambda p: preconditioner_of(optax.adam(0.1).init(p)), "after at least one step"),
    "not a state": (lambda p: preconditioner_of(3), "got int without one"),
    "weights in place of moments": (
        lambda p: preconditioner_of(jax.tree.map(lambda a: a.astype(int), optax.adam(0.1).init(p))),
        "floating-point arrays in `nu`",
    ),
    "several runs": (
        lambda p: preconditioner_of(jax.vmap(optax.adam(0.1).init)(jnp.ones((2, 3)))),
        "`count` of the state to be one integer.*vmap",
    ),
    "a part is not adaptive": (
        lambda p: preconditioner_of(optax.masked(optax.adagrad(0.1), {"x": True, "y": False}).init({"x": p, "y": p})),
        "one adaptive optimizer for each parameter, got 0",
    ),
    "the limit's rate": (lambda p: adaptive_limit(0.0), "`learning_rate`"),
    "the limit's momentum": (lambda p: adaptive_limit(0.1, 1.0), "`b1` below 1"),
}


@pytest.mark.parametrize(("call", "words"), STATES.values(), ids=STATES)
def test_bad_input_gets_a_sentence(call, words):
    with pytest.raises(ValueError, match=words):
        call(jnp.ones(2))


def test_a_preconditioner_of_another_network_is_refused(net, keys):
    rule, params, batch = net
    for wrong in (jnp.ones(3), jax.tree.map(lambda leaf: jnp.ones((2, *leaf.shape)), params)):
        with pytest.raises(ValueError, match="structure and shapes of `params`"):
            preconditioned_curvature(rule, params, batch, wrong, next(keys))
    with pytest.raises(ValueError, match="positive, finite"):
        preconditioned_curvature(rule, params, batch, jax.tree.map(jnp.zeros_like, params), next(keys))
