"""Sorting: every entry against `jax.vjp` and differences, and equal keys."""

import jax.numpy as jnp
import numpy as np
import pytest
from derivative_laws import Case, Cases, complex_normal, equal_at_edges, every_law, normal
from jax import lax

x, y = normal(3, 5), normal(3, 5, seed=1)
few = np.array([2, 0, 2, 1, 0])

CASES = Cases(
    [
        Case("sort", lambda x: lax.sort(x, 1), x),
        Case("sort", lambda x: lax.sort(x, 0, is_stable=False), x, name="sort unstable"),
        Case("sort", lambda x: lax.sort(x, 0), complex_normal(4), name="sort complex"),
        Case("sort", lambda x, y: lax.sort((x, y), 0), x, y, name="sort two"),
        Case("sort", lambda x, y: lax.sort((jnp.array(few), x, y), 0, num_keys=2)[1:], x[0], y[0], name="two keys"),
        Case("sort", lambda x: lax.sort((jnp.array(few), x), 0)[1], x[0], name="equal keys"),
        Case("sort", lambda x: lax.sort(x, 0), normal(0, 2), name="sort nothing"),
        Case("sort", lambda x: jnp.median(x, axis=1), x, name="median"),
        Case("sort", lambda x: jnp.quantile(x, 0.3, axis=0), x, name="quantile"),
        Case("top_k", lambda x: lax.top_k(x, 2), x),
        Case("top_k", lambda x: lax.top_k(x, 0)[0], x, name="top_k none"),
        Case("approx_top_k", lambda x: lax.approx_max_k(x, 3)[0], x),
        Case("approx_top_k", lambda x: lax.approx_min_k(x, 2, reduction_dimension=0)[0], x, name="approx_min_k"),
    ]
)

nan, inf = np.nan, np.inf
ties = np.array([[1.0, 2, 2, 1], [-0.0, 0, 0, -0.0], [nan, inf, -inf, nan]])

EDGES = Cases(
    [
        Case("sort", lambda x: lax.sort(x, 1), ties),
        Case("sort", lambda x, y: lax.sort((x, y), 1), ties, normal(3, 4), name="sort two"),
        Case("top_k", lambda x: lax.top_k(x, 3)[0], ties),
    ]
)


@every_law()
@pytest.mark.parametrize("name", CASES.names)
def test_law(law, name):
    law(CASES, name)


@pytest.mark.parametrize("name", EDGES.names)
def test_edges(name):
    equal_at_edges(EDGES, name)
