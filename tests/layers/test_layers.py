"""Laws that every layer in the registry obeys, and values worked out by hand."""

import functools
import itertools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from full_size import FULL
from grouped_cases import CASES, GROUPS, NETWORKS
from oracles import central_difference, inner, relative_error
from passes import drawn_params, forward_only, noise_like, quick_jit, run, vjp

import bpjax as bp
from bpjax.gradcheck.agreement import agree, budget
from bpjax.gradcheck.per_layer import compare_layer
from bpjax.gradcheck.registry import ACTIVATIONS
from bpjax.util.float64 import cast_on_host, perturb, to_host

LARGE = (
    *NETWORKS, "attention(2, causal), 3 blocks", "cross_attention", "bidirectional", "unroll(lstm(2), with_state=True)",
    "unroll(elman(2, relu)", "soft_spike", "unroll(leaky_integrate_and_fire), a", "unroll(leaky_integrator)",
    "unroll(leaky_integrate_and_fire), zero first", "attention(4, key_heads", "keyed(attention",
)  # fmt: skip
"""Networks, and layers whose parts are cases too: they take longest to compile."""
EVERY_DTYPE = (
    *ACTIVATIONS,
    "dense(3)",
    "conv(3, 2)",
    "max_pool((2, 2))",
    "layer_norm()",
    "unroll(elman(3))",
    "embedding",
)
"""The cases that are computed without `jit`, and in every dtype where the thorough tests are left out."""
N = 3
NARROW = ("float32", "bfloat16", "float16") if FULL else ("float32", "bfloat16")


def every_case(is_thorough: Callable[[str], bool], names=tuple(CASES)) -> pytest.MarkDecorator:
    """A test for each of the named cases, thorough where its name is so.

    All laws of a case run in one process, which compiles its programs once (see `tests/conftest.py`).
    """
    marks = {name: pytest.mark.thorough if is_thorough(name) else () for name in names}
    return pytest.mark.parametrize("case", [pytest.param(CASES[name], id=name, marks=marks[name]) for name in names])


TABLE = every_case(lambda name: name.startswith(LARGE) or name in GROUPS)
PARTS = [name for name in CASES if FULL or not name.startswith(NETWORKS)]
IN_EVERY_DTYPE = every_case(lambda name: not name.startswith(EVERY_DTYPE), PARTS)


class Problem(NamedTuple):
    """The point at which the laws of a case are checked."""

    params: Any  # no entry is 0
    x: Any
    dy: Any  # random, in the shape of the output
    tangent: Any  # of (params, x)
    out_shape: Any  # as returned by `init`


@functools.cache
def problem(case) -> Problem:
    """Drawn once by NumPy, which compiles nothing, and shared by all laws of a case."""
    keys = map(jax.random.fold_in, itertools.repeat(jax.random.key(20261123)), itertools.count())
    params, out_shape = drawn_params(case.layer, case.in_shape, keys)
    x = case.inputs(next(keys), N, case.in_shape)
    dy = noise_like(jax.eval_shape(case.layer.forward, params, x)[0], keys)
    return Problem(params, x, dy, noise_like((params, x), keys), out_shape)


@functools.cache
def program(case):
    """(params, params of the backward pass, x, dy) -> y, (dparams, dx) by hand, compiled."""

    def run(params, backward_params, x, dy):
        y, residuals = case.layer.forward(params, x)
        return y, case.layer.backward(backward_params, residuals, dy)

    return quick_jit(run)


@functools.cache
def by_hand(case):
    """y, (dparams, dx) by hand."""
    params, x, dy, *_ = problem(case)
    return program(case)(params, params, x, dy)


@functools.cache
def oracle(case):
    """(params, x, dy) -> (dparams, dx), and the Jacobian times the tangent, by JAX from the forward pass only."""
    tangent = problem(case).tangent

    def both(params, x, dy):
        return vjp(case.layer, params, x, dy), jax.jvp(forward_only(case.layer), (params, x), tangent)[1]

    return quick_jit(both)


@functools.cache
def by_jax(case):
    params, x, dy, *_ = problem(case)
    return oracle(case)(params, x, dy)


@functools.cache
def narrow(case):
    """By dtype: the inputs, (dparams, dx) by hand and the same by JAX, as float32 users run it, in one program."""
    inputs = {dtype: cast_on_host(to_host(problem(case)[:3]), dtype) for dtype in NARROW}
    both = lambda *args: (run(case.layer, *args)[1], vjp(case.layer, *args))
    with jax.enable_x64(False):
        results = quick_jit(lambda inputs: {dtype: both(*args) for dtype, args in inputs.items()})(inputs)
    return {dtype: (inputs[dtype], *results[dtype]) for dtype in NARROW}


@TABLE
def test_init_returns_the_shape_of_the_output(case):
    shapes = jax.tree.map(lambda leaf: tuple(leaf.shape[1:]), by_hand(case)[0])
    assert shapes == problem(case).out_shape


@TABLE
def test_backward_is_the_vjp_of_forward(case):
    assert relative_error(by_hand(case)[1], by_jax(case)[0]) < 1e-12


@TABLE
def test_backward_is_the_central_difference_of_forward(case):
    if case.frozen:
        pytest.skip("the gradient of params that are not trained is 0 by definition")
    params, x, dy, *_ = problem(case)
    found = jax.tree.leaves(by_hand(case)[1])
    leaves, treedef = jax.tree.flatten((params, x))
    forward = quick_jit(lambda leaves: inner_product(case.layer.forward(*treedef.unflatten(leaves))[0], dy))
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
    assert inner(dy, jv) == pytest.approx(inner(by_hand(case)[1], tangent), rel=1e-11, abs=1e-11)


@TABLE
def test_gradient_of_a_sum_is_the_sum_of_gradients(case):
    if not case.per_example:
        pytest.skip("the examples of a batch are mixed, or share a key")
    params, x, dy, *_ = problem(case)
    whole, dx = by_hand(case)[1]
    row = lambda tree, n: jax.tree.map(lambda a: np.asarray(a)[n : n + 1], tree)
    single = [program(case)(params, params, row(x, n), row(dy, n))[1] for n in range(N)]
    summed = jax.tree.map(lambda *g: sum(g[1:], g[0]), *[to_host(dparams) for dparams, _ in single])
    assert relative_error(whole, summed) < 1e-12
    joined = jax.tree.map(lambda *parts: np.concatenate(parts), *[dx for _, dx in single])
    assert relative_error(dx, joined) < 1e-12


ONE_BY_ONE = [name for name in CASES if not name.startswith(LARGE) and name not in GROUPS]


@every_case(
    lambda name: not name.startswith(EVERY_DTYPE),
    [name for name in ONE_BY_ONE if FULL or name.startswith(EVERY_DTYPE)],
)
def test_jit_equals_eager(case):
    params, x, dy, *_ = problem(case)
    assert relative_error(by_hand(case), run(case.layer, params, x, dy)) < 1e-12


@TABLE
def test_gradients_have_the_structure_and_shapes_of_params_and_x(case):
    check_kinds("float64", problem(case)[:2], *by_hand(case))


@TABLE
@pytest.mark.parametrize("dtype", NARROW)
def test_gradients_have_the_structure_shapes_and_dtypes_of_params_and_x(case, dtype):
    """By tracing alone, also where float64 is enabled: nothing is promoted to it."""
    inputs = cast_on_host(to_host(problem(case)[:3]), dtype)
    for wide in (False, True):
        with jax.enable_x64(wide):
            check_kinds(dtype, inputs[:2], *jax.eval_shape(lambda *a: run(case.layer, *a), *inputs))


def check_kinds(dtype, inputs, y, gradients):
    tangent = lambda a: a.dtype if jnp.issubdtype(a.dtype, jnp.floating) else jax.dtypes.float0
    kind = lambda tree: jax.tree.map(lambda a: (a.shape, tangent(a)), tree)
    assert all(leaf.dtype == dtype for leaf in jax.tree.leaves(y))
    assert kind(gradients) == kind(inputs)


@IN_EVERY_DTYPE
def test_every_dtype_agrees_with_the_truth_in_float64(case):
    assert relative_error(by_hand(case)[1], by_jax(case)[0]) < 1e-12
    for dtype, (inputs, found, reference) in narrow(case).items():
        if dtype == "float32":
            assert relative_error(found, truth_at(case, inputs)) < 1e-5
        if not all(row.ok for row in agreements(case, dtype, inputs, found, reference)):
            with jax.enable_x64(False):  # the tolerance of `compare` also allows for the rounding of residuals
                alone = compare_layer(case.layer, *inputs[:2])
            assert alone.wrong is None, (dtype, alone)


def truth_at(case, inputs):
    """(dparams, dx) by JAX in float64."""
    return to_host(oracle(case)(*cast_on_host(inputs, "float64"))[0])


def agreements(case, dtype, inputs, found, reference):
    """The comparison of every array of (dparams, dx) with the truth, as `bp.compare` does it."""
    perturbed = truth_at(case, perturb(inputs, 2 * float(jnp.finfo(dtype).eps)))
    arrays = lambda tree: [leaf for leaf in jax.tree.leaves(to_host(tree)) if leaf.dtype != jax.dtypes.float0]
    columns = map(arrays, (found, truth_at(case, inputs), reference, perturbed))
    return [
        agree(a, t, dtype=dtype, allowed=budget(dtype), reference=r, perturbed=p)
        for a, t, r, p in zip(*columns, strict=True)
    ]


@TABLE
def test_residuals_hold_no_parameters(case):
    params, x, dy, *_ = problem(case)
    traced = jax.make_jaxpr(lambda params: case.layer.forward(params, x)[1])(params).jaxpr
    assert not set(map(id, traced.outvars)) & set(map(id, traced.invars))
    if jax.tree.leaves(params) and case.blocked:  # with other weights, backward transports the error through those
        zeros = jax.tree.map(np.zeros_like, to_host(params))
        for dx in jax.tree.leaves(program(case)(params, zeros, x, dy)[1][1]):
            assert dx.dtype == jax.dtypes.float0 or not np.asarray(dx).any()


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
