"""Laws every layer obeys, over the table of all of them, and values worked out by hand."""

import functools
import itertools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import central_difference, inner, relative_error
from passes import QUICKLY, forward_only, moved, noise_like, run, vjp

import bpjax as bp
from bpjax.gradcheck.cases.case import LayerCase
from bpjax.gradcheck.registry import ACTIVATIONS, LAYERS, check_layer_case

pytestmark = pytest.mark.usefixtures("quick_compilation")

CASES = {**LAYERS, **{name: LayerCase(layer, (6,)) for name, layer in ACTIVATIONS.items()}}
TABLE = pytest.mark.parametrize(
    "case", [pytest.param(case, id=name, marks=pytest.mark.xdist_group(name)) for name, case in CASES.items()]
)  # all laws of a case in one process, which compiles it once
N = 3


class Problem(NamedTuple):
    """What a case's laws are checked at."""

    params: Any  # none of them 0
    x: Any
    dy: Any  # random, in the shape of the output
    tangent: Any  # of (params, x)
    out_shape: Any  # as `init` tells it


@functools.cache
def problem(case) -> Problem:
    """Drawn once: all laws of a case share it."""
    keys = map(jax.random.fold_in, itertools.repeat(jax.random.key(20261123)), itertools.count())
    params, out_shape = case.layer.init(next(keys), case.in_shape)
    params = moved(params, keys, 0.1)
    x = case.inputs(next(keys), N, case.in_shape)
    dy = noise_like(jax.eval_shape(case.layer.forward, params, x)[0], keys)
    return Problem(params, x, dy, noise_like((params, x), keys), out_shape)


@functools.cache
def eager(case):
    """Y, the residuals and (dparams, dx) by hand, an operation at a time."""
    params, x, dy, *_ = problem(case)
    y, residuals = case.layer.forward(params, x)
    return y, residuals, case.layer.backward(params, residuals, dy)


@functools.cache
def program(case):
    """(params, weights handed to backward, x, dy) -> y, (dparams, dx) by hand, compiled."""

    def run(params, handed, x, dy):
        y, residuals = case.layer.forward(params, x)
        return y, case.layer.backward(handed, residuals, dy)

    return jax.jit(run, compiler_options=QUICKLY)


@functools.cache
def by_jax(case):
    """(dparams, dx), and the Jacobian times the tangent, from the forward pass alone."""
    params, x, dy, tangent, _ = problem(case)

    def both(params, x, dy):
        return vjp(case.layer, params, x, dy), jax.jvp(forward_only(case.layer), (params, x), tangent)[1]

    return jax.jit(both, compiler_options=QUICKLY)(params, x, dy)


@TABLE
def test_init_tells_the_shape_that_comes_out(case):
    shapes = jax.tree.map(lambda leaf: tuple(leaf.shape[1:]), eager(case)[0])
    assert shapes == problem(case).out_shape


@TABLE
def test_backward_is_the_vjp_of_forward(case):
    assert relative_error(eager(case)[2], by_jax(case)[0]) < 1e-12


@TABLE
def test_backward_is_the_central_difference_of_forward(case):
    params, x, dy, *_ = problem(case)
    found = jax.tree.leaves(eager(case)[2])
    leaves, treedef = jax.tree.flatten((params, x))
    product = lambda leaves: inner_product(case.layer.forward(*treedef.unflatten(leaves))[0], dy)
    forward = jax.jit(product, compiler_options=QUICKLY)
    for i, leaf in enumerate(leaves):
        if jnp.issubdtype(leaf.dtype, jnp.floating):
            at = lambda p, i=i: forward([*leaves[:i], p, *leaves[i + 1 :]])
            assert relative_error(found[i], central_difference(at, leaf)) < 1e-8


def inner_product(a, b):
    return sum(jnp.vdot(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


@TABLE
def test_backward_is_the_adjoint_of_the_jacobian(case):
    _, _, dy, tangent, _ = problem(case)
    _, jv = by_jax(case)
    assert inner(dy, jv) == pytest.approx(inner(eager(case)[2], tangent), rel=1e-11, abs=1e-11)


@TABLE
def test_gradient_of_a_sum_is_the_sum_of_gradients(case):
    if not case.per_example:
        pytest.skip("the examples of a batch are mixed, or share a key")
    params, x, dy, *_ = problem(case)
    whole, dx = eager(case)[2]
    row = lambda tree, n: jax.tree.map(lambda a: a[n : n + 1], tree)
    single = [program(case)(params, params, row(x, n), row(dy, n))[1] for n in range(N)]
    summed = jax.tree.map(lambda *g: sum(g[1:], g[0]), *[dparams for dparams, _ in single])
    assert relative_error(whole, summed) < 1e-12
    joined = jax.tree.map(lambda *parts: np.concatenate(parts), *[dx for _, dx in single])
    assert relative_error(dx, joined) < 1e-12


@TABLE
def test_jit_equals_eager(case):
    params, x, dy, *_ = problem(case)
    y, _, gradients = eager(case)
    assert relative_error(program(case)(params, params, x, dy), (y, gradients)) < 1e-12


@TABLE
@pytest.mark.parametrize("dtype", [jnp.float64, jnp.float32, jnp.bfloat16, jnp.float16])
def test_gradients_have_the_structure_shapes_and_dtypes_of_what_they_belong_to(case, dtype):
    params, x, dy = bp.util.cast(problem(case)[:3], dtype)
    y, (dparams, dx) = jax.eval_shape(lambda *a: run(case.layer, *a), params, x, dy)
    tangent = lambda a: a.dtype if jnp.issubdtype(a.dtype, jnp.floating) else jax.dtypes.float0
    kind = lambda tree: jax.tree.map(lambda a: (a.shape, tangent(a)), tree)
    assert all(leaf.dtype == dtype for leaf in jax.tree.leaves(y))
    assert kind((dparams, dx)) == kind((params, x))


@TABLE
def test_every_dtype_agrees_with_the_truth_in_float64(case):
    with jax.enable_x64(False):  # as `bpjax compare` finds them, which it says itself
        rows = {row.dtype: row.worst for row in check_layer_case("layer", "", case, examples=N)}
    assert all(worst.ok for worst in rows.values()), rows
    assert rows["float64"].error < 1e-12 and rows["float32"].error < 1e-5


@TABLE
def test_residuals_hold_no_parameters(case):
    params, x, dy, *_ = problem(case)
    residuals = eager(case)[1]
    assert not {id(r) for r in jax.tree.leaves(residuals)} & {id(p) for p in jax.tree.leaves(params)}
    if jax.tree.leaves(params) and case.blocked:  # handed other weights, backward transports the error through those
        zeros = jax.tree.map(jnp.zeros_like, params)
        for dx in jax.tree.leaves(program(case)(params, zeros, x, dy)[1][1]):
            assert dx.dtype == jax.dtypes.float0 or (dx == 0).all()


@pytest.mark.parametrize("dtype", [jnp.float64, jnp.float32, jnp.bfloat16, jnp.float16])
@pytest.mark.parametrize("layer", ACTIVATIONS.values(), ids=ACTIVATIONS)
def test_activations_are_finite_far_out(layer, dtype):
    a = jnp.array([[-1e4, -88.0, -20.0, 0.0, 20.0, 88.0, 1e4]], dtype)
    y, (_, da) = run(layer, (), a, jnp.ones_like(a))
    assert y.dtype == da.dtype == dtype
    assert jnp.isfinite(y).all()
    assert jnp.isfinite(da).all()


# φ and φ′ at 0.5 and −0.5, to 8 digits, worked out with a desk calculator's functions (math), not with JAX
E, S = math.exp, lambda a: 1 / (1 + math.exp(-a))
NORMAL = lambda a: 0.5 * (1 + math.erf(a / math.sqrt(2)))
U = lambda a: math.sqrt(2 / math.pi) * (a + 0.044715 * a**3)
DU = lambda a: math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * a**2)
BY_HAND = {
    "identity": (lambda a: a, lambda a: 1.0),
    "sigmoid": (S, lambda a: S(a) * (1 - S(a))),
    "scaled_sigmoid(-0.5, 0.5)": (lambda a: S(a) - 0.5, lambda a: 0.25 - (S(a) - 0.5) ** 2),
    "tanh": (math.tanh, lambda a: 1 / math.cosh(a) ** 2),
    "relu": (lambda a: max(a, 0.0), lambda a: float(a > 0)),
    "leaky_relu()": (lambda a: a if a > 0 else 0.01 * a, lambda a: 1.0 if a > 0 else 0.01),
    "elu()": (lambda a: a if a > 0 else E(a) - 1, lambda a: 1.0 if a > 0 else E(a)),
    "softplus": (lambda a: math.log(1 + E(a)), S),
    "gelu": (lambda a: a * NORMAL(a), lambda a: NORMAL(a) + a * E(-a * a / 2) / math.sqrt(2 * math.pi)),
    "gelu_tanh": (
        lambda a: 0.5 * a * (1 + math.tanh(U(a))),
        lambda a: 0.5 * (1 + math.tanh(U(a))) + 0.5 * a * DU(a) / math.cosh(U(a)) ** 2,
    ),
    "silu": (lambda a: a * S(a), lambda a: S(a) + a * S(a) * (1 - S(a))),
}


@pytest.mark.parametrize("name", BY_HAND)
@pytest.mark.parametrize("a", [-2.0, -0.5, 0.5, 3.0])
def test_activation_values_and_slopes_by_hand(name, a):
    phi, slope = BY_HAND[name]
    y, (_, da) = run(ACTIVATIONS[name], (), jnp.array([[a]]), jnp.ones((1, 1)))
    assert float(y[0, 0]) == pytest.approx(phi(a), rel=1e-13)
    assert float(da[0, 0]) == pytest.approx(slope(a), rel=1e-12)


def test_every_elementwise_activation_is_in_the_table_by_hand():
    assert set(ACTIVATIONS) - {"softmax"} == set(BY_HAND)


@pytest.mark.parametrize(
    ("layer", "slope"),
    [(bp.relu, 0.0), (bp.layers.leaky_relu(0.3), 0.3), (bp.layers.elu(2.0), 2.0), (bp.layers.elu(), 1.0)],
    ids=["relu", "leaky_relu", "elu(2)", "elu"],
)
def test_the_slope_at_a_kink_is_the_documented_one(layer, slope):
    _, (_, da) = run(layer, (), jnp.zeros((1, 1)), jnp.ones((1, 1)))
    assert float(da[0, 0]) == slope


def test_softmax_by_hand():
    # a = (0, ln 3): y = (1/4, 3/4); dy = (1, 0): da = y ⊙ (dy − Σ y dy) = (1/4 · 3/4, −3/4 · 1/4)
    y, (_, da) = run(bp.softmax, (), jnp.array([[0.0, math.log(3.0)]]), jnp.array([[1.0, 0.0]]))
    np.testing.assert_allclose(y, [[0.25, 0.75]], rtol=1e-15)
    np.testing.assert_allclose(da, [[3 / 16, -3 / 16]], rtol=1e-14)


def test_dense_by_hand():
    # x = (1, 2), W = [[1, 0, −1], [2, 1, 3]], b = (0.5, 0, −0.5):  y = (5.5, 2, 4.5)
    # dy = (1, 0, 2):  dW = xᵀ dy = [[1, 0, 2], [2, 0, 4]],  db = dy,  dx = dy Wᵀ = (−1, 8)
    params = bp.layers.Affine(jnp.array([[1.0, 0, -1], [2, 1, 3]]), jnp.array([0.5, 0, -0.5]))
    y, (dparams, dx) = run(bp.dense(3), params, jnp.array([[1.0, 2.0]]), jnp.array([[1.0, 0.0, 2.0]]))
    np.testing.assert_array_equal(y, [[5.5, 2, 4.5]])
    np.testing.assert_array_equal(dparams.w, [[1, 0, 2], [2, 0, 4]])
    np.testing.assert_array_equal(dparams.b, [1, 0, 2])
    np.testing.assert_array_equal(dx, [[-1, 8]])


def test_a_bias_is_the_weight_of_an_on_neuron(keys):
    (w, b), _ = bp.dense(3).init(next(keys), (4,))
    b = b + jnp.array([0.3, -0.2, 0.1])
    x, dy = jax.random.normal(next(keys), (5, 4)), jax.random.normal(next(keys), (5, 3))
    with_bias = run(bp.dense(3), bp.layers.Affine(w, b), x, dy)
    on = jnp.concatenate([x, jnp.ones((5, 1))], axis=1)  # an input that is always 1
    without = run(bp.dense(3, use_bias=False), bp.layers.Affine(jnp.concatenate([w, b[None, :]])), on, dy)
    np.testing.assert_allclose(with_bias[0], without[0], rtol=1e-14)
    np.testing.assert_allclose(with_bias[1][0].w, without[1][0].w[:4], rtol=1e-14)
    np.testing.assert_allclose(with_bias[1][0].b, without[1][0].w[4], rtol=1e-14)
    np.testing.assert_allclose(with_bias[1][1], without[1][1][:, :4], rtol=1e-14)


@pytest.mark.parametrize("shape", [(1, 1, 1), (4, 8, 8), (16, 16, 4), (16, 16, 5), (33, 20, 7)])
def test_both_forms_of_the_product_agree_with_numpy(shape, keys):
    from bpjax.layers.product import matmul

    n, m, k = shape
    a, b = jax.random.normal(next(keys), (n, m)), jax.random.normal(next(keys), (m, k))
    np.testing.assert_allclose(matmul(a, b), np.asarray(a) @ np.asarray(b), rtol=1e-12, atol=1e-13)


def test_mlp_is_a_chain(keys):
    network = bp.mlp((5, 4, 3), activation=bp.relu, output=bp.sigmoid)
    assert [layer.name for layer in network.layers] == ["dense", "relu", "dense", "sigmoid"]
    params, out_shape = network.init(next(keys), (5,))
    assert out_shape == (3,)
    assert [jnp.shape(p.w) for p in params if p] == [(5, 4), (4, 3)]


def test_initial_weights():
    key = jax.random.key(5)
    w, b = bp.dense(400).init(key, (300,))[0]
    assert float(w.std()) == pytest.approx(1 / math.sqrt(300), rel=0.01)  # 120,000 draws: 1 % is 5 standard errors
    assert not b.any()
    w, b = bp.dense(400, weights=bp.uniform(0.3), biases=bp.uniform(0.1)).init(key, (300,))[0]
    assert float(abs(w).max()) <= 0.3 and float(w.std()) == pytest.approx(0.3 / math.sqrt(3), rel=0.01)
    assert 0.09 < float(abs(b).max()) <= 0.1
