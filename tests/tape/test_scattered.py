"""Sparse adjoints: of gathers and slices, in loops, and as the result; what they cost."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.experimental.sparse import BCOO
from oracles import relative_error
from passes import quick_jit

from bpjax import layers
from bpjax.tape import reverse, vjp
from bpjax.util.jaxprs import num_entries, opened, subjaxprs

# in one process, which compiles the gradients once
pytestmark = pytest.mark.thorough

V, F, N, T = 1000, 3, 4, 5
table = jnp.asarray(np.random.default_rng(0).standard_normal((V, F)))
ids = jnp.asarray(np.random.default_rng(1).integers(0, V, (T, N))).at[2, 1].set(7).at[4].set(7)
far = jnp.array([-V - 1, -1, 0, V - 1, V, 3])


def scanned(table, body):
    return lax.scan(lambda h, row: (jnp.tanh(h + body(table, row)), None), jnp.zeros((N, F)), ids)[0].sum()


def nested(table):
    def outer(h, rows):
        return lax.scan(lambda h, k: (jnp.sin(h + table[k]), h.sum()), h, rows)

    return lax.scan(outer, jnp.zeros(F), ids)[1].sum()


def on_three_rows(table):
    return scanned(table, lambda table, k: table[k % 3])


def branched(table):
    def step(h, row):
        branches = [lambda h: jnp.tanh(h + table[row]), lambda h: jnp.sin(h) * table[row] + table[5:6], jnp.cos]
        h = lax.switch(row[0] % 3, branches, h)
        return h, h.sum()

    return lax.scan(step, jnp.zeros((N, F)), ids)[1].sum()


def dense_in_one_branch(table):
    branches = [lambda table: table.sum(), lambda table: jnp.sin(table[ids]).sum(), lambda table: 1.0]
    return sum(lax.switch(k, branches, table) for k in ids[0, :3] % 3)


def by_start(mode):
    numbers = lax.GatherDimensionNumbers(offset_dims=(1, 2), collapsed_slice_dims=(), start_index_map=(0,))
    return lambda table: jnp.sin(lax.gather(table, far[:, None], numbers, (2, F), mode=mode, fill_value=0)).sum()


SPARSE = {
    "rows": lambda table: jnp.sin(table[ids]).sum(),
    "rows twice": lambda table: (table[ids[0]] * table[ids[1]]).sum(),
    "out of bounds, fill": lambda table: jnp.sin(jnp.take(table, far, axis=0, fill_value=0)).sum(),
    "out of bounds, clip": lambda table: jnp.sin(jnp.take(table, far, axis=0, mode="clip")).sum(),
    "pairs of rows, fill": by_start("fill"),
    "pairs of rows, clip": by_start("clip"),
    "one row": lambda table: jnp.sin(table[ids[0, 0]]).sum(),
    "rows of a long slice": lambda table: jnp.sin(table[V - 2 :]).sum() + table[3].sum(),
    "vmap": lambda table: jax.vmap(lambda k: jnp.sin(table[k]).sum())(ids).sum(),
    "scan": lambda table: scanned(table, lambda table, k: table[k]),
    "scan, twice": lambda table: scanned(table, lambda table, k: table[k] * table[k + 1]),
    "scan, one row": lambda table: scanned(
        table, lambda table, k: table[k[0]][None] + lax.dynamic_slice(table, (k[1], 0), (1, F))
    ),
    "scan in a scan": nested,
    "scan of the first rows": lambda table: on_three_rows(table[:3]),
    "branches in a scan": branched,
    "remat": jax.checkpoint(lambda table: jnp.sin(table[ids]).sum()),
    "jit": jax.jit(lambda table: jnp.sin(table[ids]).sum()),
}
DENSE = {
    "columns": lambda table: jnp.sin(table[:, ids % F]).sum(),
    "entries": lambda table: jnp.sin(table[ids, ids % F]).sum(),
    "rows and all": lambda table: jnp.sin(table[ids]).sum() + table.sum(),
    "scan, and all": lambda table: scanned(table, lambda table, k: table[k] + table.sum(0, keepdims=True)),
    "dense in one branch": dense_in_one_branch,
    "transposed": lambda table: jnp.sin(table.T[0, ids]).sum(),
    "halves": lambda table: (jnp.sin(table[: V // 2]) * table[V // 2 :]).sum(),
    "neighbours": lambda table: (jnp.sin(table[1:]) * table[:-1]).sum(),
    "columns one by one": lambda table: (jnp.sin(table[:, 0]) * table[:, 2]).sum(),
    "slices of both axes": lambda table: (jnp.sin(table[:, :2]) * table[:, 1:]).sum() + table[:-3].sum(),
}


@quick_jit
def gradients(table):
    functions = SPARSE | DENSE
    return {name: (reverse(f)(table), reverse(f, sparse=True)(table)[1], jax.value_and_grad(f)(table))
            for name, f in functions.items()}  # fmt: skip


@pytest.fixture(scope="module")
def found():
    return gradients(table)


@pytest.mark.parametrize("name", SPARSE | DENSE)
def test_the_gradient_is_that_of_jax(found, name):
    ours, _, theirs = found[name]
    assert relative_error(ours, theirs) < 1e-12


@pytest.mark.parametrize("name", SPARSE)
def test_rows_are_returned_as_a_sparse_array(found, name):
    _, sparse, (_, theirs) = found[name]
    assert isinstance(sparse, BCOO) and sparse.n_sparse == 1 and sparse.n_dense == 1
    assert sparse.nse <= 4 * ids.size
    assert relative_error(sparse.todense(), theirs) < 1e-12


@pytest.mark.parametrize("name", DENSE)
def test_other_uses_are_returned_dense(found, name):
    _, gradient, (_, theirs) = found[name]
    assert isinstance(gradient, jax.Array)
    assert relative_error(gradient, theirs) < 1e-12


def test_a_sparse_gradient_keeps_the_structure_of_the_arguments():
    def loss(params, scale):
        return scale * (params["table"][ids[0]] @ params["w"]).sum()

    params = {"table": table, "w": jnp.ones(F)}
    _, (gradient, d_scale) = quick_jit(reverse(loss, (0, 1), sparse=True))(params, 2.0)
    expected, expected_scale = jax.grad(loss, (0, 1))(params, 2.0)
    assert isinstance(gradient["table"], BCOO)
    assert relative_error((gradient["table"].todense(), gradient["w"], d_scale),
                          (expected["table"], expected["w"], expected_scale)) < 1e-12  # fmt: skip


def test_the_pullback_of_a_table_is_sparse_too():
    y, pull_back = vjp(lambda table: table[ids[0]], table, sparse=True)
    (gradient,) = pull_back(jnp.ones_like(y))
    assert isinstance(gradient, BCOO)
    np.testing.assert_array_equal(gradient.todense(), jnp.zeros_like(table).at[ids[0]].add(1))


def dense_equations(jaxpr, inside=False) -> list[tuple[str, bool]]:
    """The primitives with a result as large as the table, and whether they stand in the body of a loop."""
    found = []
    for equation in opened(jaxpr).eqns:
        for sub in subjaxprs(equation):
            found += dense_equations(sub, inside or equation.primitive.name == "scan")
        if not subjaxprs(equation) or equation.primitive.name.startswith("scatter"):
            found += [(equation.primitive.name, inside) for v in equation.outvars if num_entries(v) >= V * F]
    return found


@pytest.mark.parametrize("name", ["rows twice", "scan, twice", "scan in a scan"])
def test_a_table_costs_one_dense_array_and_none_if_sparse(name):
    dense = dense_equations(jax.make_jaxpr(reverse(SPARSE[name]))(table))
    assert [name for name, _ in dense if not name.startswith("scatter")] == ["broadcast_in_dim"]
    assert not any(inside for _, inside in dense)
    assert dense_equations(jax.make_jaxpr(reverse(SPARSE[name], sparse=True))(table)) == []
    of_jax = dense_equations(jax.make_jaxpr(jax.grad(SPARSE[name]))(table))
    assert len(of_jax) > len(dense)


def test_slices_that_do_not_overlap_are_joined():
    def loss(x):
        return sum(jnp.sin(x[t] * x[t + 1]).sum() for t in range(9))

    x = table[:12]
    primitives = [e.primitive.name for e in opened(jax.make_jaxpr(reverse(loss))(x)).eqns]
    assert primitives.count("concatenate") == 2 and "pad" not in primitives  # x[0] … x[8], x[1] … x[9]
    assert relative_error(quick_jit(reverse(loss))(x), jax.value_and_grad(loss)(x)) < 1e-12


def test_a_small_table_in_a_long_loop_is_summed_in_place():
    jaxpr = jax.make_jaxpr(reverse(on_three_rows, sparse=True))(table[:3])
    *_, backward = [e for e in opened(jaxpr).eqns if e.primitive.name == "scan"]
    assert (3, F) in [v.aval.shape for v in backward.outvars]  # carried
    assert (T, N, F) not in [v.aval.shape for v in backward.outvars]  # stacked
    inside = [e.primitive.name for e in opened(backward.params["jaxpr"]).eqns]
    assert "scatter-add" in inside and "add_any" not in inside
    assert jaxpr.out_avals[1].shape == (3, F)


def test_the_forward_pass_of_an_embedding_gives_its_hand_written_backward():
    layer = layers.embedding(V, F)
    tokens, dy = ids.at[0, 0].set(ids[0, 1]), jnp.asarray(np.random.default_rng(3).standard_normal((T, N, F)))
    params = type(layer.init(jax.random.key(0), (N,))[0])(table)

    def both(params, dy):
        loss = lambda params: jnp.vdot(layer.forward(params, tokens)[0], dy)
        _, residuals = layer.forward(params, tokens)
        return (reverse(loss)(params)[1], reverse(loss, sparse=True)(params)[1], jax.grad(loss)(params),
                layer.backward(params, residuals, dy)[0])  # fmt: skip

    ours, sparse, theirs, by_hand = quick_jit(both)(params, dy)
    assert isinstance(sparse.w, BCOO) and sparse.w.nse == ids.size
    for gradient in (theirs, by_hand, type(ours)(sparse.w.todense())):
        assert relative_error(ours, gradient) < 1e-12


@pytest.mark.thorough
def test_the_forward_pass_of_a_sparse_layer_gives_its_hand_written_backward():
    layer = layers.sparse(layers.random_edges(jax.random.key(0), 30, 20, 4))
    params, _ = layer.init(jax.random.key(1), (30,))
    x, dy = jnp.asarray(np.random.default_rng(3).standard_normal((6, 30))), jnp.ones((6, 20))

    def all_three(params, x):
        loss = lambda params, x: jnp.vdot(layer.forward(params, x)[0], dy)
        by_hand = layer.backward(params, layer.forward(params, x)[1], dy)
        return reverse(loss, (0, 1))(params, x)[1], jax.grad(loss, (0, 1))(params, x), by_hand

    ours, theirs, by_hand = quick_jit(all_three)(params, x)
    assert relative_error(ours, theirs) < 1e-12 and relative_error(ours, by_hand) < 1e-12
