"""The published training curves of scikit-learn compared with ours to the last digit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from experiments_widths import too_wide

import bpjax as bp
from experiments.scikit_learn_curves import experiment

FORMS = ("no momentum", "momentum 0.9", "Nesterov 0.9")


@pytest.fixture(scope="module")
def results():
    """All 15 epochs, for a user with float32 defaults."""
    with jax.enable_x64(False), jax.numpy_rank_promotion("allow"):
        return {curve.name: curve for curve in experiment.curves()}


@pytest.mark.parametrize("name", FORMS)
def test_the_curve_is_scikit_learns(results, name):
    curve = results[name]
    assert curve.ours.shape == curve.theirs.shape == (15,) and curve.ours.dtype == np.float64
    np.testing.assert_allclose(curve.ours, curve.theirs, rtol=1e-9, atol=0)
    assert curve.difference < 1e-9 and curve.agrees
    assert curve.accuracy == pytest.approx(curve.their_accuracy, abs=1e-6)  # an example is 1/1797 = 5.6e-4


@pytest.mark.parametrize(
    ("name", "loss", "accuracy"),
    # from the page "Compare Stochastic learning strategies for MLPClassifier", digits, typed from there
    [("no momentum", 0.243802, 0.956038), ("momentum 0.9", 0.041297, 0.992766), ("Nesterov 0.9", 0.042898, 0.993879)],
)
def test_the_published_digits(results, name, loss, accuracy):
    curve = results[name]
    assert curve.ours[-1] == pytest.approx(loss, abs=5.1e-7) and curve.accuracy == pytest.approx(accuracy, abs=5.1e-7)
    assert curve.as_published
    assert "equals scikit-learn" in experiment.verdict(curve) and "the published values" in experiment.verdict(curve)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("no momentum", {"momentum": 1e-6}),
        ("momentum 0.9", {"momentum": 0.9 + 1e-6}),
        ("momentum 0.9", {"form": "nesterov"}),
        ("Nesterov 0.9", {"form": "heavy_ball"}),
    ],
)
def test_another_momentum_gives_another_curve(results, name, change):
    form = next(form for form in experiment.FORMS if form.name == name)
    ours, _ = experiment.train_ours(form._replace(**change), experiment.start(5))
    difference = experiment.largest_difference(ours, results[name].theirs[:5])
    assert difference > 100 * experiment.TOLERANCE
    wrong = results[name]._replace(ours=ours, difference=difference)
    assert not wrong.agrees and "DIFFERS" in experiment.verdict(wrong)


def test_a_nan_error_differs():
    assert experiment.largest_difference(np.array([1.0, np.nan]), np.array([1.0, 1.0])) == np.inf


def test_start_is_what_scikit_learn_draws():
    """The bounds and the sequence of draws written out: each layer's weights, its biases, then the shuffles."""
    stream = np.random.RandomState(0)
    begin = experiment.start(2)
    for params, (fan_in, fan_out) in zip(begin.params[::2], ((64, 100), (100, 10)), strict=True):
        bound = np.sqrt(6 / (fan_in + fan_out))
        np.testing.assert_array_equal(params.w, stream.uniform(-bound, bound, (fan_in, fan_out)))
        np.testing.assert_array_equal(params.b, stream.uniform(-bound, bound, fan_out))
    order = np.arange(1797)
    for shuffled in begin.order:
        turn = np.arange(1797)
        stream.shuffle(turn)
        order = order[turn]
        np.testing.assert_array_equal(shuffled, order)


def test_weight_decay_is_the_gradient_of_its_error(keys):
    net = bp.mlp((3, 4, 2), bp.relu)
    params, _ = net.init(next(keys), (3,))
    params = jax.tree.map(lambda p: p + 0.1, params)
    batch = jax.random.normal(next(keys), (5, 3)), jnp.array([0, 1, 0, 1, 1])
    plain = bp.backprop(net, bp.losses.batch_mean(bp.softmax_cross_entropy))
    rule = experiment.decayed(plain, 0.7)
    value, grads, _ = jax.jit(rule.grads)(params, (), batch)
    oracle = jax.jit(jax.grad(lambda params: rule.grads(params, (), batch)[0]))(params)
    for ours, theirs in zip(jax.tree.leaves(grads), jax.tree.leaves(oracle), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-12)
    # by hand: 0.7 / (2 · 5) Σ w²
    squares = sum(float((p.w**2).sum()) for p in (params[0], params[2]))
    assert float(value - jax.jit(plain.grads)(params, (), batch)[0]) == pytest.approx(0.07 * squares, rel=1e-12)


def test_from_the_command_line(results, monkeypatch, capsys):
    monkeypatch.setattr(experiment, "curves", lambda: list(results.values()))
    assert experiment.main([]) == 0
    out = capsys.readouterr().out
    assert not too_wide(out)
    assert out.count("published values") == 3 and "0.243802" in out
    broken = results["momentum 0.9"]._replace(difference=1.0)
    monkeypatch.setattr(experiment, "curves", lambda: [broken])
    assert experiment.main([]) == 1
    assert "DIFFERS" in capsys.readouterr().out
