"""Finite differences against derivatives worked out by hand."""

import jax.numpy as jnp
import numpy as np

from bpjax.gradcheck.finite_differences import FiniteDifferences, extrapolate


def test_they_equal_closed_forms_within_their_estimated_errors():
    """d/dx eˣ sin x = eˣ (sin x + cos x), and ∂/∂x of 1 / (1 + 50 x²) = −100 x / (1 + 50 x²)²."""
    x = np.array([0.3, -0.2, 2.0])
    cotangents = [np.array([[1.0, 1.0, 1.0], [2.0, 0.0, -1.0]])] * 2
    differences = FiniteDifferences(
        lambda x: [jnp.exp(x) * jnp.sin(x), 1 / (1 + 50 * x**2)], [x], cotangents, precision=1e-16
    )
    expected = np.exp(x) * (np.sin(x) + np.cos(x)) - 100 * x / (1 + 50 * x**2) ** 2
    slopes = differences.entries([(0, (k,), 1) for k in range(3)])
    for k, slope in enumerate(slopes):
        wanted = expected[k] * cotangents[0][:, k]
        assert (np.abs(slope.both - wanted) <= slope.error + 1e-15).all()
        assert (slope.error < 1e-9).all()
        assert not slope.kink.any()


def test_both_sides_of_a_kink():
    """|x| at 0 has the slopes −1 and 1; x |x| has the slope 0 and no kink."""
    differences = FiniteDifferences(
        lambda x: [jnp.abs(x), x * jnp.abs(x)], [np.zeros(1)], [np.eye(2)[:, :1], np.eye(2)[:, 1:]], 1e-16
    )
    (slope,) = differences.entries([(0, (0,), 1)])
    np.testing.assert_allclose(slope.left, [-1, 0], atol=1e-8)
    np.testing.assert_allclose(slope.right, [1, 0], atol=1e-8)
    assert slope.kink.tolist() == [True, False]


def test_a_complex_entry_has_a_slope_along_either_axis():
    """f(z) = Re(z²) = x² − y²: ∂f/∂x = 2 x, ∂f/∂y = −2 y."""
    differences = FiniteDifferences(lambda z: [jnp.real(z**2)], [np.array([1.0 + 3.0j])], [np.ones((1, 1))], 1e-16)
    real, imaginary = differences.entries([(0, (0,), 1), (0, (0,), 1j)])
    np.testing.assert_allclose([real.both[0], imaginary.both[0]], [2.0, -6.0], rtol=1e-10)


def test_extrapolation_is_exact_for_even_powers():
    """Quotients a + b h² + c h⁴ at h, h/2, h/4 give a."""
    h = np.array([0.4, 0.2, 0.1])[:, None]
    best, error = extrapolate(3 + 2 * h**2 - h**4, 4.0, np.zeros((3, 1)))
    np.testing.assert_allclose(best, 3, rtol=1e-14)
    assert error[0] < 0.1


def test_results_with_little_precision_have_a_large_estimated_error():
    differences = FiniteDifferences(
        lambda x: [jnp.sin(x).astype(jnp.float32).astype(jnp.float64)], [np.array([0.7])], [np.ones((1, 1))], 6e-8
    )
    (slope,) = differences.entries([(0, (0,), 1)])
    assert abs(slope.both[0] - np.cos(0.7)) <= 10 * slope.error[0]
    assert 1e-9 < slope.error[0] < 1e-3
