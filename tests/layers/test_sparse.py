"""Sparse layers against a dense layer with zeros; edges; work proportional to the number of edges."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import relative_error
from passes import noise_like, quick_jit, run

import bpjax as bp
from bpjax.layers.edges import Edges, banded_edges, edges_from_mask, random_edges
from bpjax.layers.sparse import SMALL, SparseAffine, sparse

KEY = jax.random.key(7)


def prepare(edges, examples, keys):
    normal = lambda *shape: noise_like(jnp.empty(shape), keys)
    params = SparseAffine(normal(len(edges.source)), normal(edges.outputs))
    return params, normal(examples, edges.inputs), normal(examples, edges.outputs)


def with_zeros(edges, params, x, dy):
    """NumPy: the dense layer y = x W + b, W zero where there is no edge."""
    w, b, x, dy = map(np.asarray, (*params, x, dy))
    matrix = np.zeros((edges.inputs, edges.outputs))
    matrix[edges.source, edges.target] = w
    return x @ matrix + b, (SparseAffine((x.T @ dy)[edges.source, edges.target], dy.sum(0)), dy @ matrix.T)


def shuffled(edges):
    order = np.random.default_rng(0).permutation(len(edges.source))
    return edges._replace(source=edges.source[order], target=edges.target[order])


HUB = np.zeros((40, 5), bool)  # all inputs to unit 0, in three rows of edges; input 3 to units 0-3; none to unit 4
HUB[:, 0] = HUB[3, :4] = True

EDGES = {
    "random": random_edges(KEY, 7, 5, per_unit=3),
    "random, as many as there are": random_edges(KEY, 4, 3, per_unit=4),
    "random density": random_edges(KEY, 9, 6, density=0.3),
    "banded": banded_edges(9, 5, 3),
    "in any order": shuffled(random_edges(KEY, 7, 5, density=0.5)),
    "a hub": edges_from_mask(HUB),
    "one edge": Edges(np.array([1]), np.array([2]), 3, 4),
    "many edges, a scan over examples": random_edges(KEY, 100, 90, per_unit=SMALL // 90 + 1),
}


@pytest.mark.parametrize("examples", [1, 11])
@pytest.mark.parametrize("name", EDGES)
def test_a_sparse_layer_is_the_dense_layer_with_zeros(name, examples, keys):
    edges = EDGES[name]
    params, x, dy = prepare(edges, examples, keys)
    found = quick_jit(lambda *a: run(sparse(edges), *a))(params, x, dy)
    assert relative_error(found, with_zeros(edges, params, x, dy)) < 1e-13


def test_by_hand():
    # edges 0 → 1 with weight 2, 2 → 0 with 3, 2 → 1 with 5; b = (1, 0); x = (7, 9, 1), dy = (1, 10)
    # y = (3 · 1 + 1, 2 · 7 + 5 · 1) = (4, 19);  dw = (7 · 10, 1 · 1, 1 · 10);  dx = (2 · 10, 0, 3 · 1 + 5 · 10)
    edges = Edges(np.array([0, 2, 2]), np.array([1, 0, 1]), 3, 2)
    params = SparseAffine(jnp.array([2.0, 3, 5]), jnp.array([1.0, 0]))
    y, (dparams, dx) = run(sparse(edges), params, jnp.array([[7.0, 9, 1]]), jnp.array([[1.0, 10]]))
    np.testing.assert_array_equal(y, [[4, 19]])
    np.testing.assert_array_equal(dparams.w, [70, 1, 10])
    np.testing.assert_array_equal(dparams.b, [1, 10])
    np.testing.assert_array_equal(dx, [[20, 0, 53]])


def test_half_precision_is_summed_in_float32(keys):
    edges = random_edges(KEY, 300, 4, per_unit=300)
    params, x, dy = bp.util.cast(prepare(edges, 9, keys), jnp.float16)
    truth = with_zeros(edges, *bp.util.cast((params, x, dy), jnp.float64))
    found = quick_jit(lambda *a: run(sparse(edges), *a))(params, x, dy)
    assert {leaf.dtype for leaf in jax.tree.leaves(found)} == {jnp.dtype(jnp.float16)}
    assert relative_error(found, truth) < 5e-4


def multiplications(jaxpr) -> int:
    """The scalar multiplications of a program: loops times their length, of a choice the costliest branch."""
    count = 0
    for equation in jaxpr.eqns:
        name, out = equation.primitive.name, equation.outvars[0].aval
        assert name not in ("dot_general", "conv_general_dilated", "while"), name
        inner = [
            multiplications(getattr(p, "jaxpr", p))
            for p in jax.tree.leaves(
                list(equation.params.values()), is_leaf=lambda p: hasattr(p, "eqns") or hasattr(p, "jaxpr")
            )
            if hasattr(p, "eqns") or hasattr(p, "jaxpr")
        ]
        count += max(inner, default=0) * equation.params.get("length", 1)
        count += out.size if name == "mul" and jnp.issubdtype(out.dtype, jnp.floating) else 0
    return count


@pytest.mark.parametrize("name", ["a hub", "banded", "many edges, a scan over examples"])
def test_the_work_is_one_product_an_edge_forward_and_two_backward(name, keys):
    edges, examples = EDGES[name], 8
    layer = sparse(edges)
    params, x, dy = prepare(edges, examples, keys)
    forward = jax.make_jaxpr(layer.forward)(params, x)
    backward = jax.make_jaxpr(layer.backward)(params, x, dy)
    assert multiplications(forward.jaxpr) == examples * len(edges.source)
    assert multiplications(backward.jaxpr) == 2 * examples * len(edges.source)


def test_random_edges():
    edges = random_edges(KEY, 50, 20, per_unit=6)
    assert (np.bincount(edges.target) == 6).all()
    assert len(set(zip(edges.source, edges.target, strict=True))) == 120
    again = random_edges(KEY, 50, 20, per_unit=6)
    np.testing.assert_array_equal(edges.source, again.source)
    assert (random_edges(jax.random.key(8), 50, 20, per_unit=6).source != edges.source).any()
    thin = random_edges(KEY, 50, 20, density=0.1)
    assert len(thin.source) == 100 == len(set(zip(thin.source, thin.target, strict=True)))
    # inputs are uniform: 20,000 edges over 50 inputs, 400 each with standard deviation 19
    counts = np.bincount(random_edges(KEY, 50, 4000, per_unit=5).source, minlength=50)
    assert abs(counts - 400).max() < 5 * 19


def test_banded_edges_by_hand():
    # 7 inputs, 4 units at 0, 2, 4, 6, fields of 3; those at the border are shifted inwards
    edges = banded_edges(7, 4, 3)
    np.testing.assert_array_equal(edges.source.reshape(4, 3), [[0, 1, 2], [1, 2, 3], [3, 4, 5], [4, 5, 6]])
    np.testing.assert_array_equal(edges.target, np.repeat(range(4), 3))
    np.testing.assert_array_equal(banded_edges(5, 1, 3).source, [1, 2, 3])


def test_edges_from_mask():
    mask = np.array([[True, False], [True, True], [False, False]])
    assert [edge.tolist() for edge in edges_from_mask(mask)[:2]] == [[0, 1, 1], [0, 0, 1]]
    assert edges_from_mask(mask)[2:] == (3, 2)


def test_initial_weights_are_those_of_a_dense_layer_with_as_many_inputs():
    # units with 4 and with 100 edges: standard deviations 1/2 and 1/10; 2,000 and 50,000 draws, 5 standard errors
    mask = np.zeros((100, 1000), bool)
    mask[:4] = True
    mask[:, 500:] = True
    edges = shuffled(edges_from_mask(mask))
    params, shape = sparse(edges).init(KEY, (100,))
    assert shape == (1000,) and not params.b.any()
    few = edges.target < 500
    assert float(params.w[few].std()) == pytest.approx(1 / 2, rel=0.08)
    assert float(params.w[~few].std()) == pytest.approx(1 / 10, rel=0.016)
    he = sparse(edges, weights="he").init(KEY, (100,))[0]
    assert float(he.w[~few].std()) == pytest.approx(np.sqrt(2 / 100), rel=0.016)


ONE = EDGES["one edge"]
TWICE = Edges(np.array([0, 1, 0]), np.array([1, 1, 1]), 2, 2)
PARAMS, _ = sparse(ONE).init(KEY, (3,))
BAD = {
    "not edges": (lambda: sparse(3), r"`sparse` expected Edges.*got int\. Make them with `random_edges`"),
    "fractions": (lambda: sparse(ONE._replace(source=np.array([0.5]))), r"integers.*got float64\[1\]"),
    "no edges": (lambda: sparse(edges_from_mask(np.zeros((2, 2), bool))), r"at least one edge, got int\d+\[0\]"),
    "source": (lambda: sparse(ONE._replace(source=np.array([3]))), r"every `source` from 0 to 2, got 3 at edge 0"),
    "target": (lambda: sparse(ONE._replace(target=np.array([-1]))), r"every `target` from 0 to 3, got -1 at edge 0"),
    "twice": (lambda: sparse(TWICE), r"distinct edges, got a second edge from 0 to 1 at index 2\. Remove it"),
    "in_shape": (lambda: sparse(ONE).init(KEY, (4,)), r"edges from 3 inputs expected `in_shape` \(3,\), got \(4,\)"),
    "x": (lambda: sparse(ONE).forward(PARAMS, jnp.ones((2, 4))), r"`sparse` expected `x` of shape \(N, 3\)"),
    "dtype": (lambda: sparse(ONE).forward(PARAMS, jnp.ones((2, 3), jnp.float32)), r"dtype of its weights, float64"),
    "params": (
        lambda: sparse(TWICE._replace(source=np.arange(3), inputs=3)).forward(PARAMS, jnp.ones((2, 3))),
        r"`sparse` with 3 edges expected params SparseAffine\(w=\(3,\), b=\(2,\)\)",
    ),
    "neither": (lambda: random_edges(KEY, 3, 3), r"either `per_unit` or `density`, got per_unit=None"),
    "too many": (
        lambda: random_edges(KEY, 3, 3, per_unit=4),
        r"`per_unit` to be at most the number of inputs, 3, got 4",
    ),
    "density": (lambda: random_edges(KEY, 3, 3, density=1.5), r"`density` to be a finite number > 0 and ≤ 1, got 1.5"),
    "width": (lambda: banded_edges(3, 3, 4), r"`width` to be at most the number of inputs, 3, got 4"),
    "mask": (lambda: edges_from_mask(np.ones((2, 2))), r"booleans \(inputs, units\), got float64\[2, 2\]"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_raises(name):
    call, sentence = BAD[name]
    with pytest.raises(ValueError, match=sentence):
        call()
