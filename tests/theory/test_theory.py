"""Closed forms against printed figures, against recursions stepped in NumPy, and against averages drawn at random."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from passes import quick_jit
from scipy.optimize import minimize
from scipy.special import erf

import bpjax as bp
from bpjax import theory
from bpjax.theory.soft_committee import _I4

FORMS = ("gradient descent", "heavy_ball", "convex", "velocity", "nesterov")


def step(form, w, v, g, eta, alpha):
    """One step of the published update, (w, v) after it; for nesterov w is the look-ahead point."""
    match form:
        case "gradient descent":
            return w - eta * g, v
        case "heavy_ball":
            v = alpha * v - eta * g
            return w + v, v
        case "convex":
            v = alpha * v - (1 - alpha) * eta * g
            return w + v, v
        case "velocity":
            v = alpha * v + g
            return w - eta * v, v
        case "nesterov":
            v = alpha * v - eta * g
            return w + alpha * v - eta * g, v


def steps_until(form, gradient, w, goal, eta, alpha):
    """The first step after which w ≥ goal, counted."""
    v, count = 0.0, 0
    while w < goal * (1 - 1e-12):
        w, v = step(form, w, v, gradient(w), eta, alpha)
        count += 1
    return count


# --- Momentum on a bowl --------------------------------------------------------------------------------------------


def test_stability_limits_are_the_printed_ones():
    """At α = ½ and α = 0.9."""
    printed = {"heavy_ball": (3, 3.8), "velocity": (3, 3.8), "convex": (6, 38), "nesterov": (1.5, 1.35714)}
    for form, limits in printed.items():
        np.testing.assert_allclose(theory.stability_limit(form, [0.5, 0.9]), limits, rtol=3e-6)
        assert theory.stability_limit(form) == 2
    assert theory.stability_limit("gradient descent", 0.9) == 2


@pytest.mark.parametrize("form", FORMS)
def test_spectral_radius_is_one_at_the_stability_limit(form):
    """The radius comes from the roots, the limit from another formula."""
    for alpha in (0.3, 0.9):
        limit = theory.stability_limit(form, alpha) / 2.5
        below, at, above = theory.spectral_radius(form, limit * np.array([0.999, 1, 1.001]), alpha, [0.1, 2.5])
        assert below < 1 < above
        assert at == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("curvature", [-0.4, 0.05, 1.3, 9.0])
def test_mode_roots_are_the_eigenvalues_of_a_step(form, curvature):
    """A step is linear in (w, v): its matrix from its action on (1, 0) and (0, 1)."""
    for eta, alpha in ((0.1, 0.0), (0.1, 0.9), (0.7, 0.4)):
        matrix = np.array([step(form, w, v, curvature * w, eta, alpha) for w, v in ((1.0, 0.0), (0.0, 1.0))]).T
        if form == "gradient descent":
            matrix = np.diag([matrix[0, 0], 0.0])  # without v
        found = theory.mode_roots(form, eta, alpha, curvature)
        np.testing.assert_allclose(np.sort_complex(found), np.sort_complex(np.linalg.eigvals(matrix)), atol=1e-12)
        assert found[0].real >= found[1].real
        assert theory.spectral_radius(form, eta, alpha, [curvature]) == pytest.approx(np.abs(found).max())


def test_complex_roots_have_the_modulus_root_alpha():
    """E3: √α, not 2√α, for every η."""
    roots = theory.mode_roots("heavy_ball", np.array([0.5, 1.0, 2.0]), 0.81, 1.0)
    assert (roots.imag != 0).all()
    np.testing.assert_allclose(np.abs(roots), 0.9, rtol=1e-14)


RATES = {  # printed, for κ = 10, 100, 1000
    "gradient descent": (0.818182, 0.980198, 0.998002),
    "heavy_ball": (0.519494, 0.818182, 0.938693),
    "velocity": (0.519494, 0.818182, 0.938693),
    "convex": (0.519494, 0.818182, 0.938693),
    "nesterov": (0.640789, 0.884722, 0.963491),
}


@pytest.mark.parametrize("form", FORMS)
def test_best_convergence_rates_are_the_printed_ones_and_reached_at_the_best_setting(form):
    """The formula for the rate against print; the best setting against the rate, to √ε for the roots coincide there."""
    np.testing.assert_allclose(theory.best_convergence_rate(form, [10, 100, 1000]), RATES[form], atol=5e-7)
    m = 0.3
    for kappa, rate in zip((10, 100, 1000), RATES[form], strict=True):
        best = theory.best_rate_and_momentum(form, m, kappa * m)
        assert theory.spectral_radius(form, *best, m * np.linspace(1, kappa, 101)) == pytest.approx(rate, abs=6e-7)


@pytest.mark.parametrize("form", FORMS)
def test_no_setting_beats_the_best(form):
    """On a grid of 200 × 200 around it."""
    best = theory.best_rate_and_momentum(form, 0.3, 6.0)
    eta = best.rate * np.linspace(0.2, 3, 200)[:, None]
    alpha = np.linspace(0, 0.99, 200)
    assert theory.spectral_radius(form, eta, alpha, [0.3, 6.0]).min() >= theory.best_convergence_rate(form, 20) - 1e-7


@pytest.mark.parametrize("form", FORMS)
def test_effective_rate_is_the_speed_in_the_long_run(form):
    w, v, before = 0.0, 0.0, 0.0
    for _ in range(400):
        before, (w, v) = w, step(form, w, v, -1.0, 0.05, 0.8)
    assert w - before == pytest.approx(theory.effective_rate(form, 0.05, 0.8), rel=1e-12)


# --- Plateau and saddle --------------------------------------------------------------------------------------------


def test_plateau_and_saddle_counts_are_the_printed_ones():
    """X6, exactly: η = 0.1, α = 0.9; G = 1 over length 20; curvature −0.05 from 10⁻⁶ to 1."""
    three = ("gradient descent", "heavy_ball", "convex")
    assert [theory.plateau_steps(form, 0.1, 0.9, 1.0, 20.0) for form in three] == [200, 29, 209]
    assert [theory.saddle_steps(form, 0.1, 0.9, -0.05, 1e-6, 1.0) for form in three] == [2771, 380, 2898]
    growth = [theory.saddle_growth(form, 0.1, 0.9, -0.05) for form in three]
    np.testing.assert_allclose(growth, [1.005, 1.0376836, 1.0047941], atol=5e-8)
    np.testing.assert_allclose([theory.plateau_lag(form, 0.9) for form in three], [0, 9, 9], rtol=1e-14)


@pytest.mark.parametrize("form", FORMS)
def test_counts_are_those_of_the_recursion(form):
    """Forty settings drawn at random, plateau and saddle: never a step off."""
    rng = np.random.default_rng(7)
    eta, alpha = rng.uniform(0.01, 0.5, 40), rng.uniform(0, 0.97, 40)
    length, curvature = rng.uniform(0.1, 30, 40), -rng.uniform(0.02, 0.5, 40)
    across = [steps_until(form, lambda w: -2.0, 0.0, length[i], eta[i], alpha[i]) for i in range(40)]
    down = [steps_until(form, lambda w, i=i: curvature[i] * w, 1e-3, 1.0, eta[i], alpha[i]) for i in range(40)]
    np.testing.assert_array_equal(theory.plateau_steps(form, eta, alpha, -2.0, length), across)
    np.testing.assert_array_equal(theory.saddle_steps(form, eta, alpha, curvature, 1e-3, 1.0), down)


def test_a_goal_reached_exactly_counts():
    """0.07 a step: 0.07 k is reached at the k-th, whatever way 0.1 · 0.7 is rounded."""
    k = np.arange(1, 100)
    np.testing.assert_array_equal(theory.plateau_steps("gradient descent", 0.1, 0.0, 0.7, 0.07 * k), k)
    assert theory.saddle_steps("gradient descent", 0.5, 0.0, -2.0, 1.0, 8.0) == 3


@pytest.mark.parametrize("form", FORMS)
def test_distances_are_those_of_the_recursion(form):
    """Arriving with a velocity, weight per step: the form "velocity" keeps it as −v₀/η."""
    eta, alpha, slope, v0, curvature = 0.07, 0.85, 0.6, 1.3, -0.2
    w, v = 0.0, -v0 / eta if form == "velocity" else v0
    u, s = 0.01, 0.0
    for t in range(25):
        assert theory.plateau_distance(form, eta, alpha, slope, t, v0) == pytest.approx(w, abs=1e-12)
        assert theory.saddle_distance(form, eta, alpha, curvature, t, 0.01) == pytest.approx(u, rel=1e-12)
        w, v = step(form, w, v, slope, eta, alpha)
        u, s = step(form, u, s, curvature * u, eta, alpha)


@pytest.mark.parametrize("form", FORMS)
def test_glide_on_flat_ground(form):
    w, v = 0.0, -1.3 / 0.07 if form == "velocity" else 1.3
    for _ in range(500):
        w, v = step(form, w, v, 0.0, 0.07, 0.85)
    assert theory.plateau_glide(form, 0.85, 1.3) == pytest.approx(w, rel=1e-12, abs=1e-15)


# --- Linear networks -----------------------------------------------------------------------------------------------


def test_lms_closed_form_is_gradient_descent():
    """X2, with one input twice, so that R is singular, and a rate above the limit, so that it diverges."""
    rng = np.random.default_rng(3)
    x, target, start = rng.normal(size=(20, 3)), rng.normal(size=(20, 2)), rng.normal(size=(4, 2))
    x = np.concatenate([x, x[:, :1]], axis=1)
    for rate in (0.3, 1.05 * theory.lms_limit(x)):
        w, path = start, [start]
        for _ in range(40):
            w = w - rate * x.T @ (x @ w - target) / 20
            path.append(w)
        closed = theory.lms_weights(rate, np.arange(41), start, x, target)
        np.testing.assert_allclose(closed, path, rtol=1e-10, atol=1e-12)


def test_lms_limit_is_where_it_flips():
    x, zero = np.random.default_rng(3).normal(size=(20, 3)), np.zeros((20, 1))
    start = np.ones((3, 1))
    for factor, stable in ((0.9999, True), (1.0001, False)):
        w = theory.lms_weights(factor * theory.lms_limit(x), [100_000, 100_100], start, x, zero)
        assert (np.abs(w[1]).max() < np.abs(w[0]).max()) == stable


def test_delay_limits():
    """5.4, printed for τ = 0 … 4; the companion matrix's radius of w(t+1) = w(t) − ηλ w(t−τ) passes 1 there."""
    np.testing.assert_allclose(theory.delay_limit(range(5)), [2, 1, 0.618034, 0.445042, 0.347296], atol=5e-7)
    for tau in range(6):
        for factor, stable in ((0.9999, True), (1.0001, False)):
            matrix = np.eye(tau + 1, k=-1)
            matrix[0, 0] = 1
            matrix[0, tau] -= factor * theory.delay_limit(tau)
            assert (np.abs(np.linalg.eigvals(matrix)).max() < 1) == stable


def test_deep_linear_mode_is_the_printed_value_and_the_limit_of_gradient_descent():
    """X9: s = 3, u₀ = 10⁻³, t = 2. Two weights a = b = √u₀ by gradient descent, u = ab; their errors are printed.

    The slope of the error reaches 1 late: at t = 2 most of u is learnt, and what is left of the error has decayed.
    """
    closed = theory.deep_linear_mode(2.0, 3.0, 1e-3)
    assert closed == pytest.approx(2.94572070, abs=5e-9)
    errors = []
    for h in (1e-2, 5e-3, 1e-3, 5e-4):
        a = b = np.sqrt(1e-3)
        for _ in range(round(2 / h)):
            a, b = a + h * b * (3 - a * b), b + h * a * (3 - a * b)
        errors.append(abs(a * b - closed))
    np.testing.assert_allclose(errors[:2], [6.8e-5, 2.4e-5], rtol=0.005)
    assert np.log2(errors[2] / errors[3]) == pytest.approx(1, abs=0.2)


def test_deep_linear_time_undoes_the_mode():
    """From 0.001 to 1.5 of 3 at τ = 2: (1/3) ln(2999) = 2.668677."""
    assert theory.deep_linear_time(1.5, 3.0, 1e-3, tau=2.0) == pytest.approx(np.log(2999) / 3, rel=1e-14)
    t = np.array([0.5, 1.0, 3.0])
    np.testing.assert_allclose(theory.deep_linear_time(theory.deep_linear_mode(t, 3.0, 1e-3, 2.0), 3.0, 1e-3, 2.0), t)


@pytest.mark.parametrize("layers", [1, 2, 3, 5])
def test_deep_linear_flow_is_gradient_descent_on_a_product(layers):
    """E = ½(s − a₁ … a_L)², all a alike: one small step of every a, and the change of their product."""
    s, u, rate = 2.0, 0.6, 1e-7
    a = jnp.full(layers, u ** (1 / layers))

    @quick_jit
    def change_of_product(a):
        g = jax.grad(lambda a: 0.5 * (s - jnp.prod(a)) ** 2)(a)
        return (jnp.prod(a - rate * g) - jnp.prod(a)) / rate

    change = change_of_product(a)
    assert theory.deep_linear_flow(u, s, layers, tau=0.5) == pytest.approx(float(change) / 0.5, rel=1e-6)


def test_shallow_linear_mode():
    """1 + 3e^(−2) = 1.406006 from 4 to 1; a start below 0 is allowed, there is no saddle at 0."""
    assert theory.shallow_linear_mode(1.0, 1.0, 4.0, tau=0.5) == pytest.approx(1 + 3 * np.exp(-2), rel=1e-14)
    assert theory.shallow_linear_mode(0.0, 1.0, -4.0) == -4


def test_learning_keeps_the_invariants_to_second_order(keys):
    """Three layers of different widths, unbalanced: halving η quarters the change per step."""
    network = bp.chain(*(bp.dense(n, use_bias=False) for n in (4, 3, 2)))
    params, _ = network.init(next(keys), (5,))
    batch = jax.random.normal(next(keys), (10, 5)), jax.random.normal(next(keys), (10, 2))
    g = quick_jit(jax.grad(lambda p: bp.autodiff(network, bp.squared_error).grads(p, (), batch)[0]))(params)

    def invariants(rate):
        return theory.deep_linear_invariants([p.w - rate * dp.w for p, dp in zip(params, g, strict=True)])

    before, whole, half = invariants(0.0), invariants(1e-2), invariants(5e-3)
    assert [len(matrix) for matrix in before] == [4, 3]
    for a, b, c in zip(before, whole, half, strict=True):
        assert np.abs(b - a).max() > 1e-6
        np.testing.assert_allclose(b - a, 4 * (c - a), rtol=1e-6, atol=1e-12)


def test_balanced_layers_have_no_invariants_left():
    w = np.array([[1.0, 2.0]])
    np.testing.assert_array_equal(theory.deep_linear_invariants([w, w.T])[0], np.zeros((2, 2)))


# --- The soft committee machine ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def committee():
    """Overlaps of three student and two unrelated teacher units, and 400 000 examples of their net inputs."""
    rng = np.random.default_rng(11)
    J, B = rng.normal(size=(3, 5)) / 2, rng.normal(size=(2, 5)) / 1.5
    x = rng.normal(size=(400_000, 5))
    return (J @ J.T, J @ B.T, B @ B.T), x @ J.T, x @ B.T


def close_to_the_mean(value, samples):
    """Within 4.5 standard errors, which 1 in 150 000 correct values misses."""
    error = samples.std(axis=0) / np.sqrt(len(samples))
    return bool((np.abs(value - samples.mean(axis=0)) < 4.5 * error).all())


def g(a):
    return erf(a / np.sqrt(2))


def test_generalization_error_is_the_mean_over_examples(committee):
    overlaps, student, teacher = committee
    samples = 0.5 * (g(student).sum(1) - g(teacher).sum(1)) ** 2
    value = theory.generalization_error(*overlaps)
    assert close_to_the_mean(value, samples)
    assert samples.std() / np.sqrt(len(samples)) < 0.005 * value  # the standard error is small compared with the value


def test_flow_is_the_mean_of_the_change_per_example(committee):
    """J ← J + (η/N) δ x with δᵢ = g′(xᵢ)(ζ − σ): N times the change of JBᵀ and JJᵀ, x·x = N."""
    (Q, R, T), student, teacher = committee
    eta = 1.7
    slope = np.sqrt(2 / np.pi) * np.exp(-(student**2) / 2)
    delta = slope * (g(teacher).sum(1) - g(student).sum(1))[:, None]
    dQ, dR = theory.soft_committee_flow(Q, R, T, eta)
    outer = delta[:, :, None] * student[:, None, :]
    assert close_to_the_mean(dR, eta * delta[:, :, None] * teacher[:, None, :])
    linear, square = eta * (outer + outer.swapaxes(1, 2)), eta**2 * delta[:, :, None] * delta[:, None, :]
    assert close_to_the_mean(dQ, linear + square)
    assert not close_to_the_mean(dQ, linear) and not close_to_the_mean(dQ, linear + 0.97 * square)


def test_the_average_of_four_is_the_mean_entry_by_entry(committee):
    """⟨g′(x₀) g′(x₁) g(c) g(d)⟩: in the flow's sum over c and d a wrong term may cancel against its mirror image."""
    (Q, R, T), student, teacher = committee
    slope = np.sqrt(2 / np.pi) * np.exp(-(student**2) / 2)
    all_fields = g(np.concatenate([student, teacher], axis=1))
    samples = (slope[:, 0] * slope[:, 1])[:, None, None] * all_fields[:, :, None] * all_fields[:, None, :]
    assert close_to_the_mean(_I4(np.block([[Q, R], [R.T, T]]), 3)[0, 1], samples)


def test_a_student_that_is_the_teacher_makes_no_error_and_stays():
    T = np.array([[1.0, 0.2], [0.2, 0.7]])
    assert theory.generalization_error(T, T, T) == pytest.approx(0, abs=1e-15)
    for change in theory.soft_committee_flow(T, T, T, 0.5):
        np.testing.assert_allclose(change, 0, atol=1e-15)


PLATEAU = {  # printed: K: (Q, R, error)
    2: (0.333333, 0.408248, 0.01161084),
    3: (0.2, 0.258199, 0.02029659),
    4: (0.142857, 0.188982, 0.02837726),
}


@pytest.mark.parametrize("K", PLATEAU)
def test_symmetric_plateau_is_the_printed_one_and_a_fixed_point(K):
    """X10: closed form, print and the flow's own fixed point; 1 + Q and the overlaps' error give the printed error."""
    Q, R, T, error = theory.plateau_overlaps(K)
    np.testing.assert_allclose([Q[0, 1], R[0, 1]], PLATEAU[K][:2], atol=5e-7)
    assert error == pytest.approx(PLATEAU[K][2], abs=5e-9)
    assert theory.generalization_error(Q, R, T) == pytest.approx(error, abs=1e-15)
    found = theory.symmetric_plateau(K)
    np.testing.assert_allclose(found[:4], [Q[0, 0], Q[0, 1], R[0, 1], error], atol=1e-6)
    for change in theory.soft_committee_flow(Q, R, T, 1e-9):  # η → 0: what is left is the term in η²
        np.testing.assert_allclose(change, 0, atol=1e-17)


@pytest.mark.parametrize(("K", "rate", "end"), [(2, 1.5, 600), (3, 0.3, 1500)])
def test_differences_grow_on_the_plateau_by_the_escape_rate(K, rate, end):
    """From the plateau with differences of 10⁻¹⁰: the error stays, they grow at the predicted rate, K = 2 is solved."""
    plateau = theory.symmetric_plateau(K, rate)
    times = np.linspace(0, end, 301)
    Q = np.where(np.eye(K) == 1, plateau.own, plateau.cross)
    path = theory.soft_committee_path(times, Q, plateau.teacher + 1e-10 * np.eye(K), np.eye(K), rate)
    assert path.Q.shape == path.R.shape == (301, K, K) and path.error.shape == (301,)
    difference = path.R[:, 0, 0] - path.R[:, 0, 1]
    growing = (difference > 1e-8) & (difference < 1e-4)
    assert growing.sum() > 20
    slope = np.polyfit(times[growing], np.log(difference[growing]), 1)[0]
    assert slope == pytest.approx(rate * plateau.escape, rel=1e-4)
    np.testing.assert_allclose(path.error[growing], plateau.error, rtol=1e-4)  # dense output between long steps
    if K == 2:
        np.testing.assert_allclose(path.R[-1], np.eye(2), atol=1e-6)


def test_a_small_start_comes_to_the_plateau():
    """K = 3, η = 0.1, overlaps of 10⁻¹²: after 5 000 examples per weight within 1 % of the plateau's error."""
    Q, R = np.diag([0.1, 0.2, 0.4]), 1e-12 * np.arange(9.0).reshape(3, 3)
    path = theory.soft_committee_path([5000.0], Q, R, np.eye(3), 0.1)
    assert path.error[0] == pytest.approx(theory.symmetric_plateau(3, 0.1).error, rel=0.01)


def test_the_path_follows_the_flow():
    """Against the classical Runge-Kutta method with 400 steps."""
    rng = np.random.default_rng(2)
    Q, R, T = np.diag(rng.uniform(0.1, 0.5, 3)), rng.uniform(0, 0.1, (3, 3)), np.eye(3)
    end = theory.soft_committee_path([0.0, 8.0], Q, R, T, 0.8)
    np.testing.assert_allclose(end.R[0], R, atol=1e-15)
    np.testing.assert_allclose(theory.soft_committee_path(0.0, Q, R, T, 0.8).Q, Q[None], atol=1e-15)
    q, r, h = Q, R, 8 / 400
    for _ in range(400):
        k1 = theory.soft_committee_flow(q, r, T, 0.8)
        k2 = theory.soft_committee_flow(q + h / 2 * k1[0], r + h / 2 * k1[1], T, 0.8)
        k3 = theory.soft_committee_flow(q + h / 2 * k2[0], r + h / 2 * k2[1], T, 0.8)
        k4 = theory.soft_committee_flow(q + h * k3[0], r + h * k3[1], T, 0.8)
        q, r = (a + h / 6 * (b + 2 * c + 2 * d + e) for a, b, c, d, e in zip((q, r), k1, k2, k3, k4, strict=True))
    np.testing.assert_allclose(end.Q[1], q, rtol=1e-7)
    np.testing.assert_allclose(end.R[1], r, rtol=1e-7)


# --- A duplicated unit ---------------------------------------------------------------------------------------------


SHARES = (-0.5, 0.0, 0.25, 0.5, 1.0, 1.7)


@pytest.fixture(scope="module")
def minimum():
    """(error, params, batch) of a 1-2-1 network at a minimum above 0, found by SciPy and Newton's method."""
    x = jnp.linspace(-2, 2, 12)[:, None]
    batch = x, jnp.tanh(2 * x + 2) - jnp.tanh(1.5 * x - 1) + 0.2 * jnp.cos(9 * x)
    rule = bp.autodiff(bp.mlp((1, 2, 1), bp.tanh), bp.squared_error)
    params, _ = rule.network.init(jax.random.key(1), (1,))
    flat, unravel = ravel_pytree(params)

    def error(flat):
        return rule.grads(unravel(flat), (), batch)[0]

    derivatives = quick_jit(lambda w: (*jax.value_and_grad(error)(w), jax.hessian(error)(w)))
    value, gradient, hessian = (lambda w, i=i: derivatives(w)[i] for i in range(3))
    w = minimize(value, np.asarray(flat), jac=gradient, hess=hessian, method="trust-exact").x
    for _ in range(4):
        w = w - np.linalg.solve(hessian(w), gradient(w))
    assert np.abs(gradient(w)).max() < 1e-13 and value(w) > 0.01 and np.linalg.eigvalsh(hessian(w))[0] > 1e-3
    return value(w), unravel(jnp.asarray(w)), batch


LARGER = bp.autodiff(bp.mlp((1, 3, 1), bp.tanh), bp.squared_error)


@quick_jit
def around(params, batch):
    """Value, gradient (P,) and Hessian (P, P) of the larger network's error."""
    flat, unravel = ravel_pytree(params)
    error = lambda w: LARGER.grads(unravel(w), (), batch)[0]
    value, gradient, _ = LARGER.grads(params, (), batch)
    return value, ravel_pytree(gradient)[0], jax.hessian(error)(flat)


@pytest.mark.parametrize("unit", [0, 1])
def test_a_minimum_becomes_a_line_of_critical_points(minimum, unit):
    """X11: the error the same, the gradient 0, the Hessian with an eigenvalue 0, in the line's direction."""
    E, small, batch = minimum
    points = [theory.duplicate_unit(small, unit, share) for share in SHARES]
    first, last = (np.asarray(ravel_pytree(point)[0]) for point in (points[0], points[-1]))
    line = (last - first) / np.linalg.norm(last - first)
    for point in points:
        value, gradient, H = (np.asarray(a) for a in around(point, batch))
        assert value == pytest.approx(float(E), rel=1e-14)
        assert np.abs(gradient).max() <= 1e-12
        np.testing.assert_allclose(H @ line, 0, atol=1e-11)
        assert np.abs(np.linalg.eigvalsh(H)).min() < 1e-11


def test_duplicate_by_hand():
    """Unit 1 of two at a share of ¼: its outgoing weight 8 becomes 2, the copy's is 6."""
    params = (
        bp.layers.Affine(jnp.array([[1.0, 2.0]]), jnp.array([3.0, 4.0])),
        (),
        bp.layers.Affine(jnp.array([[7.0], [8.0]]), jnp.array([9.0])),
    )
    first, none, second = theory.duplicate_unit(params, 1, 0.25)
    assert first.w.tolist() == [[1, 2, 2]] and first.b.tolist() == [3, 4, 4]
    assert none == () and second.w.tolist() == [[7], [2], [6]] and second.b.tolist() == [9]


# --- Invalid arguments -----------------------------------------------------------------------------------------------


AFFINE = bp.layers.Affine(jnp.ones((2, 2)), jnp.ones(2))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: theory.stability_limit("momentum", 0.5), "nesterov, got 'momentum'"),
        (lambda: theory.stability_limit("convex", 1.0), "`momentum`.*≥ 0 and < 1, got 1"),
        (lambda: theory.stability_limit("convex", []), "empty"),
        (lambda: theory.stability_limit("convex", "much"), "array of numbers, got 'much'"),
        (lambda: theory.mode_roots("convex", 0.0, 0.5, 1.0), "`rate`.*> 0"),
        (lambda: theory.mode_roots("convex", 0.1, 0.5, np.nan), "`curvature`.*nan"),
        (lambda: theory.best_rate_and_momentum("convex", 2.0, 1.0), "swap"),
        (lambda: theory.best_convergence_rate("convex", 0.5), "`condition`.*≥ 1"),
        (lambda: theory.plateau_steps("convex", 0.1, 0.5, 0.0, 1.0), "nothing moves"),
        (lambda: theory.plateau_distance("convex", 0.1, 0.5, 1.0, 1.5), "integers, got 1.5"),
        (lambda: theory.saddle_steps("convex", 0.1, 0.5, 0.1, 1e-6, 1.0), "`curvature`.*< 0, got 0.1"),
        (lambda: theory.saddle_steps("convex", 0.1, 0.5, -0.1, 1.0, 1.0), "`start` < `end`"),
        (lambda: theory.delay_limit(-1), "`delay`.*≥ 0"),
        (lambda: theory.lms_limit(np.zeros((3, 2))), "not all 0"),
        (lambda: theory.lms_weights(0.1, 1, np.ones((3, 1)), np.ones((5, 2)), np.ones((5, 1))), r"`start`.*\(2, 1\)"),
        (lambda: theory.deep_linear_time(3.0, 3.0, 0.1), "only in the limit"),
        (lambda: theory.deep_linear_flow(0.1, 1.0, 0), "`weight_layers`.*≥ 1"),
        (lambda: theory.deep_linear_invariants([np.ones((2, 3)), np.ones((2, 3))]), r"weights\[1\].*\(3, any\)"),
        (lambda: theory.generalization_error(np.eye(2), np.ones((3, 2)), np.eye(2)), "J J"),
        (lambda: theory.soft_committee_path([2.0, 1.0], np.eye(2), np.eye(2), np.eye(2), 0.1), "ascending"),
        (lambda: theory.plateau_overlaps(1), "≥ 2"),
        (lambda: theory.duplicate_unit((AFFINE,), 0, 0.5), "one hidden layer"),
        (lambda: theory.duplicate_unit((AFFINE, (), AFFINE), 2, 0.5), "≤ 1, got 2"),
        (lambda: theory.duplicate_unit((AFFINE, (), AFFINE), 0, np.inf), "`share`"),
    ],
)
def test_bad_input_is_refused_with_the_reason(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_a_rate_without_a_plateau_raises():
    with pytest.raises(RuntimeError, match="smaller rate"):
        theory.symmetric_plateau(3, 10.0)
