"""The soft committee machine, a network whose plateau is known exactly (Saad & Solla 1995).

A student Σᵢ g(Jᵢ·x), i = 1 … K, learns on-line from a teacher Σₙ g(Bₙ·x), n = 1 … M, with inputs x ~ N(0, 1) of
dimension N → ∞, g(a) = erf(a/√2), one example per step and the rate η/N. The dynamics depend on the overlaps only,

    Q = J Jᵀ (K, K)      R = J Bᵀ (K, M)      T = B Bᵀ (M, M)

which are the covariances of the net inputs and obey ordinary differential equations in α = examples/N. For a teacher of
the same size with orthogonal units (K = M, T = 1) and a small start, all student units first become the same average of
the teacher units: the symmetric plateau. The network leaves it as the differences between the student units grow.

Functions compute in float64 and raise a `ValueError` for shapes that do not fit. Those that integrate need SciPy.
"""

from typing import NamedTuple

import numpy as np

from bpjax.theory.numbers import as_number, as_numbers
from bpjax.util.call_text import shown
from bpjax.util.checks import check_count, check_number
from bpjax.util.extras import require_extra


class Overlaps(NamedTuple):
    """Scalar products of student and teacher units, and the resulting error; leading axes for times, if any."""

    Q: np.ndarray  # (..., K, K) student with student
    R: np.ndarray  # (..., K, M) student with teacher
    T: np.ndarray  # (M, M) teacher with teacher
    error: np.ndarray  # (...) generalisation error ½⟨(student − teacher)²⟩


class SymmetricPlateau(NamedTuple):
    """The plateau on which all student units are equal up to their order."""

    own: float  # Qᵢᵢ
    cross: float  # Qᵢₖ, i ≠ k
    teacher: float  # Rᵢₙ
    error: float  # generalisation error
    escape: float  # differences between student units grow as e^(escape · ηα): the plateau's length is ∝ 1/escape


# --- Overlaps and their error ----------------------------------------------------------------------------------------


def generalization_error(Q, R, T) -> np.ndarray:
    """½⟨(Σᵢ g(Jᵢ·x) − Σₙ g(Bₙ·x))²⟩ over x ~ N(0, 1), from the overlaps.

        (1/π) [Σᵢₖ asin Qᵢₖ/√((1+Qᵢᵢ)(1+Qₖₖ)) + Σₙₘ asin Tₙₘ/√((1+Tₙₙ)(1+Tₘₘ)) − 2 Σᵢₙ asin Rᵢₙ/√((1+Qᵢᵢ)(1+Tₙₙ))]

    Args:
        Q: student with student (..., K, K).
        R: student with teacher (..., K, M).
        T: teacher with teacher (M, M).

    Returns:
        The error (...).
    """
    Q, R, T = _check_overlaps("generalization_error", Q, R, T)
    student = 1 + np.diagonal(Q, axis1=-2, axis2=-1)
    teacher = 1 + np.diagonal(T, axis1=-2, axis2=-1)

    def summed(overlap, left, right):
        return np.arcsin(overlap / np.sqrt(left[..., :, None] * right[..., None, :])).sum((-2, -1))

    return (summed(Q, student, student) + summed(T, teacher, teacher) - 2 * summed(R, student, teacher)) / np.pi


def soft_committee_flow(Q, R, T, rate: float) -> tuple[np.ndarray, np.ndarray]:
    """(dQ/dα, dR/dα): how the overlaps change with the number of examples seen, α = examples/N.

        dRᵢₙ/dα = η [Σₘ I₃(i, n, m) − Σⱼ I₃(i, n, j)]
        dQᵢₖ/dα = η [Σₘ I₃(i, k, m) − Σⱼ I₃(i, k, j)] + the same with i and k exchanged
                + η² [Σⱼₗ I₄(i, k, j, l) + Σₙₘ I₄(i, k, n, m) − 2 Σⱼₙ I₄(i, k, j, n)]

    with the averages I₃(a, b, c) = ⟨g′(a) b g(c)⟩ and I₄(a, b, c, d) = ⟨g′(a) g′(b) g(c) g(d)⟩ over the net inputs of
    student units i k j l and teacher units n m.

    Args:
        Q: student with student (K, K).
        R: student with teacher (K, M).
        T: teacher with teacher (M, M).
        rate: η > 0.

    Returns:
        (K, K), (K, M).
    """
    Q, R, T = _check_overlaps("soft_committee_flow", Q, R, T)
    eta = as_number("soft_committee_flow", "rate", rate, above=0.0)
    linear, quadratic = _flow_terms(Q, R, T)
    K = len(Q)
    return eta * (linear[:, :K] + linear[:, :K].T) + eta * eta * quadratic, eta * linear[:, K:]


def soft_committee_path(times, Q, R, T, rate: float, tolerance: float = 1e-9) -> Overlaps:
    """The learning curve: the overlaps at the given times.

    It is integrated by an explicit Runge-Kutta method of order 8. The tolerance holds also for the deviations of Qᵢᵢ,
    Qᵢₖ and Rᵢₙ from their means, down to 1e-6 · tolerance, because small differences between student units decide when
    the plateau ends.

    Args:
        times: α (S,), ascending.
        Q: student with student (K, K) at α = 0.
        R: student with teacher (K, M) at α = 0.
        T: teacher with teacher (M, M).
        rate: η > 0.
        tolerance: relative error per step.

    Raises:
        ModuleNotFoundError: SciPy is missing; the message names the extra to install.
        RuntimeError: the integration did not reach the last time; the message is SciPy's.
    """
    who = "soft_committee_path"
    Q, R, T = _check_overlaps(who, Q, R, T)
    rate = as_number(who, "rate", rate, above=0.0)
    check_number(who, "tolerance", tolerance, above=0.0)
    times = np.atleast_1d(as_numbers(who, "times", times, least=0.0))
    if times.ndim != 1 or (np.diff(times) <= 0).any():
        raise ValueError(
            f"`{who}` expected `times` of shape (S,), in ascending order without repeats, got {shown(times)}."
        )
    K, M = R.shape
    groups = np.stack([_join(a, b) for a, b in ((np.eye(K), 0 * R), (1 - np.eye(K), 0 * R), (0 * Q, 1 + 0 * R))])
    groups = groups[groups.any(axis=1)]  # a single student unit has no Qᵢₖ
    count = len(groups)

    def split(y):  # (means, deviations): a step that is small for the means may be far too long for the deviations
        means = groups @ y / groups.sum(axis=1)
        return np.concatenate([means, y - means @ groups])

    def flow(_, y):
        Q, R = _part(y[:count] @ groups + y[count:], K, M)
        return split(_join(*soft_committee_flow(Q, R, T, rate)))

    span = (0.0, times[-1] or 1.0)  # SciPy gives no solution for a span of no length
    solve_ivp = _scipy("integrate").solve_ivp
    result = solve_ivp(
        flow, span, split(_join(Q, R)), method="DOP853", t_eval=times, rtol=tolerance, atol=1e-6 * tolerance
    )
    if not result.success:
        raise RuntimeError(f"`{who}` did not reach α = {times[-1]:g}: {result.message}")
    path = result.y.T
    Qs, Rs = _part(path[:, :count] @ groups + path[:, count:], K, M)
    return Overlaps(Qs, Rs, T, generalization_error(Qs, Rs, T))


# --- The symmetric plateau -------------------------------------------------------------------------------------------


def plateau_overlaps(units: int) -> Overlaps:
    """The symmetric plateau for η → 0 of K = M = `units`, T = 1, in closed form.

        Qᵢₖ = 1/(2K − 1)      Rᵢₙ = 1/√(K(2K − 1))      error = (K/π)[π/6 − K asin(1/(2K))]

    Shapes: Q, R, T (K, K), error ().
    """
    check_count("plateau_overlaps", "units", units, least=2, most=10_000)
    K = units
    ones = np.ones((K, K))
    error = K / np.pi * (np.pi / 6 - K * np.arcsin(1 / (2 * K)))
    return Overlaps(ones / (2 * K - 1), ones / np.sqrt(K * (2 * K - 1)), np.eye(K), np.asarray(error))


def symmetric_plateau(units: int, rate: float = 0.0) -> SymmetricPlateau:
    """The symmetric plateau at the rate η, found as a fixed point of the flow; `rate` 0 means η → 0.

    The flow, restricted to Qᵢᵢ = Q, Qᵢₖ = C, Rᵢₙ = R, is integrated from small overlaps until it comes to rest, and
    Newton's method refines the result; for η → 0, where Q − C decays only as 1/α, the two agree to 1e-7. `escape` is
    the largest eigenvalue, per ηα, of the flow linearized there over all overlaps: differences between student units
    grow by e^(escape · η · Δα).

    Raises:
        ModuleNotFoundError: SciPy is missing; the message names the extra to install.
        RuntimeError: the flow has no such fixed point, as at a large rate.
    """
    who = "symmetric_plateau"
    check_count(who, "units", units, least=2, most=100)
    eta = as_number(who, "rate", rate, least=0.0, below=100.0)
    K, T = units, np.eye(units)

    def flow_per_rate(Q, R):
        linear, quadratic = _flow_terms(Q, R, T)
        return linear[:, :K] + linear[:, :K].T + eta * quadratic, linear[:, K:]

    def spread(y):
        own, cross, teacher = y
        return np.where(T == 1, own, cross), np.full((K, K), teacher)

    def restricted(y):
        dQ, dR = flow_per_rate(*spread(y))
        return np.array([dQ[0, 0], dQ[0, -1], dR[0, 0]])

    start = np.array([0.2, 0.1, 0.1])
    with np.errstate(invalid="ignore"):  # without a plateau the search leaves the range of possible overlaps
        near = _scipy("integrate").solve_ivp(lambda _, y: restricted(y), (0.0, 100.0), start, rtol=1e-8).y[:, -1]
        root = _scipy("optimize").root(restricted, near, tol=1e-14)
        rest = np.abs(restricted(root.x)).max()
    if not rest < 1e-10:  # also where it is NaN
        raise RuntimeError(f"`{who}` found no plateau of {K} units at rate {eta:g}: take a smaller rate.")
    Q, R = spread(root.x)
    own, cross, teacher = (float(number) for number in root.x)

    def flow(y):
        return _join(*flow_per_rate(*_part(y, K, K)))

    eigenvalues = np.linalg.eigvals(_jacobian(flow, _join(Q, R)))
    return SymmetricPlateau(
        own, cross, teacher, float(generalization_error(Q, R, T)), float(np.real(eigenvalues).max())
    )


# --- The averages ----------------------------------------------------------------------------------------------------


def _flow_terms(Q, R, T):
    """Σ_c e_c I₃(i, b, c) (K, K+M) and Σ_cd e_c e_d I₄(i, k, c, d) (K, K), e = −1 for students and 1 for teachers.

    Student and teacher units are one list of net inputs with the covariance C: the difference is Σ_c e_c g(c).
    """
    K, M = R.shape
    C = np.block([[Q, R], [R.T, T]])
    sign = np.concatenate([-np.ones(K), np.ones(M)])
    return _I3(C, K) @ sign, np.einsum("ikcd,c,d->ik", _I4(C, K), sign, sign)


def _I3(C, K):
    """⟨g′(a) b g(c)⟩ for a of the first K, b and c of all n net inputs with covariance C: (K, n, n)."""
    variance = 1 + np.diagonal(C)
    Caa = variance[:K, None, None]
    Cab, Cac, Cbc, Ccc = C[:K, :, None], C[:K, None, :], C[None], variance[None, None, :]
    return 2 / np.pi * (Cbc * Caa - Cab * Cac) / (Caa * np.sqrt(Caa * Ccc - Cac**2))


def _I4(C, K):
    """⟨g′(a) g′(b) g(c) g(d)⟩ for a and b of the first K, c and d of all n net inputs: (K, K, n, n).

    (4/π²) asin(Λ₀/√(Λ₁Λ₂)) / √Λ₄
    """
    variance = 1 + np.diagonal(C)
    Caa, Cbb = variance[:K, None, None, None], variance[None, :K, None, None]
    Ccc, Cdd = variance[None, None, :, None], variance[None, None, None, :]
    Cab, Ccd = C[:K, :K, None, None], C[None, None]
    Cac, Cbc = C[:K, None, :, None], C[None, :K, :, None]
    Cad, Cbd = C[:K, None, None, :], C[None, :K, None, :]
    L4 = Caa * Cbb - Cab**2
    L0 = L4 * Ccd - Cbc * Cbd * Caa - Cac * Cad * Cbb + Cab * (Cac * Cbd + Cad * Cbc)
    L1 = L4 * Ccc - Cbc**2 * Caa - Cac**2 * Cbb + 2 * Cab * Cac * Cbc
    L2 = L4 * Cdd - Cbd**2 * Caa - Cad**2 * Cbb + 2 * Cab * Cad * Cbd
    return 4 / np.pi**2 * np.arcsin(L0 / np.sqrt(L1 * L2)) / np.sqrt(L4)


def _join(Q, R):
    """All overlaps of the student as one vector (K² + KM,)."""
    return np.concatenate([Q.ravel(), R.ravel()])


def _part(y, K, M):
    """(Q, R) from vectors (..., K² + KM)."""
    return y[..., : K * K].reshape(*y.shape[:-1], K, K), y[..., K * K :].reshape(*y.shape[:-1], K, M)


def _jacobian(function, y, h=1e-5):
    """Central differences, (len(y), len(y)): good to about 1e-9 for the smooth functions here."""
    return np.stack([(function(y + e) - function(y - e)) / (2 * h) for e in h * np.eye(len(y))], axis=1)


def _check_overlaps(who, Q, R, T):
    Q, R, T = (as_numbers(who, name, value) for name, value in (("Q", Q), ("R", R), ("T", T)))
    K, M = R.shape[-2:] if R.ndim >= 2 else (0, 0)
    if R.ndim < 2 or Q.shape != (*R.shape[:-2], K, K) or T.shape != (M, M):
        raise ValueError(
            f"`{who}` expected overlaps Q (K, K), R (K, M) and T (M, M), got {Q.shape}, {R.shape} and {T.shape}. "
            "From weights J (K, N) and B (M, N): Q = J Jᵀ, R = J Bᵀ, T = B Bᵀ."
        )
    return Q, R, T


def _scipy(module: str):
    import importlib

    with require_extra("The flow is integrated by SciPy"):
        return importlib.import_module(f"scipy.{module}")
