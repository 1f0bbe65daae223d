"""The curvature of the error surface against dense linear algebra."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bpjax as bp
from bpjax.analysis.curvature import extreme_curvatures, share_along, steepest_direction


def dense_hessian(rule, params, batch):
    flat, unravel = jax.flatten_util.ravel_pytree(params)
    value = lambda p: bp.autodiff(rule.network, rule.loss).grads(unravel(p), (), batch)[0]
    return np.asarray(jax.jit(jax.hessian(value))(flat))


def largest_curvature(rule, params, batch, key, **options):
    return float(jax.jit(lambda *a: bp.analysis.largest_curvature(rule, *a, **options))(params, batch, key))


def compiled_extremes(rule, params, batch, key, **options):
    return jax.jit(lambda *a: extreme_curvatures(rule, *a, **options))(params, batch, key)


@pytest.mark.parametrize("sizes", [(3, 2), pytest.param((3, 5, 2), marks=pytest.mark.thorough)], ids=str)
def test_largest_curvature_is_the_largest_eigenvalue(sizes, keys):
    network = bp.mlp(sizes, bp.tanh)
    params, _ = network.init(next(keys), (3,))
    batch = jax.random.normal(next(keys), (10, 3)), jax.random.normal(next(keys), (10, 2))
    rule = bp.backprop(network, bp.squared_error)
    truth = np.linalg.eigvalsh(dense_hessian(rule, params, batch))[-1]
    assert largest_curvature(rule, params, batch, next(keys), steps=40) == pytest.approx(truth, rel=1e-9)


def test_repeated_eigenvalues_exhaust_the_krylov_space(keys):
    """A linear unit on white inputs has one curvature in all directions: one step finds it."""
    x = jnp.eye(4)
    rule = bp.backprop(bp.dense(1, use_bias=False), bp.squared_error)
    params, _ = rule.network.init(next(keys), (4,))
    found = largest_curvature(rule, params, (x, jnp.ones((4, 1))), next(keys))
    assert found == pytest.approx(1.0, rel=1e-12)


def test_hessian_vector_product(keys):
    network = bp.mlp((3, 4, 2), bp.sigmoid)
    params, _ = network.init(next(keys), (3,))
    batch = jax.random.normal(next(keys), (10, 3)), jax.random.normal(next(keys), (10, 2))
    rule = bp.backprop(network, bp.squared_error)
    flat, unravel = jax.flatten_util.ravel_pytree(params)
    v = jax.random.normal(next(keys), flat.shape)
    product = jax.jit(bp.analysis.hessian_vector_product(rule, params, batch))(unravel(v))
    np.testing.assert_allclose(
        jax.flatten_util.ravel_pytree(product)[0], dense_hessian(rule, params, batch) @ v, rtol=1e-10
    )


@pytest.mark.parametrize(("factor", "stable"), [(0.9999, True), (1.0001, False)])
def test_gradient_descent_is_stable_up_to_two_over_lambda_max(factor, stable, keys):
    """The classical limit flips where the measured curvature says, on a quadratic."""
    import optax

    x = jax.random.normal(next(keys), (20, 3))
    rule = bp.backprop(bp.dense(1), bp.losses.batch_mean(bp.squared_error))
    params, _ = rule.network.init(next(keys), (3,))
    batch = x, jnp.zeros((20, 1))
    rate = factor * 2 / largest_curvature(rule, params, batch, next(keys))
    result = bp.fit(rule, optax.sgd(rate), params, batch, key=next(keys), epochs=20_000, chunk=20_000)
    late, later = result.history.error[len(result.history.error) // 2], result.history.error[-1]
    assert (later < late) == stable


def linear_unit(curvatures, keys):
    """A linear unit whose Hessian is diagonal, with these curvatures."""
    n = len(curvatures)
    rule = bp.backprop(bp.dense(1, use_bias=False), bp.squared_error)
    params, _ = rule.network.init(next(keys), (n,))
    return rule, params, (jnp.diag(jnp.sqrt(jnp.asarray(curvatures))), jnp.ones((n, 1)))


def flat_rows(tree):
    return np.asarray(jax.vmap(lambda leaf: jax.flatten_util.ravel_pytree(leaf)[0])(tree))


def test_extreme_curvatures_are_the_ends_of_the_spectrum(keys):
    """Eigenvalues against LAPACK's, eigenvectors by what they are; a net at random weights is at a saddle."""
    network = bp.mlp((3, 5, 2), bp.tanh)
    params, _ = network.init(next(keys), (3,))
    batch = jax.random.normal(next(keys), (10, 3)), jax.random.normal(next(keys), (10, 2))
    rule = bp.backprop(network, bp.squared_error)
    hessian = dense_hessian(rule, params, batch)
    truth = np.linalg.eigvalsh(hessian)
    assert truth[0] < -0.1
    found = compiled_extremes(rule, params, batch, next(keys), count=3)
    for part, expected in ((found.smallest, truth[:3]), (found.largest, truth[::-1][:3])):
        np.testing.assert_allclose(part.value, expected, rtol=1e-9)
        rows = flat_rows(part.direction)
        np.testing.assert_allclose(rows @ rows.T, np.eye(3), atol=1e-10)
        np.testing.assert_allclose(rows @ hessian, expected[:, None] * rows, atol=1e-8)


def test_the_residual_bounds_the_error(keys):
    """Five steps in 32 dimensions: ‖Hv − λv‖ by the dense Hessian is what the residual reports, and it is not small."""
    network = bp.mlp((3, 5, 2), bp.tanh)
    params, _ = network.init(next(keys), (3,))
    batch = jax.random.normal(next(keys), (10, 3)), jax.random.normal(next(keys), (10, 2))
    rule = bp.backprop(network, bp.squared_error)
    hessian = dense_hessian(rule, params, batch)
    part = compiled_extremes(rule, params, batch, next(keys), count=2, steps=5).smallest
    rows = flat_rows(part.direction)
    gaps = np.linalg.norm(rows @ hessian - np.asarray(part.value)[:, None] * rows, axis=1)
    np.testing.assert_allclose(part.residual, gaps, rtol=1e-8)
    assert gaps.min() > 1e-3


def test_repeated_curvatures_are_found_with_their_multiplicity(keys):
    """4, 4, 4, 1, 1: from one direction Lanczos finds each only once."""
    found = compiled_extremes(*linear_unit([4.0, 1.0, 4.0, 1.0, 4.0], keys), next(keys), count=5)
    np.testing.assert_allclose(found.largest.value, [4, 4, 4, 1, 1], rtol=1e-12)
    np.testing.assert_allclose(found.smallest.value, [1, 1, 4, 4, 4], rtol=1e-12)
    rows = flat_rows(found.largest.direction)
    np.testing.assert_allclose(rows @ rows.T, np.eye(5), atol=1e-12)


def test_a_hessian_of_zeros(keys):
    """Inputs 0: every direction is flat, and no entry is NaN."""
    rule, params, _ = linear_unit([1.0, 1.0, 1.0], keys)
    found = compiled_extremes(rule, params, (jnp.zeros((4, 3)), jnp.ones((4, 1))), next(keys), count=3)
    np.testing.assert_array_equal(found.largest.value, 0)
    np.testing.assert_allclose(np.linalg.norm(flat_rows(found.smallest.direction), axis=1), 1, rtol=1e-12)


def test_weights_alternate_along_the_steepest_direction(keys):
    """Just below η = 2/λ_max: along v the sign of w(t) − w* flips at each step, along the others it stays."""
    rule, params, batch = linear_unit([9.0, 2.0, 0.5], keys)
    steepest = jax.jit(lambda *a: steepest_direction(rule, *a))(params, batch, next(keys))
    assert float(steepest.value) == pytest.approx(9, rel=1e-12)
    assert "direction=Affine(w='float64[3, 1]'" in repr(steepest)
    v = steepest.direction.w[:, 0]
    np.testing.assert_allclose(np.abs(v), [1, 0, 0], atol=1e-12)
    minimum = 1 / np.sqrt([9.0, 2.0, 0.5])
    w, signs = params, []
    for _ in range(6):
        signs.append(np.sign([(w.w[:, 0] - minimum) @ v, *(w.w[1:, 0] - minimum[1:])]))
        w = jax.tree.map(lambda p, g: p - 1.9 / 9 * g, w, rule.grads(w, (), batch)[1])
    signs = np.array(signs)
    assert (signs[1:, 0] == -signs[:-1, 0]).all() and (signs[1:, 1:] == signs[:-1, 1:]).all()


def test_share_of_the_gradient_along_a_direction():
    """g = (3, 4), v = (2, 0): 9/25; all of it along itself, none where there is no gradient."""
    g, v = (jnp.array([3.0]), jnp.array([4.0])), (jnp.array([2.0]), jnp.array([0.0]))
    assert float(share_along(g, v)) == pytest.approx(9 / 25, rel=1e-15)
    assert float(share_along(g, g)) == pytest.approx(1, rel=1e-15)
    assert float(share_along(jax.tree.map(jnp.zeros_like, g), v)) == 0


PLACES = {
    "a factory": (lambda rule, p, batch, key: (bp.backprop, p, batch, key), "`rule` to be a Rule, got backprop"),
    "texts": (lambda rule, p, batch, key: (rule, "word", batch, key), "`params` to be a pytree of arrays"),
    "no params": (lambda rule, p, batch, key: (rule, (), batch, key), "`params` with at least one array"),
    "integers": (lambda rule, p, batch, key: (rule, jax.tree.map(lambda w: w.astype(int), p), batch, key), "floating"),
    "x alone": (lambda rule, p, batch, key: (rule, p, batch[0], key), r"a batch `\(x, target\)`"),
    "other sizes": (lambda rule, p, batch, key: (rule, p, (batch[0][:, :1], batch[1]), key), "`x` of shape"),
    "a number as key": (lambda rule, p, batch, key: (rule, p, batch, 0), "one random key, got 0"),
}


@pytest.mark.parametrize(("changed", "words"), PLACES.values(), ids=PLACES)
def test_a_place_without_a_hessian_is_refused(changed, words, keys):
    rule, params, batch = linear_unit([1.0, 2.0], keys)
    rule, params, batch, key = changed(rule, params, batch, next(keys))
    for function in (bp.analysis.largest_curvature, steepest_direction, extreme_curvatures):
        with pytest.raises(ValueError, match=words):
            function(rule, params, batch, key)
    ones = jax.tree.map(jnp.ones_like, params) if not words.startswith("`params` to") else params
    with pytest.raises(ValueError, match=words):
        bp.analysis.preconditioned_curvature(rule, params, batch, ones, key)
    if "key" not in words:
        with pytest.raises(ValueError, match=words):
            bp.analysis.hessian_vector_product(rule, params, batch)


def test_a_state_or_a_direction_of_another_rule_is_refused(keys):
    case = linear_unit([1.0, 2.0], keys)
    with pytest.raises(ValueError, match="`rule_state` of the structure"):
        bp.analysis.hessian_vector_product(*case, rule_state=case[1])
    with pytest.raises(ValueError, match="`v`"):
        bp.analysis.hessian_vector_product(*case)(jnp.ones(7))
    for wrong, words in ((jnp.ones(2), "structure of"), ("word", "arrays and numbers"), ((), "structure of")):
        with pytest.raises(ValueError, match=words):
            share_along(case[1], wrong)
    with pytest.raises(ValueError, match="real numbers in `gradient`"):
        share_along(jnp.ones(2, complex), jnp.ones(2))


def test_more_curvatures_than_parameters_are_refused(keys):
    case = linear_unit([1.0, 2.0], keys)
    with pytest.raises(ValueError, match="`count` ≤ 2"):
        extreme_curvatures(*case, next(keys), count=3)
    with pytest.raises(ValueError, match="`count` ≤ 1"):
        extreme_curvatures(*case, next(keys), count=2, steps=1)
    with pytest.raises(ValueError, match="`steps`"):
        steepest_direction(*case, next(keys), steps=0)
