"""The curvature of the error surface against dense linear algebra."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bpjax as bp


def dense_hessian(rule, params, batch):
    flat, unravel = jax.flatten_util.ravel_pytree(params)
    return np.asarray(jax.hessian(lambda p: bp.autodiff(rule.network, rule.loss).grads(unravel(p), (), batch)[0])(flat))


@pytest.mark.parametrize("sizes", [(3, 2), (3, 5, 2)], ids=str)
def test_largest_curvature_is_the_largest_eigenvalue(sizes, keys):
    network = bp.mlp(sizes, bp.tanh)
    params, _ = network.init(next(keys), (3,))
    batch = jax.random.normal(next(keys), (10, 3)), jax.random.normal(next(keys), (10, 2))
    rule = bp.backprop(network, bp.squared_error)
    truth = np.linalg.eigvalsh(dense_hessian(rule, params, batch))[-1]
    assert float(bp.largest_curvature(rule, params, batch, next(keys), steps=40)) == pytest.approx(truth, rel=1e-9)


def test_repeated_eigenvalues_exhaust_the_krylov_space(keys):
    """A linear unit on white inputs has one curvature in all directions: the first step knows all."""
    x = jnp.eye(4)
    rule = bp.backprop(bp.dense(1, use_bias=False), bp.squared_error)
    params, _ = rule.network.init(next(keys), (4,))
    assert float(bp.largest_curvature(rule, params, (x, jnp.ones((4, 1))), next(keys))) == pytest.approx(1.0, rel=1e-12)


def test_hessian_vector_product(keys):
    network = bp.mlp((3, 4, 2), bp.sigmoid)
    params, _ = network.init(next(keys), (3,))
    batch = jax.random.normal(next(keys), (10, 3)), jax.random.normal(next(keys), (10, 2))
    rule = bp.backprop(network, bp.squared_error)
    flat, unravel = jax.flatten_util.ravel_pytree(params)
    v = jax.random.normal(next(keys), flat.shape)
    product = bp.hessian_vector_product(rule, params, batch)(unravel(v))
    np.testing.assert_allclose(
        jax.flatten_util.ravel_pytree(product)[0], dense_hessian(rule, params, batch) @ v, rtol=1e-10
    )


@pytest.mark.parametrize(("factor", "stable"), [(0.9999, True), (1.0001, False)])
def test_gradient_descent_is_stable_up_to_two_over_lambda_max(factor, stable, keys):
    """The classical limit flips where the measured curvature says, on a quadratic."""
    import optax

    x = jax.random.normal(next(keys), (20, 3))
    rule = bp.backprop(bp.dense(1), bp.batch_mean(bp.squared_error))
    params, _ = rule.network.init(next(keys), (3,))
    batch = x, jnp.zeros((20, 1))
    rate = factor * 2 / float(bp.largest_curvature(rule, params, batch, next(keys)))
    result = bp.fit(rule, optax.sgd(rate), params, batch, key=next(keys), epochs=20_000, chunk=20_000)
    late, later = result.history.error[len(result.history.error) // 2], result.history.error[-1]
    assert (later < late) == stable
