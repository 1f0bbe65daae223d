"""Solving linear systems, and products of matrices with themselves: the derivative of the inverse.

For complex matrices a cotangent is JAX's, the transpose of the derivative: y = M x has dx = Mᵀ dy, not Mᴴ dy. The
formulas are those of Giles 2008, "Collected matrix derivative results for forward and reverse mode algorithmic
differentiation", with the conjugations that this convention needs.
"""

import functools

import jax.numpy as jnp
from jax import lax

from bpjax.tape.derivatives.registry import derivative

matmul = functools.partial(jnp.matmul, precision=lax.Precision.HIGHEST)


def transposed(a):
    """Aᵀ of the last two axes."""
    return jnp.swapaxes(a, -1, -2)


def adjoint(a):
    """Aᴴ of the last two axes."""
    return lax.conj(transposed(a)) if jnp.iscomplexobj(a) else transposed(a)


def conjugate(a):
    """The complex conjugate; a real array as it is."""
    return lax.conj(a) if jnp.iscomplexobj(a) else a


@derivative("triangular_solve")
def triangular_solve(a, b, x, dx, *, left_side, lower, transpose_a, conjugate_a, unit_diagonal):
    """M x = b, or x M = b on the right side, with M = A, Aᵀ or Aᴴ triangular.

    left side     db = M⁻ᵀ dx      dM = −db xᵀ
    right side    db = dx M⁻ᵀ      dM = −xᵀ db

    dA is dM, transposed and conjugated as M is, within the triangle that is read.
    """

    def db():
        return lax.linalg.triangular_solve(
            a, dx, left_side=left_side, lower=lower, transpose_a=not transpose_a, conjugate_a=conjugate_a,
            unit_diagonal=unit_diagonal,
        )  # fmt: skip

    def da():
        left, right = (db(), transposed(x)) if left_side else (transposed(x), db())
        dm = -(matmul(transposed(right), transposed(left)) if transpose_a else matmul(left, right))
        dm = conjugate(dm) if conjugate_a else dm
        triangle, offset = (jnp.tril, -1) if lower else (jnp.triu, 1)
        return triangle(dm, offset if unit_diagonal else 0)

    return da, db


@derivative("tridiagonal_solve")
def tridiagonal_solve(low, diagonal, high, b, x, dx, *, perturb_singular=False):
    """T x = b with (T x)ᵢ = lowᵢ xᵢ₋₁ + diagonalᵢ xᵢ + highᵢ xᵢ₊₁.

    db = T⁻ᵀ dx      dlowᵢ = −Σ dbᵢ xᵢ₋₁      ddiagonalᵢ = −Σ dbᵢ xᵢ      dhighᵢ = −Σ dbᵢ xᵢ₊₁, sums over right sides.
    """
    options = {"perturb_singular": True} if perturb_singular else {}
    db = functools.cache(
        lambda: lax.linalg.tridiagonal_solve(_shifted(high, -1, 1), diagonal, _shifted(low, -1, -1), dx, **options)
    )
    against = lambda other: -jnp.sum(db() * other, axis=-1)
    return (
        lambda: against(_shifted(x, -2, 1)),
        lambda: against(x),
        lambda: against(_shifted(x, -2, -1)),
        db,
    )


def _shifted(a, axis: int, step: int):
    """`a` moved by one entry along an axis, with a zero in the place that becomes free."""
    padding = [(0, 0, 0)] * a.ndim
    padding[axis] = (step, -step, 0)
    return lax.pad(a, jnp.zeros((), a.dtype), padding)


@derivative("cholesky")
def cholesky(a, l, dl):
    """A = L Lᴴ      dA = L⁻ᵀ Φ(Lᵀ dL) conj(L)⁻¹, Φ: the lower triangle with half of the diagonal.

    Murray 2016, "Differentiation of the Cholesky decomposition", eq. 10. As in JAX, A changes as a Hermitian matrix.
    """
    l = jnp.tril(l)
    middle = jnp.tril(matmul(transposed(l), dl))
    middle = middle / (1 + jnp.eye(l.shape[-1], dtype=l.dtype)).reshape((1,) * (l.ndim - 2) + l.shape[-2:])
    right = lax.linalg.triangular_solve(conjugate(l), middle, left_side=False, lower=True)
    return lax.linalg.triangular_solve(l, right, left_side=True, lower=True, transpose_a=True)


@derivative("symmetric_product")
def symmetric_product(a, c, z, dz, *, alpha, beta):
    """z = α A Aᵀ + β C      dA = α (dz + dzᵀ) A      dC = β dz.

    JAX has no derivative of this primitive.
    """
    return lambda: alpha * matmul(dz + transposed(dz), a), lambda: beta * dz


@derivative("lu")
def lu(a, results, cotangents):
    """A[permutation] = L U, both in one matrix; S = L⁻¹ dA[permutation] U⁻¹ moves L by L tril(S, −1), U by triu(S) U.

    dS = tril(Lᵀ d(L), −1) + triu(d(U) Uᵀ)      dA[permutation] = L⁻ᵀ dS U⁻ᵀ

    de Hoog, Anderssen & Lukas 2011, "Differentiation of matrix functionals using triangular factorization". A matrix
    that is not square is filled up with ones on the diagonal.
    """
    packed, _, permutation = results
    d_packed = cotangents[0]
    *_, m, n = a.shape
    k = min(m, n)
    l = _filled(jnp.tril(packed[..., :, :k], -1), m, 0)
    u = _filled(jnp.triu(packed[..., :k, :]), n, k)
    ds = jnp.tril(matmul(transposed(l), d_packed), -1) + jnp.triu(matmul(d_packed, transposed(u)))
    solve = functools.partial(lax.linalg.triangular_solve, transpose_a=True)
    left = solve(l, ds, left_side=True, lower=True, unit_diagonal=True)
    dx = solve(u, left, left_side=False, lower=False)
    return jnp.take_along_axis(dx, jnp.argsort(permutation, axis=-1)[..., None], axis=-2)


def _filled(triangle, size: int, start: int):
    """A triangular matrix as a square one, with ones on the diagonal from `start`."""
    *batch, rows, columns = triangle.shape
    padding = [(0, 0, 0)] * len(batch) + [(0, size - rows, 0), (0, size - columns, 0)]
    square = lax.pad(triangle, jnp.zeros((), triangle.dtype), padding)
    ones = jnp.diag((jnp.arange(size) >= start).astype(triangle.dtype))
    return square + ones.reshape((1,) * len(batch) + ones.shape)
