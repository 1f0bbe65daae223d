"""What is known exactly about momentum, Quickprop and Rprop: closed forms, limits of stability, invariances.

X3 … X26 number these statements in the project's sheet of papers; no expected value was measured on the code.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from passes import quick_jit

import bpjax as bp

FORMS = ("heavy_ball", "convex", "velocity", "nesterov")
RPROPS = ("rprop-", "rprop+", "irprop-", "irprop+")


@functools.cache
def program(optimizer, measure, steps):
    """(w, state) -> the weights after every step, compiled; optimizers that differ in hyperparameters share it."""

    def step(carry, _):
        w, state = carry
        value, grads = measure(w)
        updates, state = optimizer.update(grads, state, w, value=value)
        w = optax.apply_updates(w, updates)
        return (w, state), w

    return quick_jit(lambda *begin: jax.lax.scan(step, begin, length=steps)[1])


def descend(optimizer, measure, w, steps):
    """The weights 0, 1, …, `steps` on the way down `measure(w) -> (E, g)`."""
    w = jnp.asarray(w, float)
    path = program(bp.optimizers.static_part(optimizer), measure, steps)(w, optimizer.init(w))
    return np.concatenate([w[None], path])


@functools.cache
def bowl(curvature):
    """½λw² with its gradient."""
    return lambda w: (0.5 * curvature * w * w, curvature * w)


# --- The 2 × 2 matrix of a mode ------------------------------------------------------------------------------------


def mode_matrix(form, eta, alpha, curvature):
    """(w, v) ← M (w, v) for one curvature."""
    x = eta * curvature
    return np.array(
        {
            "heavy_ball": [[1 - x, alpha], [-x, alpha]],
            "convex": [[1 - (1 - alpha) * x, alpha], [-(1 - alpha) * x, alpha]],
            "velocity": [[1 - x, -eta * alpha], [curvature, alpha]],
            "nesterov": [[1 - (1 + alpha) * x, alpha**2], [-x, alpha]],
        }[form]
    )


@pytest.mark.parametrize("form", FORMS)
def test_iterates_are_powers_of_the_mode_matrix(form):
    """X3, on a bowl whose axes are turned against the weights'."""
    eta, alpha, steps = 0.07, 0.85, 60
    curvatures = np.array([0.3, 2.0, 11.0])
    axes = np.linalg.qr(np.array([[1.0, 2.0, 0.5], [-0.3, 1.0, 2.0], [0.7, -1.0, 1.5]]))[0]
    hessian = jnp.asarray(axes * curvatures @ axes.T)
    start = np.array([1.0, -2.0, 0.5])
    bowl_of_axes = lambda w: (0.5 * w @ hessian @ w, hessian @ w)
    path = descend(bp.momentum(eta, alpha, form), bowl_of_axes, axes @ start, steps)
    expected = np.array(
        [
            [
                (np.linalg.matrix_power(mode_matrix(form, eta, alpha, curvature), k) @ [z, 0])[0]
                for curvature, z in zip(curvatures, start, strict=True)
            ]
            for k in range(steps + 1)
        ]
    )
    np.testing.assert_allclose(np.asarray(path) @ axes, expected, atol=1e-11, rtol=0)


@pytest.mark.parametrize("form", FORMS)
def test_mode_matrix_has_the_published_characteristic_polynomial(form):
    """σ² − bσ + c of the papers' table: the oracle of X3 against the table it was not written from."""
    eta, alpha, curvature = 0.3, 0.6, 1.7
    x = eta * curvature
    b, c = {
        "heavy_ball": (1 + alpha - x, alpha),
        "velocity": (1 + alpha - x, alpha),
        "convex": (1 + alpha - (1 - alpha) * x, alpha),
        "nesterov": ((1 + alpha) * (1 - x), alpha * (1 - x)),
    }[form]
    matrix = mode_matrix(form, eta, alpha, curvature)
    np.testing.assert_allclose([np.trace(matrix), np.linalg.det(matrix)], [b, c], rtol=1e-13)


LIMITS = {  # of ηL at L = 1; at α = ½: 3, 6, 1.5, at α = 0.9: 3.8, 38, 1.35714
    "heavy_ball": lambda alpha: 2 * (1 + alpha),
    "velocity": lambda alpha: 2 * (1 + alpha),
    "convex": lambda alpha: 2 * (1 + alpha) / (1 - alpha),
    "nesterov": lambda alpha: 2 * (1 + alpha) / (1 + 2 * alpha),
}


ALPHAS = np.array([0.0, 0.5, 0.9])


@pytest.mark.parametrize("form", FORMS)
def test_stability_flips_at_the_limit(form):
    """X4. Without momentum every form has gradient descent's limit, 2."""
    limits = np.array([LIMITS[form](alpha) for alpha in ALPHAS])
    assert limits[0] == 2

    def far(rate, alpha):  # 40 000 steps at 0.0001 from the limit: e^±8 or further
        optimizer = bp.momentum(rate, alpha, form)

        def step(_, carry):
            w, state = carry
            updates, state = optimizer.update(w, state, w, value=0.5 * w * w)  # g = w, for L = 1
            return optax.apply_updates(w, updates), state

        w = jnp.asarray(1.0, float)
        return jnp.abs(jax.lax.fori_loop(0, 40_000, step, (w, optimizer.init(w)))[0])

    rates = limits * np.array([[0.9999], [1.0001]])
    below, above = jax.jit(jax.vmap(far))(rates.ravel(), np.tile(ALPHAS, 2)).reshape(2, 3)
    assert (below < 0.01).all() and (above > 100).all()


# --- One form as another -------------------------------------------------------------------------------------------


def valley(w):
    """A curved valley, no parabola: E = ¼(x² − y)² + ½(x − 1)² + 0.1y⁴."""
    x, y = w
    E = 0.25 * (x * x - y) ** 2 + 0.5 * (x - 1) ** 2 + 0.1 * y**4
    return E, jnp.stack([x * (x * x - y) + x - 1, -0.5 * (x * x - y) + 0.4 * y**3])


def falling(count):
    return 0.2 / (1.0 + 0.1 * count)


def rising(count):
    return 0.9 - 0.4 / (1.0 + count)


def valley_path(eta, alpha, form):
    return np.asarray(descend(bp.momentum(eta, alpha, form), valley, [-1.5, 1.2], 50))


def test_convex_is_heavy_ball_at_a_smaller_rate():
    """X5: convex(η) ≡ heavy_ball((1 − α)η)."""
    path = valley_path(0.4, 0.8, "convex")
    assert np.abs(np.diff(path, axis=0)).max() > 0.05  # the weights move
    np.testing.assert_allclose(path, valley_path(0.4 * (1 - 0.8), 0.8, "heavy_ball"), atol=1e-13)


CONVERSIONS = [
    (0.1, 0.8, "convex", "heavy_ball"),
    (0.1, 0.8, "heavy_ball", "convex"),
    (0.1, 0.8, "velocity", "heavy_ball"),
    (0.1, 0.8, "heavy_ball", "velocity"),
    (0.1, 0.8, "velocity", "convex"),
    (0.1, 0.8, "convex", "velocity"),
    (falling, 0.8, "convex", "heavy_ball"),
    (falling, 0.8, "heavy_ball", "convex"),
    (0.1, rising, "convex", "heavy_ball"),
    (0.1, rising, "heavy_ball", "convex"),
    (falling, rising, "heavy_ball", "convex"),
    (0.1, rising, "heavy_ball", "velocity"),
    (0.1, rising, "velocity", "heavy_ball"),
    *[(falling, rising, form, form) for form in FORMS],
]


@pytest.mark.parametrize(("eta", "alpha", "source", "target"), CONVERSIONS)
def test_converted_momentum_takes_the_same_path(eta, alpha, source, target):
    """X5 for every pair of forms that has a translation, schedules included."""
    converted = bp.optimizers.convert_momentum(eta, alpha, source, target)
    np.testing.assert_allclose(valley_path(*converted, target), valley_path(eta, alpha, source), atol=1e-13)


def test_conversion_by_hand():
    """(1 − 0.75) · 0.4 = 0.1, and back."""
    np.testing.assert_allclose(
        bp.optimizers.convert_momentum(0.4, 0.75, "convex", "heavy_ball"), (0.1, 0.75), rtol=1e-15
    )
    np.testing.assert_allclose(
        bp.optimizers.convert_momentum(0.1, 0.75, "heavy_ball", "convex"), (0.4, 0.75), rtol=1e-15
    )


@pytest.mark.parametrize("other", ["heavy_ball", "convex"])
def test_velocity_at_a_rate_that_varies_has_no_translation(other):
    """A new rate applies to the old velocity as well."""
    for pair in (("velocity", other), (other, "velocity")):
        with pytest.raises(ValueError, match="velocity"):
            bp.optimizers.convert_momentum(falling, 0.8, *pair)


def test_convex_whose_momentum_varies_has_no_velocity():
    """The factor of the gradient, (1 − α)η, then varies."""
    for pair in (("convex", "velocity"), ("velocity", "convex")):
        with pytest.raises(ValueError, match="velocity"):
            bp.optimizers.convert_momentum(0.1, rising, *pair)


@pytest.mark.parametrize("other", ["heavy_ball", "convex", "velocity"])
def test_nesterov_equals_none_of_the_others(other):
    """Its two roots multiply to α(1 − ηλ), which changes with the curvature λ; theirs to α."""
    for pair in (("nesterov", other), (other, "nesterov")):
        with pytest.raises(ValueError, match="nesterov"):
            bp.optimizers.convert_momentum(0.1, 0.8, *pair)


# --- Plateau, saddle, rest -----------------------------------------------------------------------------------------


PLATEAU = {"gradient descent": 200, "heavy_ball": 29, "convex": 209}
SADDLE = {"gradient descent": 2771, "heavy_ball": 380, "convex": 2898}


def named(name, eta, alpha):
    return bp.momentum(eta, 0.0) if name == "gradient descent" else bp.momentum(eta, alpha, name)


@functools.cache
def slope(G):
    """A plateau, E = G w."""
    return lambda w: (G * w, jnp.full_like(w, G))


def steps_to(path, goal):
    """The first step at which the goal is reached."""
    reached = np.asarray(path) >= goal
    assert reached.any()
    return int(reached.argmax())


@pytest.mark.parametrize("name", PLATEAU)
def test_steps_across_a_plateau(name):
    """X6: η = 0.1, α = 0.9, G = 1, length 20. The convex form lags gradient descent by α/(1 − α) = 9 steps."""
    path = descend(named(name, 0.1, 0.9), slope(-1.0), 0.0, 300)
    assert abs(steps_to(path, 20.0) - PLATEAU[name]) <= 1


@pytest.mark.parametrize("name", ["heavy_ball", "convex"])
def test_distance_travelled_on_a_plateau(name):
    """−ηG/(1 − α) · [t − α(1 − αᵗ)/(1 − α)], and the same without 1/(1 − α)."""
    eta, alpha, G, t = 0.1, 0.9, -1.5, np.arange(301)
    path = descend(named(name, eta, alpha), slope(G), 0.0, 300)
    expected = -eta * G * (t - alpha * (1 - alpha**t) / (1 - alpha))
    np.testing.assert_allclose(path, expected / (1 - alpha) if name == "heavy_ball" else expected, atol=1e-11)


@pytest.mark.parametrize("name", SADDLE)
def test_steps_down_from_a_saddle(name):
    """X6: η = 0.1, α = 0.9, curvature −0.05, from 10⁻⁶ to 1."""
    path = descend(named(name, 0.1, 0.9), bowl(-0.05), 1e-6, 3000)
    assert abs(steps_to(path, 1.0) - SADDLE[name]) <= 1
    factor = {"gradient descent": 1.005, "heavy_ball": 1.0376836, "convex": 1.0047941}[name]
    assert float(path[3000] / path[2999]) == pytest.approx(factor, abs=1e-7)


def test_convex_at_full_momentum_never_moves():
    """X7: α = 1 leaves v as it is, and from rest that is 0. The other forms do move."""
    start = jnp.array([-1.5, 1.2])
    path = descend(bp.momentum(0.1, 1.0, "convex"), valley, start, 20)
    assert np.array_equal(path, np.broadcast_to(start, path.shape))
    for form in ("heavy_ball", "velocity", "nesterov"):
        assert not np.array_equal(descend(bp.momentum(0.1, 1.0, form), valley, start, 1)[1], start)


def nesterov_chain(w):
    """½(w₁ − 1)² + ½Σ(wᵢ − wᵢ₊₁)² + 2‖w‖²/(κ − 1) for κ = 50, with its gradient."""
    kappa = 50.0
    left = w - jnp.concatenate([jnp.ones(1), w[:-1]])  # wᵢ − wᵢ₋₁, where w₀ = 1
    g = left - jnp.concatenate([left[1:], jnp.zeros(1)]) + 4 / (kappa - 1) * w
    return 0.5 * (left * left).sum() + 2 / (kappa - 1) * (w * w).sum(), g


def test_the_gradient_of_the_nesterov_chain():
    point = jnp.linspace(-1, 2, 24)
    (_, by_hand), by_jax = quick_jit(lambda w: (nesterov_chain(w), jax.grad(lambda w: nesterov_chain(w)[0])(w)))(point)
    np.testing.assert_allclose(by_hand, by_jax, atol=1e-13)


@pytest.mark.parametrize("form", FORMS)
def test_light_cone_of_the_nesterov_chain(form):
    """X8: from 0, after k steps, weights beyond the k-th are exactly 0."""
    n = 24
    path = descend(bp.momentum(0.2, 0.7, form), nesterov_chain, np.zeros(n), n)
    for k in range(n + 1):
        assert (path[k, k:] == 0).all() and (path[k, :k] != 0).all()


# --- Quickprop on a parabola ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("curvature", "minimum", "start", "x"),
    [(1.0, 0.0, 1.0, 1.5), (3.7, -0.6, 2.0, 1.9), (0.2, 1.1, -1.0, 1.05), (2.0, 0.3, -4.0, 3.0)],
)
def test_quickprop_lands_on_the_minimum_at_the_second_step(curvature, minimum, start, x):
    """X25, εL = x > 1: the first step passes the minimum, so that the ε term is 0; growth (x − 1)/x < μ."""
    parabola = lambda w: (0.5 * curvature * (w - minimum) ** 2, curvature * (w - minimum))
    path = descend(bp.quickprop(x / curvature), parabola, start, 4)
    first = minimum + (1 - x) * (start - minimum)
    np.testing.assert_allclose(path, [start, first, minimum, minimum, minimum], rtol=0, atol=1e-14 * max(1, abs(start)))


def test_quickprop_overshoots_by_the_gradient_step_from_the_same_side():
    """x = εL = ½ from 1 to the minimum at 0: ½; the parabola's step is −½, and −εg = −¼ is added."""
    path = descend(bp.quickprop(0.5), bowl(1.0), 1.0, 2)
    np.testing.assert_allclose(path, [1.0, 0.5, -0.25], atol=1e-15)


# --- Rprop sees signs ----------------------------------------------------------------------------------------------


def transformed(measure, h, slope):
    """h(E) with its gradient h′(E) g."""

    def measure_transformed(w):
        E, g = measure(w)
        return h(E), slope(E) * g

    return measure_transformed


@pytest.mark.parametrize(
    ("h", "slope"),
    [(lambda E: E**3 + E, lambda E: 3 * E**2 + 1), (jnp.log1p, lambda E: 1 / (1 + E)), (jnp.exp, jnp.exp)],
    ids=["cube", "log1p", "exp"],
)
@pytest.mark.parametrize("variant", RPROPS)
def test_rprop_is_blind_to_a_monotone_transformation_of_the_error(variant, h, slope):
    """X26: bit by bit, irprop+ as well, because h preserves the order of errors."""
    optimizer = bp.rprop(0.1, variant)
    path = np.asarray(descend(optimizer, valley, [-1.5, 1.2], 60))
    assert (np.diff(np.sign(np.diff(path, axis=0)), axis=0) != 0).any()  # the signs change
    assert np.array_equal(path, descend(optimizer, transformed(valley, h, slope), [-1.5, 1.2], 60))


def separable(weights, power):
    """Σ aᵢ |wᵢ − cᵢ|ᵖ / p: the signs of its gradient are those of w − c, whatever a and p."""
    weights, centre = jnp.asarray(weights), jnp.array([0.3, -0.8])

    def measure(w):
        d = w - centre
        size = jnp.abs(d)
        return (weights * size**power).sum() / power, weights * jnp.sign(d) * size ** (power - 1)

    return measure


@pytest.mark.parametrize("variant", RPROPS)
def test_rprop_sees_the_signs_of_the_gradient_alone(variant):
    """X26: another error with the same signs, the same path, bit by bit; irprop+ reads E and takes another."""
    optimizer = bp.rprop(0.1, variant)
    one, other = (
        np.asarray(descend(optimizer, separable(*loss), [-1.5, 1.2], 60))
        for loss in (([1.0, 30.0], 2), ([40.0, 0.5], 3))
    )
    assert np.array_equal(one, other) == (variant != "irprop+")
