"""compare finds what is wrong and where, and cries wolf over nothing."""

import json
import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

import bpjax as bp
from bpjax.gradcheck.agreement import BUDGET, agree, budget
from bpjax.gradcheck.mistakes import MISTAKES
from bpjax.gradcheck.mutants import LOSS_MUTANTS, MUTANTS, scaled
from bpjax.gradcheck.per_layer import compare_layer
from bpjax.gradcheck.report import table

FULL = bool(os.environ.get("BPJAX_FULL"))
WIDTH, PATTERNS = 6, 8
SCALES = [jax.nn.initializers.normal(scale / WIDTH**0.5) for scale in (0.5, 1.0, 1.3, 2.0)]


@pytest.fixture(autouse=True)
def as_a_user_runs_it():
    """float32 by default; compare widens its oracle by itself."""
    with jax.enable_x64(False):
        yield


def deep(depth, activation, key):
    """A network with `depth` dense layers, weights of a size that keeps signals alive, and a batch."""
    network = bp.mlp((WIDTH,) * (depth + 1), activation, weights=SCALES[2])
    key_p, key_x, key_t = jax.random.split(key, 3)
    params, _ = network.init(key_p, (WIDTH,))
    batch = jax.random.normal(key_x, (PATTERNS, WIDTH)), jax.random.uniform(key_t, (PATTERNS, WIDTH))
    return network, params, batch


def check(network, loss, oracle_network, params, batch):
    oracle = bp.autodiff(oracle_network, bp.squared_error)
    return bp.compare(bp.backprop(network, loss), oracle, params, batch, timed=False, show=False)


CONFUSION = [(mistake, depth) for mistake in MUTANTS for depth in ((2, 3, 4, 6, 8, 12) if FULL else (2, 5, 12))]


@pytest.mark.statistical
@pytest.mark.parametrize(("mistake", "depth"), CONFUSION, ids=[f"{m}-{d}" for m, d in CONFUSION])
def test_confusion_matrix(mistake, depth):
    """Every mistake, in a randomly drawn layer that admits it, is found there and named."""
    mutant = MUTANTS[mistake]
    for seed in range(8 if FULL else 2):
        rng = np.random.default_rng([seed, depth])
        activation = [bp.sigmoid, bp.tanh, bp.layers.silu][seed % 3]
        network, params, batch = deep(depth, activation, jax.random.key(seed))
        layers = [i for i in range(len(network.layers)) if mutant.fits(params, network, i)]
        index = int(rng.choice(layers))
        report = check(mutant.apply(network, index), bp.squared_error, network, params, batch)
        assert report.first_wrong is not None, f"{mistake} in layer {index} not found"
        assert (report.first_wrong.layer, report.mistake) == (index, mistake)


@pytest.mark.parametrize("mistake", LOSS_MUTANTS)
@pytest.mark.parametrize("depth", [2, 12])
def test_a_wrong_loss_gradient_is_blamed_on_the_loss(mistake, depth):
    network, params, batch = deep(depth, bp.tanh, jax.random.key(depth))
    report = check(network, LOSS_MUTANTS[mistake](bp.squared_error), network, params, batch)
    assert (report.first_wrong.layer, report.first_wrong.name) == (None, "squared error")
    assert report.mistake == mistake


@pytest.mark.parametrize("factor", [0.0, 2.0, -1.0, 1.01], ids=["zeroed", "doubled", "negated", "1% off"])
@pytest.mark.parametrize("depth", range(2, 13) if FULL else (2, 4, 8, 12))
@pytest.mark.parametrize("activation", [bp.sigmoid, bp.tanh], ids=["sigmoid", "tanh"])
def test_a_wrong_first_layer_is_located_at_any_depth(factor, depth, activation):
    network, params, batch = deep(depth, activation, jax.random.key(1))
    report = check(scaled(network, 0, factor), bp.squared_error, network, params, batch)
    assert (report.first_wrong.layer, report.first_wrong.leaf) == (0, "[0].w")


@pytest.mark.parametrize("factor", [0.0, 2.0, -1.0], ids=["zeroed", "doubled", "negated"])
def test_jax_check_grads_lets_the_same_first_layer_pass(factor):
    """Why compare exists: the usual checker sees nothing in a sigmoid net of depth 6 whose first layer is wrong."""
    network = bp.mlp((8, *[32] * 5, 4), bp.sigmoid)
    params, _ = network.init(jax.random.key(0), (8,))
    x, t = jax.random.normal(jax.random.key(1), (64, 8)), jax.random.normal(jax.random.key(2), (64, 4))
    broken = bp.backprop(scaled(network, 0, factor), bp.losses.batch_mean(bp.squared_error))

    @jax.custom_vjp
    def error(params):
        return broken.grads(params, (), (x, t))[0]

    error.defvjp(
        lambda params: broken.grads(params, (), (x, t))[:2], lambda grads, e: (jax.tree.map(lambda g: e * g, grads),)
    )
    check_grads(error, (params,), order=1, modes=("rev",))
    report = bp.compare(broken, bp.autodiff(network, broken.loss), params, (x, t), timed=False, show=False)
    assert report.first_wrong.leaf == "[0].w"


@pytest.mark.statistical
@pytest.mark.parametrize("dtype", BUDGET)
def test_no_false_alarm_over_random_correct_networks(dtype):
    """Random depth, activation, loss, weights small to large; several hundred in each dtype at full size."""
    activations = [
        bp.sigmoid,
        bp.tanh,
        bp.relu,
        bp.gelu,
        bp.layers.silu,
        bp.layers.elu(),
        bp.layers.softplus,
        bp.layers.leaky_relu(),
    ]
    losses = [
        bp.squared_error,
        bp.mean_squared_error,
        bp.binary_cross_entropy,
        bp.losses.huber(0.5),
        bp.softmax_cross_entropy,
    ]
    alarms = []
    with jax.enable_x64(dtype == "float64"):
        for seed in range(300 if FULL else 12):
            rng = np.random.default_rng(seed)
            depth = int(rng.integers(1, 13))
            network = bp.mlp(
                (WIDTH,) * (depth + 1),
                activations[rng.integers(len(activations))],
                output=[None, bp.sigmoid, bp.tanh][rng.integers(3)],
                weights=SCALES[rng.integers(len(SCALES))],
            )
            loss = losses[rng.integers(len(losses))]
            params, _ = network.init(jax.random.key(seed), (WIDTH,))
            x, t = rng.normal(size=(PATTERNS, WIDTH)), rng.uniform(size=(PATTERNS, WIDTH))
            params, batch = bp.util.cast((params, (x, t)), dtype)
            rule, oracle = bp.backprop(network, loss), bp.autodiff(network, loss)
            report = bp.compare(rule, oracle, params, batch, timed=False, show=False)
            if not report.ok:
                alarms.append((seed, depth, report.verdict))
    assert not alarms


def test_no_false_alarm_where_the_gradient_is_badly_conditioned():
    """Zero weights (gradients cancel exactly), saturated units, and a net at its minimum."""
    xor = bp.xor().present()
    network = bp.mlp((2, 2, 1), bp.sigmoid, output=bp.sigmoid)
    zeros = jax.tree.map(jnp.zeros_like, network.init(jax.random.key(0), (2,))[0])
    saturated = jax.tree.map(lambda p: 12 * jnp.ones_like(p), zeros)
    for params in (zeros, saturated):
        assert check(network, bp.squared_error, network, params, xor).ok
    linear = bp.dense(2)
    params, _ = linear.init(jax.random.key(0), (3,))
    x = jax.random.normal(jax.random.key(1), (5, 3))
    target = linear.forward(params, x)[0] + 1e-5
    assert check(linear, bp.squared_error, linear, params, (x, target)).ok


def test_a_right_gradient_is_right():
    network, params, batch = deep(3, bp.tanh, jax.random.key(0))
    report = check(network, bp.squared_error, network, params, batch)
    assert report.ok and report.first_wrong is None and report.diagnosis is None and report.first_nonfinite is None
    report.raise_if_wrong()
    assert [row.layer for row in report.layers] == [4, 3, 2, 1, 0]  # backward order
    assert [row.leaf for row in report.leaves] == ["[4].b", "[4].w", "[2].b", "[2].w", "[0].b", "[0].w"]
    assert all(0 < row.agreement.error < 1e-6 for row in report.leaves)


def test_words_stand_to_the_left_and_numbers_to_the_right():
    rows = [("a", "no", "1.5 ms", "nan"), ("bbb", "infinite", "-2", "inf")]
    assert table(("rule", "weights above", "n", "x"), rows) == [
        "rule  weights above       n    x",
        "────  ─────────────  ──────  ───",
        "a     no             1.5 ms  nan",
        "bbb   infinite           -2  inf",
        "",
    ]


def test_a_wrong_one_raises_with_the_table():
    network, params, batch = deep(3, bp.tanh, jax.random.key(0))
    report = check(scaled(network, 2, 2.0), bp.squared_error, network, params, batch)
    with pytest.raises(AssertionError, match=r"WRONG, first in backward order: layer 2 \(dense\), \[2\]\.w"):
        report.raise_if_wrong()
    assert report.diagnosis == f"doubled: {MISTAKES['doubled']}"


def test_a_non_finite_leaf_is_named():
    network, params, batch = deep(3, bp.tanh, jax.random.key(0))
    report = check(scaled(network, 2, float("nan")), bp.squared_error, network, params, batch)
    assert report.first_wrong.layer == 2
    assert report.first_nonfinite == "[2].b"
    assert "First non-finite leaf: [2].b" in report.verdict


def test_layers_of_nested_chains_are_found_by_their_path():
    inner = bp.chain(bp.dense(WIDTH), bp.tanh)
    network = bp.chain(bp.chain(bp.dense(WIDTH), bp.tanh), scaled(inner, 0, 3.0), bp.dense(2))
    right = bp.chain(bp.chain(bp.dense(WIDTH), bp.tanh), inner, bp.dense(2))
    params, _ = right.init(jax.random.key(0), (4,))
    batch = jax.random.normal(jax.random.key(1), (5, 4)), jnp.zeros((5, 2))
    report = check(network, bp.squared_error, right, params, batch)
    assert (report.first_wrong.layer, report.first_wrong.leaf, report.mistake) == (2, "[1][0].w", "scaled")


def test_plain_functions():
    def by_hand(w, x):
        return {"w": 2 * x.T @ (x @ w["w"]), "c": jnp.ones(())}

    def reference(w, x):
        return jax.grad(lambda w: jnp.sum((x @ w["w"]) ** 2) + w["c"])(w)

    params = {"w": jax.random.normal(jax.random.key(0), (3, 2)), "c": jnp.zeros(())}
    x = jax.random.normal(jax.random.key(1), (5, 3))
    assert bp.compare(by_hand, reference, params, x, show=False).ok
    wrong = bp.compare(lambda w, x: {"w": x.T @ (x @ w["w"]), "c": jnp.ones(())}, reference, params, x, show=False)
    assert (wrong.first_wrong.layer, wrong.first_wrong.leaf, wrong.mistake) == (None, "['w']", "halved")
    with pytest.raises(ValueError, match="structure of the parameters"):
        bp.compare(lambda w, x: w["w"], reference, params, x, show=False)


def test_time_memory_and_plain_data(capsys):
    network, params, batch = deep(2, bp.tanh, jax.random.key(0))
    report = bp.compare(bp.backprop(network, bp.squared_error), bp.autodiff(network, bp.squared_error), params, batch)
    assert str(report) + "\n" == capsys.readouterr().out
    data = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert data["ok"] is True and data["first_wrong"] is None
    assert data["costs"]["rule"]["seconds"] > 0 and data["costs"]["reference"]["temporary_bytes"] >= 0
    assert data["leaves"][0]["leaf"] == "[2].b" and data["leaves"][0]["agreement"]["ok"] is True


def test_a_rule_that_draws_numbers_asks_for_a_key():
    network, params, batch = deep(2, bp.tanh, jax.random.key(0))
    rule = bp.backprop(network, bp.squared_error)
    drawing = rule._replace(name="drawing", init=lambda key, params: jax.random.normal(key, (2,)))
    oracle = bp.autodiff(network, bp.squared_error)
    with pytest.raises(ValueError, match="expected `key=` for `drawing`"):
        bp.compare(drawing, oracle, params, batch, timed=False, show=False)
    assert bp.compare(drawing, oracle, params, batch, key=jax.random.key(1), timed=False, show=False).ok


def test_the_measures_by_hand():
    # a = (3, 4), truth = (3, 4.5): |a − t| = 0.5, ‖t‖ = √29.25; ulp of 4.5 in float32 is 2⁻²¹
    a = agree(np.array([3.0, 4.0]), np.array([3.0, 4.5]), dtype=jnp.float32, allowed=1e-5)
    assert a.error == pytest.approx(0.5 / 29.25**0.5)
    assert a.ratio == pytest.approx(5 / 29.25**0.5)
    assert a.cosine == pytest.approx((9 + 18) / (5 * 29.25**0.5))
    assert a.ulp == 0.5 * 2**21
    assert a.worst == (1,)
    assert not a.ok
    assert budget("float32", 4) == 2e-5


def test_mistakes_have_words_and_mutants_have_mistakes():
    assert set(MUTANTS) | set(LOSS_MUTANTS) <= set(MISTAKES)


def test_no_false_alarm_where_saturated_outputs_lose_the_slope():
    """In float16 tanh(5) rounds to ±1 less one bit: 1 − y² is lost in the output, not in the backward pass."""
    a = jnp.linspace(4.5, 6.5, 24).reshape(4, 6).astype(jnp.float16)
    assert compare_layer(bp.tanh, (), a).wrong is None
    halved = bp.tanh._replace(backward=lambda params, y, dy: ((), 0.5 * bp.tanh.backward(params, y, dy)[1]))
    assert compare_layer(halved, (), jnp.linspace(-1, 1, 24).reshape(4, 6).astype(jnp.float16)).wrong == "dx"
