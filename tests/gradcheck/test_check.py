"""`check_gradient`: right, wrong, cannot tell, and why."""

import gc
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.custom_batching import custom_vmap
from jax.custom_derivatives import linear_call

import bpjax as bp

X = np.array([0.3, -1.2, 2.0], np.float32)


def rule(forward, backward, primal=None):
    """A custom_vjp: `forward` is the function, `backward` is (x, dy) -> dx, `primal` the forward pass of the rule."""
    function = jax.custom_vjp(lambda x: forward(x))
    function.defvjp(lambda x: ((primal or forward)(x), x), lambda x, dy: (backward(x, dy),))
    return function


def sine(backward, **more):
    return rule(jnp.sin, backward, **more)


@custom_vmap
def averaged_under_vmap(x, dy):
    return dy * jnp.cos(x)


@averaged_under_vmap.def_vmap
def _(size, batched, x, dy):
    return jnp.broadcast_to((dy * jnp.cos(x)).mean(0), (size, *x.shape[1:])), True


def by_the_host(x, dy):
    shape = jax.ShapeDtypeStruct(x.shape, x.dtype)
    return dy * jax.pure_callback(lambda a: np.cos(a) * np.float32(next(GROWING)), shape, x)


GROWING = iter(1 + 0.001 * k for k in range(1000))

LAWS = {
    "result": (
        sine(lambda x, dy: dy * jnp.cos(x), primal=lambda x: 2 * jnp.sin(x)),
        "another result than the function",
    ),
    "linear": (sine(lambda x, dy: jnp.clip(dy, -2, 2) * jnp.cos(x)), "not linear in the cotangent"),
    "vmap": (sine(averaged_under_vmap), "under `vmap` the gradient is another"),
    "deterministic": (sine(by_the_host), "it is random"),
    "jit": (
        sine(lambda x, dy: dy * jnp.cos(x) * (2.0 if isinstance(x, jax.core.Tracer) else 1.0)),
        "compiled by `jit` the gradient is another",
    ),
}


@pytest.mark.parametrize("law", LAWS)
def test_every_law_is_broken_by_a_rule_that_breaks_it(law):
    function, sentence = LAWS[law]
    report = bp.check_gradient(function, X)
    assert report.verdict == "wrong"
    assert law in [found.name for found in report.laws if not found.holds]
    assert any(sentence in line for line in report.findings)


def test_forward_mode_is_held_against_reverse_mode():
    """The tangent of 2 x is 2 t, its transpose 2 c; a transpose given as 3 c contradicts forward mode."""

    def doubled(transpose):
        function = jax.custom_jvp(lambda x: 2 * x)

        @function.defjvp
        def _(primals, tangents):
            tangent = linear_call(lambda _, t: 2 * t, lambda _, c: transpose * c, (), tangents[0])
            return 2 * primals[0], tangent

        return function

    assert "forward mode" in [law.name for law in bp.check_gradient(doubled(2), X).laws if law.holds]
    assert "forward mode" in [law.name for law in bp.check_gradient(doubled(3), X).laws if not law.holds]


def test_a_right_rule_is_right_in_every_dtype():
    function = sine(lambda x, dy: dy * jnp.cos(x))
    with jax.enable_x64(True):
        arrays = {dtype: jnp.asarray(X, dtype) for dtype in ("float64", "float32", "bfloat16", "float16")}
    for dtype, x in arrays.items():
        report = bp.check_gradient(function, x)
        assert report.ok, str(report)
        assert report.dtype == dtype
        assert [law.name for law in report.laws] == ["deterministic", "jit", "linear", "vmap", "result"]


@pytest.mark.parametrize("factor", [1 + 1e-4, -1.0, 0.0])
def test_a_factor_is_wrong(factor):
    report = bp.check_gradient(sine(lambda x, dy: factor * dy * jnp.cos(x)), X)
    assert report.verdict == "wrong"
    with pytest.raises(AssertionError, match="WRONG"):
        report.raise_if_wrong()


def test_one_small_entry_with_the_wrong_sign_is_wrong():
    """Its error is 6e-6 of the norm of the gradient; the others are right."""
    scale = np.array([1.0, 1.0, 3e-6], np.float32)

    def gradient(x):
        return scale * jnp.cos(x) * jnp.array([1.0, 1.0, -1.0])

    report = bp.check_gradient(lambda x: jnp.sum(scale * jnp.sin(x)), X, gradient=gradient)
    assert report.verdict == "wrong"
    assert report.leaves[0].entries.states.tolist() == [0, 0, 2]
    assert "[2]" in report.findings[0]


def test_tolerance_sets_what_is_accepted():
    function = sine(lambda x, dy: 1.001 * dy * jnp.cos(x))
    assert bp.check_gradient(function, X, tolerance=2e-3).ok
    assert bp.check_gradient(function, X, tolerance=5e-4).verdict == "wrong"


def test_at_a_kink_any_slope_between_the_sides_is_undecided_and_others_are_wrong():
    """maximum(x, 0) at 0 has the slopes 0 and 1."""
    x = np.array([-1.0, 0.0, 2.0], np.float32)
    for at_zero, verdict in ((0.0, "cannot tell"), (1.0, "cannot tell"), (-0.5, "wrong"), (1.5, "wrong")):
        report = bp.check_gradient(
            lambda x: jnp.sum(jnp.maximum(x, 0)), x, gradient=lambda x, v=at_zero: jnp.where(x == 0, v, 1.0 * (x > 0))
        )
        assert report.verdict == verdict
        assert "slope is 0 on the left and 1 on the right" in str(report)
        assert report.leaves[0].entries.states[[0, 2]].tolist() == [0, 0]


def test_finite_differences_decide_where_reverse_mode_is_wrong():
    """x log y by `where` has the derivative log y by x also at x = 0, where reverse mode gives 0."""
    y = np.array([0.5, 0.5, 3.0], np.float32)
    x = np.array([0.0, 1.0, 2.0], np.float32)

    def function(x):
        return jnp.sum(jnp.where(x == 0, 0.0, x * jnp.log(y)))

    assert bp.check_gradient(function, x, gradient=lambda x: jnp.log(y) + 0 * x).ok
    report = bp.check_gradient(function, x, gradient=lambda x: jnp.where(x == 0, 0.0, jnp.log(y)))
    assert report.verdict == "wrong"
    assert report.leaves[0].entries.states.tolist() == [2, 0, 0]


def test_a_stopped_gradient_is_undecided_where_it_contradicts_the_slope():
    report = bp.check_gradient(lambda x: jnp.sum(x * lax.stop_gradient(x)), X, gradient=lambda x: x)
    assert report.verdict == "cannot tell"
    assert "stops a gradient" in report.findings[0]


def test_a_gradient_that_vanishes_up_to_rounding_is_right():
    """A softmax sums to 1; the hand-written gradient of its sum leaves rounding errors."""

    def gradient(z):
        p = jax.nn.softmax(z)
        return p - p * jnp.sum(p, -1, keepdims=True)

    assert bp.check_gradient(lambda z: jnp.sum(jax.nn.softmax(z)), X, gradient=gradient).ok


def test_rounding_errors_alone_break_no_law():
    """The true gradient is 0; what is left differs under `vmap` by as much as it is."""
    z = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)

    def gradient(z):
        p = jax.nn.softmax(z)
        return p - p * jnp.sum(p, -1, keepdims=True)

    report = bp.check_gradient(lambda z: jnp.sum(jax.nn.softmax(z)), z, gradient=gradient)
    assert report.ok, str(report)
    broken = rule(jax.nn.softmax, lambda z, g: gradient(z) + averaged_under_vmap(z, g))
    assert not bp.check_gradient(broken, z).ok


def test_an_array_alone_may_be_complex():
    z = np.array([1 + 2j, 0.5 - 1j], np.complex64)
    modulus = lambda z: jnp.sum(jnp.abs(z) ** 2)
    assert bp.check_gradient(modulus, z, gradient=lambda z: 2 * jnp.conj(z)).ok
    assert bp.check_gradient(modulus, z, gradient=lambda z: 2 * z).verdict == "wrong"


def test_a_backward_pass_in_numpy():
    x, w = np.random.default_rng(0).normal(size=(2, 3, 3))

    def backward(x, w, dy):
        d = dy * (1 - np.tanh(x @ w) ** 2)
        return d @ w.T, x.T @ d

    report = bp.check_gradient(lambda x, w: np.tanh(x @ w), x, w, gradient=backward)
    assert report.ok and len(report.leaves) == 2, str(report)
    wrong = bp.check_gradient(lambda x, w: np.tanh(x @ w), x, w, gradient=lambda *a: backward(*a)[::-1])
    assert wrong.verdict == "wrong"


def test_settings_of_the_user_do_not_break_the_check():
    with jax.debug_nans(True), jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        assert bp.check_gradient(sine(lambda x, dy: dy * jnp.cos(x)), X).ok


def test_no_memory_is_kept():
    """A function created at each call, with a loop in it."""

    def check():
        square = rule(lambda x: x**2, lambda x, dy: 2 * x * dy)
        looped = lambda x: lax.scan(lambda c, _: (square(c), None), x, None, length=2)[0]
        assert bp.check_gradient(looped, X / 2).ok

    def run():
        check()
        gc.collect()
        return len(gc.get_objects()), len(jax.live_arrays())

    run()
    (before, arrays), (after, more_arrays) = run(), run()
    assert after - before < 200 and more_arrays == arrays


def test_nonfinite_gradients_are_named():
    report = bp.check_gradient(lambda x: jnp.sum(x**2), X, gradient=lambda x: jnp.where(x > 1, jnp.nan, 2 * x))
    assert report.verdict == "wrong"
    assert "NaN" in report.findings[0]
    report = bp.check_gradient(lambda x: jnp.sum(x**2), X, gradient=lambda x: jnp.where(x > 1, jnp.inf, 2 * x))
    assert "infinity" in report.findings[0]


def test_a_function_without_reverse_mode_is_held_against_finite_differences():
    """√a by Newton's iteration until it no longer changes; the derivative is 1 / (2 √a)."""

    def newton(a):
        def step(state):
            y, _ = state
            return 0.5 * (y + a / y), y

        return lax.while_loop(lambda s: jnp.any(jnp.abs(s[0] - s[1]) > 1e-6), step, (a, jnp.zeros_like(a)))[0]

    a = np.array([0.5, 2.0], np.float32)
    for factor, verdict in ((0.5, "right"), (1.0, "wrong")):
        report = bp.check_gradient(rule(newton, lambda a, dy, f=factor: f * dy / newton(a)), a)
        assert report.verdict == verdict, str(report)

    def host(x):
        return jax.pure_callback(np.tanh, jax.ShapeDtypeStruct(x.shape, x.dtype), x)

    for factor, verdict in ((1.0, "right"), (1.01, "wrong")):
        report = bp.check_gradient(rule(host, lambda x, dy, f=factor: f * dy * (1 - jnp.tanh(x) ** 2)), X)
        assert report.verdict == verdict, str(report)
        assert "finite differences alone" in str(report)


def test_order_two_checks_the_derivative_of_the_gradient():
    """d/dx of cos x must be −sin x; a rule that stops it there has a right first derivative."""
    stopped = sine(lambda x, dy: dy * lax.stop_gradient(jnp.cos(x)))
    assert bp.check_gradient(stopped, X).ok
    report = bp.check_gradient(stopped, X, order=2)
    assert report.verdict == "wrong"
    assert "second order" in report.findings[0]
    assert bp.check_gradient(sine(lambda x, dy: dy * jnp.cos(x)), X, order=2).ok


def test_a_rule_that_raises_is_wrong():
    def backward(x, dy):
        raise RuntimeError("not written yet")

    report = bp.check_gradient(sine(backward), X)
    assert report.verdict == "wrong"
    assert "RuntimeError: not written yet" in report.findings[0]


def test_nothing_to_check_is_refused():
    with pytest.raises(ValueError, match=r"no hand-written derivative"):
        bp.check_gradient(jnp.sin, X)
    with pytest.raises(ValueError, match=r"no argument to differentiate by"):
        bp.check_gradient(sine(lambda x, dy: dy), 3)


def test_the_report_is_plain_data():
    report = bp.check_gradient(sine(lambda x, dy: -dy * jnp.cos(x)), X)
    data = json.loads(json.dumps(report.to_dict()))
    assert data["verdict"] == "wrong"
    assert data["leaves"][0]["wrong"] == 3
    assert data["explanation"]["mistake"] == "sign flipped"
    assert repr(report) == "CheckReport(<lambda>: wrong)"
