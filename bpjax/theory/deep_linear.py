"""Linear networks with closed-form learning curves: one layer (LMS, a delayed gradient), several layers (Saxe 2013).

Saxe, McClelland & Ganguli 2013 assume white inputs, xᵀx/N = 1, targets with input-output correlation tᵀx/N = U S Vᵀ,
and initial weights that are aligned with U and V and balanced, or small. Then each singular value s is learnt
independently: the network's value u(t) follows an ordinary differential equation. Gradient descent at rate η on
½ Σ(y − t)²/N follows that flow with τ = 1/η and t counted in steps, up to an error of order η.

All functions compute in float64 and raise a `ValueError` for an argument out of bounds and shapes that do not fit.
"""

import numpy as np

from bpjax.theory.numbers import as_counts, as_matrix, as_number, as_numbers, check_broadcast
from bpjax.util.call_text import shown

# --- One layer -------------------------------------------------------------------------------------------------------


def lms_limit(inputs) -> float:
    """The learning rate below which LMS converges, 2/λ_max(R), R = xᵀx/N of the inputs x (N, D)."""
    x = as_matrix("lms_limit", "inputs", inputs)
    if not x.any():
        raise ValueError("`lms_limit` expected inputs that are not all 0, got zeros: they change no weight.")
    return float(2 / np.linalg.eigvalsh(x.T @ x / len(x))[-1])


def lms_weights(rate: float, steps, start, inputs, targets) -> np.ndarray:
    """Weights of linear units after `steps` epochs of gradient descent on ½ Σ(x w − t)²/N, full batch, no bias.

        w(t) − w* = (1 − ηR)ᵗ (w(0) − w*),      R = xᵀx/N,  w* a least-squares solution

    computed by the eigenvectors of R: exact to rounding for any number of steps, also where it diverges.

    Args:
        rate: η > 0.
        steps: t (...), integers ≥ 0.
        start: w(0) (D, K).
        inputs: x (N, D).
        targets: (N, K).

    Returns:
        w(t) (..., D, K).
    """
    who = "lms_weights"
    eta, t = as_number(who, "rate", rate, above=0.0), as_counts(who, "steps", steps)
    x = as_matrix(who, "inputs", inputs)
    target = as_matrix(who, "targets", targets, (len(x), None))
    w = as_matrix(who, "start", start, (x.shape[1], target.shape[1]))
    eigenvalues, axes = np.linalg.eigh(x.T @ x / len(x))
    solution = np.linalg.lstsq(x, target)[0]
    shrunk = ((1 - eta * eigenvalues) ** t[..., None])[..., None] * (axes.T @ (w - solution))
    return solution + axes @ shrunk


def delay_limit(delay) -> np.ndarray:
    """The largest ηλ at which w(t+1) = w(t) − ηλ w(t−τ), descent with a gradient τ = `delay` steps old, is stable.

    2 sin(π / (2(2τ + 1))):      2, 1, 0.618, 0.445, 0.347 for τ = 0 … 4
    """
    tau = as_counts("delay_limit", "delay", delay)
    return 2 * np.sin(np.pi / (2 * (2 * tau + 1)))


# --- Several layers --------------------------------------------------------------------------------------------------


def deep_linear_mode(t, s, u0, tau=1.0) -> np.ndarray:
    """u(t), the part of a singular value s that a linear network with one hidden layer has learnt at time t.

        u(t) = s E/(E − 1 + s/u₀),   E = e^(2st/τ):      the sigmoidal solution of τ u̇ = 2u(s − u)

    u₀ = 0 is a saddle, from which nothing is learnt. The arguments broadcast.

    Args:
        t: time ≥ 0.
        s: singular value > 0.
        u0: u(0) > 0.
        tau: τ > 0.
    """
    t, s, u0, tau = _mode_numbers("deep_linear_mode", t, s, u0, tau)
    return s / (1 + (s / u0 - 1) * np.exp(-2 * s * t / tau))


def shallow_linear_mode(t, s, u0, tau=1.0) -> np.ndarray:
    """`deep_linear_mode` without a hidden layer, τ u̇ = s − u: u(t) = s + (u₀ − s) e^(−t/τ), with no plateau.

    Args:
        t: time ≥ 0.
        s: singular value > 0.
        u0: u(0), any number.
        tau: τ > 0.
    """
    who = "shallow_linear_mode"
    t, s, tau = _mode_numbers(who, t, s, 1.0, tau)[[0, 1, 3]]
    u0 = as_numbers(who, "u0", u0)
    check_broadcast(who, t=t, u0=u0)
    return s + (u0 - s) * np.exp(-t / tau)


def deep_linear_time(u, s, u0, tau=1.0) -> np.ndarray:
    """The time that a linear network with one hidden layer needs from u₀ to u.

        τ/(2s) · ln[u (s − u₀) / (u₀ (s − u))]

    It grows as ln(1/u₀) for a small start: a plateau. The arguments broadcast.

    Args:
        u: between 0 and s.
        s: singular value > 0.
        u0: between 0 and s.
        tau: τ > 0.
    """
    who = "deep_linear_time"
    _, s, u0, tau = _mode_numbers(who, 0.0, s, u0, tau)
    u = as_numbers(who, "u", u, above=0.0)
    check_broadcast(who, u=u, s=s)
    if (u >= s).any() or (u0 >= s).any():
        raise ValueError(f"`{who}` expected `u0` and `u` between 0 and s: s itself is reached only in the limit.")
    return tau / (2 * s) * np.log(u * (s - u0) / (u0 * (s - u)))


def deep_linear_flow(u, s, weight_layers: int = 2, tau=1.0) -> np.ndarray:
    """u̇ of a balanced linear network with L weight matrices, the right-hand side of its ODE.

        τ u̇ = L u^(2 − 2/L) (s − u)

    L = 1 and L = 2 are `shallow_linear_mode` and `deep_linear_mode`. Saxe et al. count the layers of units, L + 1. The
    arguments broadcast.

    Args:
        u: ≥ 0.
        s: singular value > 0.
        weight_layers: L ≥ 1.
        tau: τ > 0.
    """
    who = "deep_linear_flow"
    layers = as_counts(who, "weight_layers", weight_layers)
    as_numbers(who, "weight_layers", layers, least=1.0)
    u, s = as_numbers(who, "u", u, least=0.0), as_numbers(who, "s", s, above=0.0)
    tau = as_numbers(who, "tau", tau, above=0.0)
    check_broadcast(who, u=u, s=s, weight_layers=layers, tau=tau)
    return layers * u ** (2 - 2 / layers) * (s - u) / tau


def deep_linear_invariants(weights) -> tuple[np.ndarray, ...]:
    """The invariants of learning in a linear network y = x W₁ … W_L: Wₗᵀ Wₗ − Wₗ₊₁ Wₗ₊₁ᵀ, one per hidden layer.

    Gradient flow on any error conserves them exactly, gradient descent to O(η²) per step: ∂E/∂Wₗ = Aᵀ ∂E/∂W Bᵀ, with A
    and B the products of the weights before and after Wₗ, gives Wₗᵀ ∂E/∂Wₗ = ∂E/∂Wₗ₊₁ Wₗ₊₁ᵀ. In a "balanced" network
    all of them are 0. For a mode u = a b the invariant is a² − b².

    Shapes: matrices (D, H₁), (H₁, H₂), … as in `bp.dense`, to (H₁, H₁), (H₂, H₂), ….
    """
    who = "deep_linear_invariants"
    if not isinstance(weights, tuple | list) or len(weights) < 2:
        raise ValueError(f"`{who}` expected `weights` to be a list of at least two matrices, got {shown(weights)}.")
    matrices = [as_matrix(who, f"weights[{i}]", w) for i, w in enumerate(weights)]
    for i, (first, second) in enumerate(zip(matrices, matrices[1:], strict=False)):
        as_matrix(who, f"weights[{i + 1}]", second, (first.shape[1], None))
    return tuple(a.T @ a - b @ b.T for a, b in zip(matrices, matrices[1:], strict=False))


def _mode_numbers(who, t, s, u0, tau):
    t, s = as_numbers(who, "t", t, least=0.0), as_numbers(who, "s", s, above=0.0)
    u0, tau = as_numbers(who, "u0", u0, above=0.0), as_numbers(who, "tau", tau, above=0.0)
    check_broadcast(who, t=t, s=s, u0=u0, tau=tau)
    return np.stack(np.broadcast_arrays(t, s, u0, tau))
