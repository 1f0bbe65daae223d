"""Reductions and cumulative operations: every entry against `jax.vjp` and differences, ties and zeros by hand."""

import jax.numpy as jnp
import numpy as np
import pytest
from derivative_laws import Case, Cases, complex_normal, equal_at_edges, every_law, normal
from jax import lax
from passes import quick_jit

from bpjax.tape import vjp as tape_vjp

x = normal(2, 3, 4)
with_zeros = np.where(np.abs(normal(3, 4)) < 0.5, 0.0, normal(3, 4))

CASES = Cases(
    [
        Case("reduce_sum", lambda x: lax.reduce_sum(x, (0, 2)), x),
        Case("reduce_sum", lambda x: lax.reduce_sum(x, (1,)), normal(2, 0), name="reduce_sum of nothing"),
        Case("reduce_max", lambda x: lax.reduce_max(x, (0, 2)), x),
        Case("reduce_min", lambda x: lax.reduce_min(x, (1,)), x),
        Case("reduce_prod", lambda x: lax.reduce_prod(x, (0, 2)), x),
        Case("reduce_prod", lambda x: lax.reduce_prod(x, (1,)), with_zeros, name="reduce_prod of zeros"),
        Case("reduce_prod", lambda x: lax.reduce_prod(x, (0,)), complex_normal(3, 2), name="reduce_prod complex"),
        Case("reduce_prod", lambda x: lax.reduce_prod(x, (0,)), normal(0, 2), name="reduce_prod of nothing"),
        Case("cumsum", lambda x: lax.cumsum(x, 1), x),
        Case("cumsum", lambda x: lax.cumsum(x, 0, reverse=True), x, name="cumsum back"),
        Case("cumprod", lambda x: lax.cumprod(x, 2), x),
        Case("cumprod", lambda x: lax.cumprod(x, 1, reverse=True), with_zeros, name="cumprod of zeros, back"),
        Case("cumprod", lambda x: lax.cumprod(x, 0), complex_normal(3, 2), name="cumprod complex"),
        Case("cummax", lambda x: lax.cummax(x, 1), x),
        Case("cummax", lambda x: lax.cummax(x, 1, reverse=True), x, name="cummax back"),
        Case("cummin", lambda x: lax.cummin(x, 0), x),
        Case("cumlogsumexp", lambda x: lax.cumlogsumexp(x, 1), x),
        Case("cumlogsumexp", lambda x: lax.cumlogsumexp(x, 2, reverse=True), 30 * x, name="cumlogsumexp back",
             truncation=1e5),
        *(Case(name, lambda x, name=name: getattr(lax, name)(x, 1), normal(2, 0), name=f"{name} of nothing")
          for name in ("cumsum", "cumprod", "cummax", "cummin", "cumlogsumexp")),
    ]
)  # fmt: skip

inf, nan = np.inf, np.nan
ties = np.array([[1.0, 2, 2, 1], [3, 3, 3, 3], [0, -0.0, -1, 0], [-inf, inf, inf, 1], [1, nan, 2, nan]])

EDGES = Cases(
    [
        Case("reduce_max", lambda x: lax.reduce_max(x, (1,)), ties),
        Case("reduce_min", lambda x: lax.reduce_min(x, (1,)), ties),
        Case("reduce_prod", lambda x: lax.reduce_prod(x, (1,)), ties[:3]),
        Case("cumprod", lambda x: lax.cumprod(x, 1), ties[:3]),
        Case("cumlogsumexp", lambda x: lax.cumlogsumexp(x, 1), ties[:3]),
        Case("cummax", lambda x: lax.cummax(x, 1), np.array([[1.0, 1, 0, 2], [2, 1, 2, 3]])),
    ]
)


@every_law()
@pytest.mark.parametrize("name", CASES.names)
def test_law(law, name):
    law(CASES, name)


@pytest.mark.thorough
@pytest.mark.parametrize("name", EDGES.names)
def test_edges(name):
    equal_at_edges(EDGES, name)


def pull_back(function, x, dy):
    return quick_jit(lambda x, dy: tape_vjp(function, x)[1](dy)[0])(jnp.array(x), jnp.array(dy))


@pytest.mark.parametrize(("reverse", "order"), [(False, 1), (True, -1)])
def test_equal_entries_share_the_cotangent_of_a_cumulative_maximum(reverse, order):
    # y = [1, 1, 1, 3, 3, 3]: the first is the only 1 of y₀ and y₁, shares y₂ with x₂; x₃ is alone in y₃ and y₄,
    # half of y₅.
    x, dy = np.array([1.0, 0, 1, 3, 2, 3])[::order], np.array([1.0, 10, 100, 1e3, 1e4, 1e5])[::order]
    dx = pull_back(lambda x: lax.cummax(x, 0, reverse=reverse), x, dy)
    np.testing.assert_allclose(dx[::order], [61, 0, 50, 61e3, 0, 5e4], rtol=1e-15)


def test_three_equal_entries_share_a_cumulative_minimum_in_thirds():
    dx = pull_back(lambda x: lax.cummin(x, 0), np.array([5.0, 5, 5, nan]), np.array([1.0, 10, 300, 7]))
    np.testing.assert_allclose(dx, [106, 105, 100, 0], rtol=1e-15)


def test_a_cumulative_logsumexp_of_large_and_of_infinite_numbers():
    # exp(1000) is no number; the last entry takes all of the last sum. Before it, −∞ takes nothing of a finite sum.
    dx = pull_back(lambda x: lax.cumlogsumexp(x, 0), np.array([0.0, -inf, 0, 1000]), np.array([1.0, 2, 4, 8]))
    np.testing.assert_allclose(dx, [1 + 2 + 2, 0, 2, 8], rtol=1e-15)


def test_a_generic_reduction_falls_back_to_jax_vjp():
    # y = (1 + x₀)(1 + x₁)(1 + x₂) − 1
    function = lambda x: lax.reduce(x, 0.0, lambda a, b: a + b + a * b, (0,))
    np.testing.assert_allclose(pull_back(function, np.array([1.0, 2, 3]), 1.0), [12, 8, 6], rtol=1e-15)
