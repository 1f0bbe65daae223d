"""No batch of matrices reaches LAPACK, where JAX can deadlock on a CPU."""

import re

import jax
import jax.numpy as jnp
import pytest

import bpjax as bp
from bpjax.util.sequential_under_vmap import sequential_under_vmap

NETWORK = bp.mlp((3, 4, 2), bp.tanh, weights="orthogonal")
BATCH = jnp.ones((5, 3)), jnp.zeros((5, 2))


def start(key):
    return NETWORK.init(key, (3,))[0]


def kernels(key):
    return [bp.layers.delta_orthogonal()(key, (3, 3, 2, 4)), bp.layers.orthogonal()(key, (3, 3, 2, 4))]


def curvatures(key):
    rule = bp.backprop(NETWORK, bp.squared_error)
    params = start(key)
    return bp.analysis.largest_curvature(rule, params, BATCH, key), bp.analysis.extreme_curvatures(
        rule, params, BATCH, key
    )


def step_of_shampoo(key):
    params = start(key)
    optimizer = bp.optimizers.shampoo(0.1)
    return optimizer.update(params, optimizer.init(params))[0]


def ranks_in_lapack(function, keys) -> list[int]:
    """The rank of every array that a compiled `function` passes to LAPACK."""
    lines = [line for line in jax.jit(function).lower(keys).as_text().splitlines() if "lapack" in line]
    return [kind.count("x") for line in lines for kind in re.findall(r"tensor<([0-9x]*x)f", line)]


@pytest.mark.thorough
@pytest.mark.parametrize("made", [start, kernels, curvatures, step_of_shampoo])
def test_matrices_of_a_vmap_go_to_lapack_one_by_one(made):
    keys = jax.random.split(jax.random.key(0), 7)
    ranks = ranks_in_lapack(jax.vmap(made), keys)
    assert ranks and max(ranks) == 2
    assert max(ranks_in_lapack(jax.vmap(lambda key: jnp.linalg.qr(jax.random.normal(key, (3, 3)))), keys)) == 3
    many, single = jax.jit(jax.vmap(made))(keys), jax.jit(made)(keys[3])
    for a, b in zip(jax.tree.leaves(many), jax.tree.leaves(single), strict=True):
        assert jnp.allclose(a[3], b, atol=1e-5)


def test_the_result_is_that_of_the_function():
    a = jax.random.normal(jax.random.key(0), (2, 4, 4))
    assert jnp.array_equal(sequential_under_vmap(jnp.linalg.qr)(a[0]).Q, jnp.linalg.qr(a[0]).Q)
    assert jnp.array_equal(
        bp.sweeps.lanes(sequential_under_vmap(jnp.linalg.qr))(a).Q, jax.vmap(sequential_under_vmap(jnp.linalg.qr))(a).Q
    )
