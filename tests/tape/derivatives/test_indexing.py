"""Slices, gather, scatter: every entry against `jax.vjp` and differences, duplicates and indices out of bounds."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from derivative_laws import Case, Cases, central_difference, complex_normal, every_law, normal
from jax import lax
from passes import quick_jit

from bpjax.tape import reverse
from bpjax.tape import vjp as tape_vjp

x, table = normal(4, 5), normal(6, 2)
i = np.array([[0, 5], [2, 2]])  # with a duplicate
far = np.array([-7, -1, 3, 6, 3])  # −7 and 6 are out of bounds
unique = np.array([4, 1, 2])


def at(method, index=i, **options):
    return lambda x, u: getattr(x.at[index], method)(u, **options)


def along(x, k):
    return jnp.take_along_axis(x, k, axis=1)


def windows(mode, count=3):
    """Windows of 2 rows from a table, the last one half outside."""
    numbers = lax.GatherDimensionNumbers(offset_dims=(1, 2), collapsed_slice_dims=(), start_index_map=(0,))
    indices = np.array([[0], [1], [5]])[:count]
    return lambda x: lax.gather(x, indices, numbers, (2, 2), mode=mode, fill_value=0)


CASES = Cases(
    [
        Case("slice", lambda x: lax.slice(x, (1, 0), (4, 5), (2, 3)), x),
        Case("slice", lambda x: lax.slice(x, (1, 2), (1, 5)), x, name="slice of nothing"),
        Case("slice", lambda x: x[10:12] * x[1:3], normal(40), name="slices of a long array"),
        Case("dynamic_slice", lambda x, k: lax.dynamic_slice(x, (k, 1), (2, 3)), x, np.array(1)),
        Case("dynamic_slice", lambda x, k: lax.dynamic_slice(x, (k, k), (2, 5)) * x[:2], x, np.array(9), name="end"),
        Case("dynamic_slice", lambda x, k: jnp.sin(x[k]) + x[k + 1], x, np.array(-2), name="x[k] twice"),
        Case("dynamic_update_slice", lambda x, u, k: lax.dynamic_update_slice(x, u, (k, 1)), x, normal(2, 3),
             np.array(7)),
        Case("gather", lambda x: x[i], table),
        Case("gather", lambda x: jnp.take(x, far, axis=0, mode="fill", fill_value=3.0), table, name="gather fill"),
        Case("gather", lambda x: jnp.take(x, far, axis=0, mode="clip"), table, name="gather clip"),
        Case("gather", lambda x: x.at[i[0]].get(mode="promise_in_bounds"), complex_normal(6, 2), name="gather complex"),
        Case("gather", lambda x: x[:, i], normal(3, 6), name="gather columns"),
        Case("gather", lambda x: x[i, :, i.T], normal(6, 2, 6), name="gather by two indices"),
        Case("gather", lambda x: jax.vmap(lambda row, k: row[k])(x, i), normal(2, 6), name="gather in a batch"),
        Case("gather", along, x, np.array([[0, 3], [1, 1], [4, 0], [2, 2]]), name="take_along_axis"),
        Case("gather", windows("fill"), table, name="gather windows fill"),
        Case("gather", windows("clip"), table, name="gather windows clip"),
        Case("gather", windows("fill", 0), table, name="gather nothing"),
        Case("scatter", at("set", unique), table, normal(3, 2)),
        Case("scatter", at("set", unique, unique_indices=True), table, normal(3, 2), name="scatter unique"),
        Case("scatter", at("set"), table, normal(2, 2, 2), name="scatter duplicates"),
        Case("scatter", at("set", far, mode="clip"), table, normal(5, 2), name="scatter clip"),
        Case("scatter", at("set", far, mode="drop"), table, normal(5, 2), name="scatter drop"),
        Case("scatter-add", at("add"), table, normal(2, 2, 2)),
        Case("scatter-add", at("add", far, mode="clip"), table, normal(5, 2), name="scatter-add clip"),
        Case("scatter-add", at("add", far, mode="drop"), table, normal(5, 2), name="scatter-add drop"),
        Case("scatter-add", lambda u: jax.ops.segment_sum(u, jnp.array([0, 2, 0, 7]), 4), x, name="segments"),
        Case("scatter-sub", at("subtract"), table, normal(2, 2, 2)),
        Case("scatter-mul", at("multiply", unique, unique_indices=True), table, normal(3, 2)),
        Case("scatter-min", at("min"), table, normal(2, 2, 2)),
        Case("scatter-max", at("max"), table, normal(2, 2, 2)),
        Case("scatter-max", at("max", far, mode="drop"), table, normal(5, 2), name="scatter-max drop"),
        Case("scatter-max", lambda u: jax.ops.segment_max(u, jnp.array([0, 2, 0, 1]), 3), x, name="segment_max"),
        Case("scatter-add", lambda x, u: jax.vmap(lambda x, u, k: x.at[k].add(u))(x, u, i), normal(2, 6), normal(2, 2),
             name="scatter-add in a batch"),
    ]
)  # fmt: skip


@every_law()
@pytest.mark.parametrize("name", CASES.names)
def test_law(law, name):
    law(CASES, name)


def cotangents(function, *inputs):
    def program(*inputs):
        y, pull_back = tape_vjp(function, *inputs)
        return pull_back(jnp.arange(1.0, y.size + 1).reshape(y.shape))

    return quick_jit(program)(*map(jnp.asarray, inputs))


def test_a_product_of_duplicates_has_the_derivative_by_each_factor():
    # JAX refuses it. Entry 0: x·2·5, entry 1: x·0·3, entry 2: x·0·0, entry 3 untouched; dy = 1, 2, 3, 4.
    k, u, x = np.array([0, 1, 0, 1, 2, 2]), np.array([2.0, 0, 5, 3, 0, 0]), np.array([7.0, 11, 13, 17])
    dx, du = cotangents(at("multiply", k), x, u)
    np.testing.assert_array_equal(dx, [10, 0, 0, 4])
    np.testing.assert_array_equal(du, [35, 2 * 33, 14, 0, 0, 0])


def test_a_product_of_duplicates_equals_differences():
    function = at("multiply", np.array([0, 1, 0, 9]))
    x, u = jnp.asarray(normal(3)), jnp.asarray(normal(4))
    found = cotangents(function, x, u)
    for k, v in ((0, normal(3, seed=1)), (1, normal(4, seed=1))):
        jv = central_difference(function, [x, u], {k: jnp.asarray(v)})
        np.testing.assert_allclose(jnp.vdot(found[k], v), jnp.vdot(jnp.arange(1.0, 4), jv), rtol=1e-9)


def test_equal_entries_share_the_cotangent_of_a_scattered_maximum():
    # Entry 0: x = 1 = u₀ = u₂, in thirds; entry 1: u₁ alone; entry 2: x alone; entry 3 untouched. dy = 1, 2, 3, 4.
    x, u = np.array([1.0, 0, 5, 7]), np.array([1.0, 3, 1, 2])
    dx, du = cotangents(at("max", np.array([0, 1, 0, 2])), x, u)
    np.testing.assert_allclose(dx, [1 / 3, 0, 3, 4], rtol=1e-15)
    np.testing.assert_allclose(du, [1 / 3, 2, 1 / 3, 0], rtol=1e-15)


def test_apply_has_no_derivative():
    with pytest.raises(NotImplementedError, match=r"x\.at\[i\]\.set\(f\(x\[i\]\)\)"):
        reverse(lambda x: x.at[i].apply(jnp.sin).sum())(jnp.ones(6))
