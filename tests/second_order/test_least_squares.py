"""Least squares against NumPy and SciPy: the steps themselves, where they end, and the sentence when they stall."""

import functools
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from oracles import sigmoid
from passes import quick_jit

import bpjax as bp

pytest.importorskip("optimistix")
least_squares = bp.second_order.least_squares

METHODS = ("levenberg_marquardt", "gauss_newton")
XOR = bp.mlp((2, 2, 1), bp.sigmoid, bp.sigmoid, bp.uniform(1.0), bp.uniform(1.0))
STARTS = [XOR.init(jax.random.key(seed), (2,))[0] for seed in range(20)]


UNIT = bp.mlp((1, 1, 1))
X = jnp.linspace(-1, 1, 15)[:, None]
CURVE = UNIT, UNIT.init(jax.random.key(1), (1,))[0], (X, jnp.tanh(2 * X) - 0.5 + 0.1 * jnp.cos(5 * X))
"""A curve that one tanh unit cannot fit: its best fit has E > 0."""


def plateau():
    """XOR from zero weights: o = ½ for all examples, the residuals ±½ cancel in Jᵀr, E = 4 · ½ · ½² = ½."""
    return jax.tree.map(jnp.zeros_like, STARTS[0])


LINEAR = bp.dense(2)


def linear(examples=12):
    """A linear network on normal data: one network, so that the tests share its compiled programs."""
    random = np.random.default_rng(20261123)
    draw = lambda *shape: jnp.asarray(random.standard_normal(shape))
    return LINEAR, bp.layers.Affine(draw(3, 2), draw(2)), (draw(examples, 3), draw(examples, 2))


@functools.cache
def gradient_of(network, loss):
    """(params, batch) -> (value, gradient as a vector) by JAX, compiled."""
    rule = bp.autodiff(network, loss)

    @quick_jit
    def gradient(params, batch):
        value, grads, _ = rule.grads(params, (), batch)
        return value, ravel_pytree(grads)[0]

    return gradient


def numpy_tanh_unit(x, t):
    """Residuals t − o of o = v tanh(w x + b) + c and their Jacobian by w, b, v, c in that order, by hand."""

    def residuals(w):
        return t - (w[2] * np.tanh(w[0] * x + w[1]) + w[3])

    def jacobian(w):
        h = np.tanh(w[0] * x + w[1])
        slope = w[2] * (1 - h**2)
        return -np.stack([slope * x, slope, h, np.ones_like(x)], axis=1)

    return residuals, jacobian


def in_numpy(params):
    """w, b, v, c of a 1-1-1 network."""
    (w, b), _, (v, c) = params
    return np.array([w[0, 0], b[0], v[0, 0], c[0]])


def numpy_levenberg_marquardt(residuals, jacobian, w, damping, steps):
    """The weights after each step, from the normal equations as written, and which steps were accepted."""
    growth, path, accepted = 2.0, [], []
    for _ in range(steps):
        r, J = residuals(w), jacobian(w)
        change = np.linalg.solve(J.T @ J + damping * np.eye(len(w)), -J.T @ r)
        fall = r @ r - np.sum(residuals(w + change) ** 2)
        accepted.append(bool(fall >= 0))
        if accepted[-1]:
            ratio = fall / (r @ r - np.sum((r + J @ change) ** 2))
            w, damping, growth = w + change, damping * max(1 / 3, 1 - (2 * ratio - 1) ** 3), 2.0
        else:
            damping, growth = damping * growth, 2 * growth
        path.append(w)
    return path, accepted


def test_gauss_newton_solves_a_linear_network_in_one_step():
    network, params, (x, t) = linear()
    fit = least_squares(network, bp.squared_error, params, (x, t), method="gauss_newton", max_steps=1)
    solution, *_ = np.linalg.lstsq(np.column_stack([x, np.ones(12)]), np.asarray(t))
    np.testing.assert_allclose(np.vstack([fit.params.w, fit.params.b]), solution, rtol=0, atol=1e-10)
    assert fit.steps == 1


@pytest.mark.parametrize("method", METHODS)
def test_a_linear_network_converges_where_its_gradient_is_zero(method):
    network, params, batch = linear()
    fit = least_squares(network, bp.squared_error, params, batch, method=method)
    assert fit.converged and fit.reason.startswith("converged after") and fit.gradient_norm < 1e-9
    value, gradient = gradient_of(network, bp.squared_error)(fit.params, batch)
    assert fit.error == pytest.approx(float(value), rel=1e-12)
    assert np.linalg.norm(gradient) < 1e-9


def test_more_weights_than_residuals_get_the_shortest_step():
    network, params, (x, t) = linear(examples=2)  # 4 residuals, 8 weights: JᵀJ is singular
    fit = least_squares(network, bp.squared_error, params, (x, t), method="gauss_newton")
    inputs = np.column_stack([x, np.ones(2)])
    change = np.linalg.pinv(inputs) @ (t - x @ params.w - params.b[None])
    np.testing.assert_allclose(
        np.vstack([fit.params.w, fit.params.b]), np.vstack([params.w, params.b]) + change, atol=1e-12
    )
    assert fit.converged and "every residual is 0" in fit.reason


@pytest.mark.parametrize("damping", [3e-3, 1.0])
def test_the_steps_of_levenberg_marquardt_against_numpy(damping):
    network, params, batch = CURVE
    functions = numpy_tanh_unit(*(np.asarray(a)[:, 0] for a in batch))
    path, accepted = numpy_levenberg_marquardt(*functions, in_numpy(params), damping, 9)
    for steps, expected in enumerate(path, 1):
        fit = least_squares(network, bp.squared_error, params, batch, damping=damping, max_steps=steps)
        np.testing.assert_allclose(in_numpy(fit.params), expected, rtol=1e-7, atol=1e-9)
    assert all(accepted) == (damping == 1.0)  # the other undoes steps, one of which raised E by less than 5 %


def test_a_curve_ends_where_scipy_ends():
    optimize = pytest.importorskip("scipy.optimize")
    network, params, batch = CURVE
    residuals, jacobian = numpy_tanh_unit(*(np.asarray(a)[:, 0] for a in batch))
    theirs = optimize.least_squares(
        residuals, in_numpy(params), jac=jacobian, method="lm", xtol=1e-15, ftol=1e-15, gtol=1e-15
    )
    for method in METHODS:
        ours = least_squares(network, bp.squared_error, params, batch, rtol=1e-12, atol=1e-12, method=method)
        assert ours.converged
        assert ours.error == pytest.approx(theirs.cost, rel=1e-10)
        np.testing.assert_allclose(in_numpy(ours.params), theirs.x, rtol=1e-8)


def test_xor_is_solved_from_most_starts_in_tens_of_steps():
    fits = [least_squares(XOR, bp.squared_error, start, bp.xor().present(), goal=1e-3) for start in STARTS]
    solved = [fit for fit in fits if fit.converged]
    assert len(solved) >= 14
    assert np.median([fit.steps for fit in solved]) < 30
    x, t = (np.asarray(a) for a in bp.xor().present())
    for fit in solved:
        (w, b), _, (v, c), _ = (tuple(np.asarray(a) for a in layer) for layer in fit.params)
        error = 0.5 * np.sum((t - sigmoid(sigmoid(x @ w + b) @ v + c)) ** 2)
        assert error < 1e-3 and fit.error == pytest.approx(error, rel=1e-9)
    stalled = [fit for fit in fits if not fit.converged]
    assert stalled
    for fit in stalled:
        assert fit.reason.startswith("stalled after") and "local minimum or on a plateau" in fit.reason
        assert fit.error > 0.2 and fit.gradient_norm < 1e-6


@pytest.mark.parametrize("goal", [None, 1e-3])
@pytest.mark.parametrize("method", METHODS)
def test_a_plateau_at_the_start_gets_its_sentence(method, goal):
    fit = least_squares(XOR, bp.squared_error, plateau(), bp.xor().present(), method=method, goal=goal)
    assert (fit.converged, fit.error, fit.gradient_norm) == (False, 0.5, 0.0)
    assert fit.reason.startswith("stalled at the start, a stationary point: no step lowers an error of 0.5")
    assert "Try another start" in fit.reason and ("above the goal of 0.001" in fit.reason) == (goal is not None)


def test_the_limit_of_steps_is_reported():
    fit = least_squares(XOR, bp.squared_error, STARTS[0], bp.xor().present(), goal=1e-3, max_steps=2)
    assert not fit.converged and fit.steps == 2
    assert fit.reason.startswith("stalled after 2 steps, the limit") and "`max_steps`" in fit.reason


def test_gauss_newton_that_jumps_returns_the_best_on_its_way():
    fits = [least_squares(XOR, bp.squared_error, p, bp.xor().present(), method="gauss_newton") for p in STARTS]
    jumped = [(start, fit) for start, fit in zip(STARTS, fits, strict=True) if "undamped" in fit.reason]
    assert len(jumped) > 5
    for start, fit in jumped:
        before, _ = gradient_of(XOR, bp.squared_error)(start, bp.xor().present())
        assert not fit.converged and fit.error <= float(before) * (1 + 1e-12)
        assert "Levenberg–Marquardt" in fit.reason


def test_an_error_that_is_not_finite_is_reported():
    network = bp.dense(1)
    params = bp.layers.Affine(jnp.full((1, 1), 1e200), jnp.zeros(1))  # r² = 10⁴⁰⁰
    fit = least_squares(network, bp.squared_error, params, (jnp.ones((2, 1)), jnp.zeros((2, 1))))
    assert fit.reason.startswith("stalled after 0 steps: the error is not finite") and not fit.converged


@pytest.mark.parametrize("method", METHODS)
def test_a_step_without_a_finite_solution_is_reported(method):
    root = bp.layers.elementwise("root", jnp.sqrt, lambda y: 0.5 / y, of="output")  # φ′(0) = ∞
    network = bp.chain(bp.dense(1), root)
    params = bp.layers.Affine(jnp.zeros((1, 1)), jnp.zeros(1)), ()
    fit = least_squares(network, bp.squared_error, params, (jnp.ones((2, 1)), jnp.ones((2, 1))), method=method)
    assert not fit.converged and fit.error == 1.0
    assert "the linear system for the step has no finite solution" in fit.reason


def test_the_rows_of_the_jacobian_come_from_the_hand_written_backward():
    bent = bp.sigmoid._replace(backward=lambda params, y, dy: ((), dy * (y * (1 - y) + 0.1)))  # flat-spot elimination
    network = bp.mlp((2, 2, 1), bent, bent, bp.uniform(1.0), bp.uniform(1.0))
    one, other = (
        least_squares(net, bp.squared_error, STARTS[0], bp.xor().present(), max_steps=1) for net in (network, XOR)
    )
    assert one.error != pytest.approx(other.error, rel=1e-3)


def test_a_backward_of_the_wrong_sign_is_reported_before_the_steps_run_out():
    network, params, (x, t) = linear()
    wrong = network._replace(backward=lambda p, residuals, dy: network.backward(p, residuals, -dy))
    for size in (1.0, 1e12):  # with JᵀJ of 10²⁴ no λ below 1 / ε shortens a step
        fit = least_squares(wrong, bp.squared_error, params, (size * x, t))
        assert fit.reason.startswith(f"stalled after {fit.steps} steps at the start") and fit.steps < 100
        assert "`bp.compare`" in fit.reason


@pytest.mark.parametrize(
    ("loss", "scale"),
    [
        (bp.mean_squared_error, 2 / 24),
        (bp.losses.batch_mean(bp.squared_error), 1 / 12),
        (bp.losses.Loss("mine", lambda o, t: 3 * jnp.sum((o - t) ** 2), lambda o, t: 6 * (o - t)), 6.0),
    ],
    ids=["mean squared error", "batch mean", "own"],
)
def test_losses_that_differ_by_a_factor_get_the_same_steps_and_their_own_error(loss, scale):
    network, params, batch = linear()  # 12 examples, 2 outputs
    sums = least_squares(network, bp.squared_error, params, batch, max_steps=2)
    fit = least_squares(network, loss, params, batch, max_steps=2)
    np.testing.assert_array_equal(fit.params.w, sums.params.w)
    assert fit.error == pytest.approx(scale * sums.error, rel=1e-12)
    value, gradient = gradient_of(network, loss)(fit.params, batch)
    assert fit.error == pytest.approx(float(value), rel=1e-12)
    assert fit.gradient_norm == pytest.approx(float(np.linalg.norm(gradient)), rel=1e-6)


def test_the_goal_is_in_the_units_of_the_loss():
    steps = set()
    for loss, goal in ((bp.squared_error, 4e-3), (bp.mean_squared_error, 2e-3)):  # ½ Σ = 2 · mean over 4 examples
        fit = least_squares(XOR, loss, STARTS[0], bp.xor().present(), goal=goal)
        assert fit.converged and fit.error <= goal and f"the goal was {goal:.3g}" in fit.reason
        steps.add(fit.steps)
    assert len(steps) == 1


def test_a_goal_met_at_the_start_takes_no_step():
    fit = least_squares(XOR, bp.squared_error, plateau(), bp.xor().present(), goal=0.6)
    assert fit.converged and fit.steps == 0


@pytest.mark.thorough
@pytest.mark.parametrize("x64", [False, True])
@pytest.mark.parametrize("method", METHODS)
def test_float32_weights_stay_float32(method, x64):
    wide = least_squares(*CURVE[:1], bp.squared_error, *CURVE[1:], method=method)
    network, params, batch = CURVE
    with jax.enable_x64(x64):
        params, x = bp.util.cast((params, batch[0]), "float32")
        batch = x, batch[1] if x64 else bp.util.cast(batch[1], "float32")  # float64 targets are rounded once
        fit = least_squares(network, bp.squared_error, params, batch, method=method)
    assert {leaf.dtype for leaf in jax.tree.leaves(fit.params)} == {jnp.dtype("float32")}
    assert fit.converged and wide.converged and fit.error == pytest.approx(wide.error, rel=1e-5)
    np.testing.assert_allclose(in_numpy(fit.params), in_numpy(wide.params), rtol=1e-2)


def test_xor_in_float32(float32):
    starts = [XOR.init(jax.random.key(seed), (2,))[0] for seed in range(20)]
    fits = [least_squares(XOR, bp.squared_error, start, bp.xor().present(), goal=1e-3) for start in starts]
    assert sum(fit.converged for fit in fits) >= 14
    assert all("plateau" in fit.reason for fit in fits if not fit.converged)


def test_other_numbers_compile_nothing():
    network, params, batch = CURVE
    traces = []

    def forward(params, x):
        traces.append(x)
        return network.forward(params, x)

    counted = network._replace(forward=forward)
    least_squares(counted, bp.squared_error, params, batch)
    first = len(traces)
    least_squares(counted, bp.mean_squared_error, params, batch, goal=1e-3, max_steps=7, damping=2.0, rtol=1e-3)
    assert first >= 4 and len(traces) <= first + 2  # traced without computing: for `check_batch` and the output's shape


def xor(loss=bp.squared_error, params=STARTS[0], x=None, t=None, network=XOR, **options):
    data = bp.xor().present()
    return least_squares(network, loss, params, (data[0] if x is None else x, data[1] if t is None else t), **options)


CASES = {
    "cross entropy": (lambda: xor(bp.binary_cross_entropy), r"expected a squared error.*got `binary cross entropy`"),
    "softmax": (lambda: xor(bp.softmax_cross_entropy), "got `softmax cross entropy`"),
    "huber": (lambda: xor(bp.losses.huber(10.0)), r"got `huber`.*`bp.fit`"),
    "hyper error": (lambda: xor(bp.losses.hyper_error), "got `hyper error`"),
    "labels": (lambda: xor(t=jnp.zeros(4, int)), "expected `target` of a floating-point type, got int64"),
    "no loss": (lambda: xor(loss=bp.xor), "`least_squares` expected a Loss"),
    "no network": (lambda: xor(network=bp.mlp), "`least_squares` expected a Layer, got mlp. Call it first"),
    "method": (lambda: xor(method="newton"), "`method` to be one of levenberg_marquardt, gauss_newton, got 'newton'"),
    "goal": (lambda: xor(goal=0.0), "`goal` to be a finite number > 0, got 0.0"),
    "damping": (lambda: xor(damping=-1.0), "`damping` to be a finite number > 0, got -1.0"),
    "no damping": (lambda: xor(damping=None), "`damping` to be a finite number > 0, got None"),
    "texts": (lambda: xor(params={"w": "word"}), "`params` of arrays and numbers, got .word. at"),
    "steps": (lambda: xor(max_steps=0), "`max_steps` to be an integer ≥ 1, got 0"),
    "features": (lambda: xor(x=jnp.ones((4, 3))), r"`x` of shape \(N, 2\), got \(4, 3\)"),
    "examples": (lambda: xor(x=jnp.ones((3, 2))), "as many targets as examples"),
    "target's shape": (lambda: xor(t=jnp.ones((4, 2))), r"`target` of the output's shape \(4, 1\), got \(4, 2\)"),
    "NaN in x": (lambda: xor(x=jnp.full((4, 2), jnp.nan)), r"`least_squares` expected finite numbers in `x`"),
    "NaN in targets": (lambda: xor(t=jnp.full((4, 1), jnp.nan)), "expected finite numbers in `target`"),
    "half precision": (
        lambda: xor(params=bp.util.cast(STARTS[0], "bfloat16")),
        "all float32 or all float64, got bfloat16",
    ),
    "no weights": (lambda: xor(params=(), network=bp.tanh), "all float32 or all float64, got no weights"),
}


@pytest.mark.parametrize(("call", "message"), CASES.values(), ids=CASES)
def test_bad_input_gets_a_sentence(call, message):
    with pytest.raises(ValueError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("package", ["optimistix", "lineax"])
def test_a_missing_package_names_the_extra(package, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'bpjax\[second-order\]'"):
        xor()


def test_no_setting_of_jax_is_touched():
    before = {name: getattr(jax.config, name, None) for name in jax.config.values}
    xor()
    assert {name: getattr(jax.config, name, None) for name in jax.config.values} == before
