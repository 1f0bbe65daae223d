"""Linear algebra: every entry against `jax.vjp` and differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from derivative_laws import Case, Cases, complex_normal, equals_differences, every_law, normal
from jax import lax
from oracles import relative_error
from passes import quick_jit

from bpjax.tape import vjp as tape_vjp

linalg = lax.linalg


def positive(a):
    return a @ np.swapaxes(a.conj(), -1, -2) + np.eye(a.shape[-1])


def triangle(a, lower):
    """A well-conditioned triangular matrix, with entries in the other triangle that are not to be read."""
    size = a.shape[-1]
    return np.where(np.tri(size, dtype=bool) == lower, 0.3, 5.0) * a + 2 * np.eye(size)


def solve(**options):
    return lambda a, b: linalg.triangular_solve(a, b, **options)


def outer(columns, others=None):
    """Each column of a matrix times the conjugate of a column: does not depend on its phase."""
    return jnp.einsum("...ik,...jk->...kij", columns, jnp.conj(columns if others is None else others))


def eigh_projectors(a):
    v, w = linalg.eigh(a)
    return w, outer(v)


def svd_projectors(a):
    u, s, vh = linalg.svd(a, full_matrices=False)
    v = jnp.swapaxes(jnp.conj(vh), -1, -2)
    return s, outer(u), outer(u, v), outer(v)


def eigenvalues(a):
    return jnp.asarray(linalg.eig(a, compute_left_eigenvectors=False, compute_right_eigenvectors=False)[0])


def singular_values(a):
    return linalg.svd(a, full_matrices=False, compute_uv=False)


def qr(a, **options):
    return linalg.qr(a, full_matrices=False, **options)


a, c = normal(2, 3, 3), complex_normal(2, 3, 3)
lower, upper = (triangle(complex_normal(2, 3, 3), k) for k in (True, False))
diagonals = normal(4), 4 + normal(4, seed=1), normal(4, seed=2)
cases = [
    Case("triangular_solve", solve(left_side=True, lower=True), lower.real, normal(2, 3, 2), name="L x = b"),
    Case("triangular_solve", solve(left_side=False, lower=False), upper.real, normal(2, 2, 3), name="x U = b"),
    Case("triangular_solve", solve(left_side=True, lower=False, transpose_a=True), upper, complex_normal(2, 3, 2),
         name="Uᵀ x = b complex"),
    Case("triangular_solve", solve(left_side=False, lower=True, transpose_a=True, conjugate_a=True), lower,
         complex_normal(2, 2, 3), name="x Lᴴ = b complex"),
    Case("triangular_solve", solve(left_side=True, lower=True, transpose_a=True, conjugate_a=True,
         unit_diagonal=True), lower, complex_normal(2, 3, 2), name="Lᴴ x = b complex, unit diagonal"),
    Case("triangular_solve", solve(left_side=False, lower=False, unit_diagonal=True), upper.real, normal(2, 2, 3),
         name="x U = b, unit diagonal"),
    Case("tridiagonal_solve", linalg.tridiagonal_solve, *diagonals, normal(4, 2)),
    Case("cholesky", linalg.cholesky, positive(a)),
    Case("cholesky", linalg.cholesky, positive(c), name="cholesky complex"),
    Case("lu", lambda a: linalg.lu(a)[0], a),
    Case("lu", lambda a: linalg.lu(a)[0], c, name="lu complex"),
    Case("lu", lambda a: linalg.lu(a)[0], normal(2, 3, 5), name="lu wide"),
    Case("lu", lambda a: linalg.lu(a)[0], normal(2, 5, 3), name="lu tall"),
    Case("eigh", eigh_projectors, positive(a), truncation=100),
    Case("eigh", eigh_projectors, positive(c), name="eigh complex", truncation=100),
    Case("eig", eigenvalues, a, truncation=100),
    Case("eig", eigenvalues, c, name="eig complex", truncation=100),
    Case("svd", svd_projectors, a, truncation=100),
    Case("svd", svd_projectors, complex_normal(3, 3), name="svd complex", truncation=100),
    Case("svd", svd_projectors, complex_normal(2, 2, 4), name="svd complex wide", truncation=100),
    Case("svd", svd_projectors, complex_normal(2, 4, 2), name="svd complex tall", truncation=100),
    Case("svd", singular_values, normal(2, 4, 2), name="singular values"),
    Case("svd", singular_values, complex_normal(2, 2, 4), name="singular values complex"),
    Case("qr", qr, a),
    Case("qr", qr, complex_normal(2, 4, 3), name="qr complex tall"),
    Case("qr", qr, complex_normal(2, 2, 4), name="qr complex wide"),
    Case("qr", lambda a: qr(a, pivoting=True)[:2], normal(4, 3), name="qr with pivoting"),
    Case("qr", lambda a: qr(a, pivoting=True)[:2], normal(2, 4), name="qr wide with pivoting"),
]  # fmt: skip
# in one process, which compiles the cases once
pytestmark = pytest.mark.thorough

CASES = Cases(cases)

PHASES = Cases(
    [
        Case("eigh", linalg.eigh, positive(c), name="eigh"),
        Case("svd", lambda a: linalg.svd(a, full_matrices=False), complex_normal(3, 3), name="svd"),
        Case("svd", lambda a: linalg.svd(a, full_matrices=False), complex_normal(2, 4, 3), name="svd tall"),
        Case("svd", lambda a: linalg.svd(a, full_matrices=False), complex_normal(2, 3, 4), name="svd wide"),
    ]
)


@every_law()
@pytest.mark.parametrize("name", CASES.names)
def test_law(law, name):
    law(CASES, name)


@every_law(but=[equals_differences])
@pytest.mark.parametrize("name", PHASES.names)
def test_phases_are_kept_as_in_jax(law, name):
    """The vectors themselves: their phases are free, and differences may see them jump."""
    law(PHASES, name)


def test_symmetric_product():
    """α A Aᵀ + β C: JAX has no derivative to compare with; dA = α (dz + dzᵀ) A and dC = β dz by hand."""
    a, c, dz = normal(3, 2), positive(normal(3, 3)), normal(3, 3)

    def product(a, c):
        return linalg.symmetric_product(a, c, alpha=2.0, beta=0.5)

    da, dc = quick_jit(lambda a, c: tape_vjp(product, a, c)[1](dz))(a, c)
    assert relative_error(da, 2 * (dz + dz.T) @ a) < 1e-14
    assert relative_error(dc, 0.5 * dz) < 1e-14


@pytest.mark.parametrize(
    ("function", "shape", "message"),
    [
        (lambda a: linalg.svd(a)[0], (4, 2), "full matrices"),
        (lambda a: linalg.eigh(a, subset_by_index=(0, 2))[1], (3, 3), "partial eigen decomposition"),
        (lambda a: linalg.eig(a)[0], (3, 3), "eigenvectors"),
    ],
)
def test_what_the_entry_does_not_cover_is_left_to_jax(function, shape, message):
    """JAX has no derivative either, and says so."""
    with pytest.raises(NotImplementedError, match=message):
        jax.eval_shape(lambda a: tape_vjp(function, a)[1](function(a)), normal(*shape))
