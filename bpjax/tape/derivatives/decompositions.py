"""Eigenvalues, singular values and QR: where eigenvalues or singular values coincide, the vectors have no derivative.

Cotangents of complex matrices are transposes, see `linear_algebra`. Two matrices that differ in the phases of their
vectors are the same decomposition; as in JAX, a change of the matrix leaves these phases as they are.
"""

import jax.numpy as jnp
from jax import lax

from bpjax.tape.derivatives.linear_algebra import adjoint, conjugate, matmul, transposed
from bpjax.tape.derivatives.registry import derivative


@derivative("eigh")
def eigh(a, results, cotangents, *, subset_by_index=None):
    """A V = V diag(w)      dA = conj(V) (F ∘ Vᵀ dV + diag(dw)) Vᵀ,  F_ij = 1 / (wⱼ − wᵢ), 0 on the diagonal.

    Giles 2008, section 3.1. As in JAX, A changes as a Hermitian matrix.
    """
    if subset_by_index not in (None, (0, a.shape[-1])):
        return NotImplemented
    (v, w), (dv, dw) = results, cotangents
    f = _reciprocal(w[..., None, :] - w[..., :, None]).astype(a.dtype)
    middle = f * matmul(transposed(v), dv) + _diagonal(dw.astype(a.dtype))
    return matmul(matmul(conjugate(v), middle), transposed(v))


@derivative("eig")
def eig(a, results, cotangents, *, compute_left_eigenvectors, compute_right_eigenvectors):
    """A V = V diag(w)      dA = V⁻ᵀ diag(dw) Vᵀ; its real part for a real A. Covers the eigenvalues only.

    Giles 2008, section 3.1. V is computed here.
    """
    if compute_left_eigenvectors or compute_right_eigenvectors:
        return NotImplemented
    dw = cotangents
    _, v = lax.linalg.eig(a, compute_left_eigenvectors=False)
    da = jnp.linalg.solve(transposed(v), dw[..., None] * transposed(v))
    return da if jnp.iscomplexobj(a) else lax.real(da)


@derivative("svd")
def svd(a, results, cotangents, *, full_matrices, compute_uv, subset_by_index=None):
    """A = U diag(s) Vᴴ      dA = conj(U) P conj(Vᴴ) + what the spaces outside U and V contribute.

    P_ij = sⱼ (B + Bᴴ)_ij + sᵢ (C + Cᴴ)_ij + diag(ds + i Im(Uᵀ dU) / s)
    B = F ∘ Uᵀ dU      C = F ∘ Vᵀ dV      F_ij = 1 / (sⱼ² − sᵢ²), 0 on the diagonal
    more rows than columns: + (1 − conj(U) Uᵀ) dU diag(1/s) conj(Vᴴ); more columns: likewise for V

    Giles 2008, section 3.2; Townsend 2016, "Differentiating the singular value decomposition".
    """
    *_, m, n = a.shape
    if subset_by_index is not None or full_matrices and compute_uv and m != n:
        return NotImplemented
    if not compute_uv:
        u, _, vh = jnp.linalg.svd(a, full_matrices=False)
        return matmul(conjugate(u) * cotangents[..., None, :].astype(a.dtype), conjugate(vh))
    (s, u, vh), (ds, du, dvh) = results, cotangents
    v, dv = adjoint(vh), adjoint(dvh)
    columns, rows = s[..., None, :].astype(a.dtype), s[..., :, None].astype(a.dtype)
    f = _reciprocal((s[..., None, :] + s[..., :, None]) * (s[..., None, :] - s[..., :, None])).astype(a.dtype)
    of_u, of_v = matmul(transposed(u), du), matmul(transposed(v), dv)
    b, c = f * of_u, f * of_v
    middle = columns * (b + adjoint(b)) + rows * (c + adjoint(c)) + _diagonal(ds.astype(a.dtype))
    if jnp.iscomplexobj(a):
        phase = 1j * jnp.imag(jnp.diagonal(of_u, axis1=-2, axis2=-1)) * _reciprocal(s, diagonal=False)
        middle = middle + _diagonal(phase.astype(a.dtype))
    da = matmul(matmul(conjugate(u), middle), conjugate(vh))
    if m > n:
        da = da + matmul((du - matmul(conjugate(u), of_u)) / columns, conjugate(vh))
    if n > m:
        da = da + adjoint(matmul((dv - matmul(conjugate(v), of_v)) / columns, transposed(u)))
    return da


def _reciprocal(x, diagonal: bool = True):
    """1 / x: 0 on the diagonal of a matrix; 0 at zeros of a vector."""
    zero = jnp.broadcast_to(jnp.eye(x.shape[-1], dtype=bool), x.shape) if diagonal else x == 0
    return jnp.where(zero, 0, 1 / jnp.where(zero, 1, x))


def _diagonal(x):
    """Vectors as diagonal matrices."""
    eye = jnp.eye(x.shape[-1], dtype=x.dtype)
    return x[..., None] * eye.reshape((1,) * (x.ndim - 1) + eye.shape)


@derivative("qr")
def qr(a, results, cotangents, *, pivoting, full_matrices):
    """A = Q R      dA = (dQ + conj(Q) G) R⁻ᵀ,  G = L(T − Tᴴ) − T + i Im diag(T),  T = Qᵀ dQ − dR Rᵀ.

    L: the triangle below the diagonal. More columns than rows: A = (X, Y), R = (R₁, Qᴴ Y); Qᴴ Y adds conj(Y dR₂ᵀ) to dQ
    and gives dY = conj(Q) dR₂. With pivoting, this is dA[:, pivots].

    Walter & Lehmann 2012, "Algorithmic differentiation of linear algebra functions with application in optimum
    experimental design"; Roberts & Roberts 2020, "QR and LQ decomposition matrix backpropagation algorithms for square,
    wide, and deep matrices and their software implementation".
    """
    *_, m, n = a.shape
    if full_matrices and m > n:
        return NotImplemented
    (q, r, *pivots), (dq, dr) = results, cotangents[:2]
    if m < n:
        y = (jnp.take_along_axis(a, pivots[0][..., None, :], axis=-1) if pivoting else a)[..., m:]
        dq = dq + conjugate(matmul(y, transposed(dr[..., m:])))
        dy = matmul(conjugate(q), dr[..., m:])
        da = jnp.concatenate([_of_tall_qr(q, r[..., :m], dq, dr[..., :m]), dy], axis=-1)
    else:
        da = _of_tall_qr(q, r, dq, dr)
    return jnp.take_along_axis(da, jnp.argsort(pivots[0], axis=-1)[..., None, :], axis=-1) if pivoting else da


def _of_tall_qr(q, r, dq, dr):
    t = matmul(transposed(q), dq) - matmul(dr, transposed(r))
    g = jnp.tril(t - adjoint(t), -1) - t
    if jnp.iscomplexobj(t):
        g = g + _diagonal((1j * jnp.imag(jnp.diagonal(t, axis1=-2, axis2=-1))).astype(t.dtype))
    dw = dq + matmul(conjugate(q), g)
    return lax.linalg.triangular_solve(r, dw, left_side=False, lower=False, transpose_a=True)
