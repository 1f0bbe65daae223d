"""`compare` locates and names mistakes, and raises no false alarm."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from full_size import FULL
from jax.test_util import check_grads

import bpjax as bp
from bpjax.gradcheck.agreement import BUDGET, agree, budget
from bpjax.gradcheck.mistakes import MISTAKES
from bpjax.gradcheck.mutants import LOSS_MUTANTS, MUTANTS, scaled
from bpjax.gradcheck.per_layer import compare_layer
from bpjax.layers.layer import Kind
from bpjax.util.text_table import table

WIDTH, EXAMPLES = 6, 8


def compiled(layer):
    """The layer with compiled passes: `compare` runs the whole network operation by operation.

    The forward pass of an activation is not compiled: a mutant asks whether its residual is its output.
    """
    forward = layer.forward if layer.kind is Kind.ACTIVATION else jax.jit(layer.forward)
    return layer._replace(forward=forward, backward=jax.jit(layer.backward))


# All networks have these layers, all batches one shape: every program is compiled once per dtype.
DENSE, SIGMOID, TANH, SILU = map(compiled, (bp.dense(WIDTH), bp.sigmoid, bp.tanh, bp.layers.silu))


@pytest.fixture(autouse=True)
def as_a_user_runs_it():
    """float32 by default; `compare` evaluates its oracle in float64."""
    with jax.enable_x64(False):
        yield


def deep(depth, activation, key):
    """A network with `depth` dense layers, weights of a size that keeps signals from vanishing, and a batch."""
    network = bp.chain(*[DENSE, activation] * (depth - 1), DENSE)
    key_p, key_x, key_t = jax.random.split(key, 3)
    params, _ = network.init(key_p, (WIDTH,))
    params = jax.tree.map(lambda w: 1.3 * w, params)
    batch = jax.random.normal(key_x, (EXAMPLES, WIDTH)), jax.random.uniform(key_t, (EXAMPLES, WIDTH))
    return network, params, batch


def check(network, loss, oracle_network, params, batch):
    oracle = bp.autodiff(oracle_network, bp.squared_error)
    return bp.compare(bp.backprop(network, loss), oracle, params, batch, timed=False, show=False)


CONFUSION = [
    pytest.param(mistake, depth, id=f"{mistake}-{depth}", marks=[] if depth == 5 else pytest.mark.thorough)
    for mistake in MUTANTS
    for depth in ((2, 3, 4, 5, 6, 8, 12) if FULL else (2, 5, 12))
]


@pytest.mark.statistical
@pytest.mark.parametrize(("mistake", "depth"), CONFUSION)
def test_confusion_matrix(mistake, depth):
    """Every mistake, in a random layer where it can be made, is located and named."""
    mutant = MUTANTS[mistake]
    for seed in range(8 if FULL else 2):
        rng = np.random.default_rng([seed, depth])
        activation = [SIGMOID, TANH, SILU][seed % 3]
        network, params, batch = deep(depth, activation, jax.random.key(seed))
        layers = [i for i in range(len(network.layers)) if mutant.fits(params, network, i)]
        index = int(rng.choice(layers))
        report = check(mutant.apply(network, index), bp.squared_error, network, params, batch)
        assert report.first_wrong is not None, f"{mistake} in layer {index} not found"
        assert (report.first_wrong.layer, report.mistake) == (index, mistake)


@pytest.mark.parametrize("mistake", LOSS_MUTANTS)
@pytest.mark.parametrize("depth", [2, 12])
def test_a_wrong_loss_gradient_is_located_in_the_loss(mistake, depth):
    network, params, batch = deep(depth, TANH, jax.random.key(depth))
    report = check(network, LOSS_MUTANTS[mistake](bp.squared_error), network, params, batch)
    assert (report.first_wrong.layer, report.first_wrong.name) == (None, "squared error")
    assert report.mistake == mistake


@pytest.mark.parametrize("factor", [0.0, 2.0, -1.0, 1.01], ids=["zeroed", "doubled", "negated", "1% off"])
@pytest.mark.parametrize(
    "depth",
    [
        pytest.param(d, marks=[] if d in (2, 8) else pytest.mark.thorough)
        for d in (range(2, 13) if FULL else (2, 4, 8, 12))
    ],
)
@pytest.mark.parametrize("activation", [SIGMOID, TANH], ids=["sigmoid", "tanh"])
def test_a_wrong_first_layer_is_located_at_any_depth(factor, depth, activation):
    network, params, batch = deep(depth, activation, jax.random.key(1))
    report = check(scaled(network, 0, factor), bp.squared_error, network, params, batch)
    assert (report.first_wrong.layer, report.first_wrong.leaf) == (0, "[0].w")


@functools.cache
def sigmoid_network():
    return bp.chain(*map(compiled, bp.mlp((8, *[32] * 5, 4), bp.sigmoid).layers))


@pytest.mark.thorough
@pytest.mark.parametrize(
    "factor",
    [
        pytest.param(0.0, id="zeroed", marks=pytest.mark.thorough),
        pytest.param(2.0, id="doubled", marks=pytest.mark.thorough),
        pytest.param(-1.0, id="negated"),
    ],
)
def test_jax_check_grads_does_not_detect_the_same_first_layer(factor):
    """Why `compare` exists: the usual checker passes a sigmoid network of depth 6 whose first layer is wrong."""
    network = sigmoid_network()
    params, _ = network.init(jax.random.key(0), (8,))
    x, t = jax.random.normal(jax.random.key(1), (64, 8)), jax.random.normal(jax.random.key(2), (64, 4))
    broken = bp.backprop(scaled(network, 0, factor), bp.losses.batch_mean(bp.squared_error))

    @jax.custom_vjp
    def error(params):
        return broken.grads(params, (), (x, t))[0]

    error.defvjp(
        lambda params: broken.grads(params, (), (x, t))[:2], lambda grads, e: (jax.tree.map(lambda g: e * g, grads),)
    )
    check_grads(jax.jit(error), (params,), order=1, modes=("rev",))
    report = bp.compare(broken, bp.autodiff(network, broken.loss), params, (x, t), timed=False, show=False)
    assert report.first_wrong.leaf == "[0].w"


ACTIVATIONS = [
    SIGMOID,
    TANH,
    SILU,
    *map(compiled, (bp.relu, bp.gelu, bp.layers.elu(), bp.layers.softplus, bp.layers.leaky_relu())),
]
LOSSES = [
    bp.squared_error,
    bp.mean_squared_error,
    bp.binary_cross_entropy,
    bp.losses.huber(0.5),
    bp.softmax_cross_entropy,
]


@pytest.mark.thorough
@pytest.mark.statistical
@pytest.mark.parametrize("dtype", BUDGET if FULL else ("float32", "bfloat16"))
def test_no_false_alarm_over_random_correct_networks(dtype):
    """Random depth, activation, loss, weights small to large; several hundred in each dtype at full size."""
    alarms = []
    with jax.enable_x64(dtype == "float64"):
        for seed in range(300 if FULL else 6):
            rng = np.random.default_rng(seed)
            depth = int(rng.integers(1, 13))
            activation, output = ACTIVATIONS[rng.integers(len(ACTIVATIONS))], [None, SIGMOID, TANH][rng.integers(3)]
            network = bp.chain(*[DENSE, activation] * (depth - 1), DENSE, *([] if output is None else [output]))
            scale = (0.5, 1.0, 1.3, 2.0)[rng.integers(4)]
            loss = LOSSES[rng.integers(len(LOSSES))]
            w = scale * rng.normal(size=(depth, WIDTH, WIDTH)) / WIDTH**0.5
            affine = iter([bp.layers.Affine(w, b) for w, b in zip(w, np.zeros((depth, WIDTH)), strict=True)])
            params = tuple(next(affine) if layer is DENSE else () for layer in network.layers)
            x, t = rng.normal(size=(EXAMPLES, WIDTH)), rng.uniform(size=(EXAMPLES, WIDTH))
            params, batch = bp.util.cast((params, (x, t)), dtype)
            rule, oracle = bp.backprop(network, loss), bp.autodiff(network, loss)
            report = bp.compare(rule, oracle, params, batch, timed=False, show=False)
            if not report.ok:
                alarms.append((seed, depth, report.verdict))
    assert not alarms


def test_no_false_alarm_where_the_gradient_is_badly_conditioned():
    """Zero weights (gradients cancel exactly), saturated units, and a network at its minimum."""
    x, target = (np.asarray(a, np.float32) for a in bp.xor().present())
    xor = np.tile(x, (2, WIDTH // 2)), np.tile(target, (2, WIDTH))
    network = bp.chain(DENSE, SIGMOID, DENSE, SIGMOID)
    zeros = jax.tree.map(jnp.zeros_like, network.init(jax.random.key(0), (WIDTH,))[0])
    saturated = jax.tree.map(lambda p: 12 * jnp.ones_like(p), zeros)
    for params in (zeros, saturated):
        assert check(network, bp.squared_error, network, params, xor).ok
    params, _ = DENSE.init(jax.random.key(0), (WIDTH,))
    x = jax.random.normal(jax.random.key(1), (EXAMPLES, WIDTH))
    target = DENSE.forward(params, x)[0] + 1e-5
    assert check(DENSE, bp.squared_error, DENSE, params, (x, target)).ok


def test_a_correct_gradient():
    network, params, batch = deep(3, TANH, jax.random.key(0))
    report = check(network, bp.squared_error, network, params, batch)
    assert report.ok and report.first_wrong is None and report.diagnosis is None and report.first_nonfinite is None
    report.raise_if_wrong()
    assert [row.layer for row in report.layers] == [4, 3, 2, 1, 0]  # backward order
    assert [row.leaf for row in report.leaves] == ["[4].b", "[4].w", "[2].b", "[2].w", "[0].b", "[0].w"]
    assert all(0 < row.agreement.error < 1e-6 for row in report.leaves)


def test_the_table_aligns_text_left_and_numbers_right():
    rows = [("a", "no", "1.5 ms", "nan"), ("bbb", "infinite", "-2", "inf")]
    assert table(("rule", "later weights", "n", "x"), rows) == [
        "rule  later weights       n    x",
        "────  ─────────────  ──────  ───",
        "a     no             1.5 ms  nan",
        "bbb   infinite           -2  inf",
        "",
    ]


def test_raise_if_wrong_raises_with_the_table():
    network, params, batch = deep(3, TANH, jax.random.key(0))
    report = check(scaled(network, 2, 2.0), bp.squared_error, network, params, batch)
    with pytest.raises(AssertionError, match=r"WRONG, first in backward order: layer 2 \(dense\), \[2\]\.w"):
        report.raise_if_wrong()
    assert report.diagnosis == f"doubled: {MISTAKES['doubled']}"
    assert repr(report) == "Report(backprop against autodiff, float32: WRONG at layer 2 (dense), [2].w)"


def test_a_non_finite_leaf_is_named():
    network, params, batch = deep(3, TANH, jax.random.key(0))
    report = check(scaled(network, 2, float("nan")), bp.squared_error, network, params, batch)
    assert report.first_wrong.layer == 2
    assert report.first_nonfinite == "[2].b"
    assert "First non-finite leaf: [2].b" in report.verdict


def test_layers_of_nested_chains_are_found_by_their_path():
    inner = bp.chain(DENSE, TANH)
    network = bp.chain(inner, scaled(inner, 0, 3.0), DENSE)
    right = bp.chain(inner, inner, DENSE)
    _, params, batch = deep(3, TANH, jax.random.key(0))
    params = (params[:2], params[2:4], params[4])
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
    halved = lambda w, x: {"w": x.T @ (x @ w["w"]), "c": jnp.ones(())}
    wrong = bp.compare(halved, reference, params, x, timed=False, show=False)
    assert (wrong.first_wrong.layer, wrong.first_wrong.leaf, wrong.mistake) == (None, "['w']", "halved")
    with pytest.raises(ValueError, match="structure of the parameters"):
        bp.compare(lambda w, x: w["w"], reference, params, x, timed=False, show=False)


def test_time_memory_data_and_repr(capsys):
    network, params, batch = deep(2, TANH, jax.random.key(0))
    report = bp.compare(bp.backprop(network, bp.squared_error), bp.autodiff(network, bp.squared_error), params, batch)
    assert str(report) + "\n" == capsys.readouterr().out
    data = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert data["ok"] is True and data["first_wrong"] is None
    assert data["costs"]["rule"]["seconds"] > 0 and data["costs"]["reference"]["temporary_bytes"] >= 0
    assert data["leaves"][0]["leaf"] == "[2].b" and data["leaves"][0]["agreement"]["ok"] is True
    assert data["layers"][0]["dx_per_layer"]["ok"] is True and data["layers"][0]["wrong_per_layer"] is None
    assert repr(report) == "Report(backprop against autodiff, float32: right)"


def test_a_rule_that_draws_random_numbers_requires_a_key():
    network, params, batch = deep(2, TANH, jax.random.key(0))
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


def test_every_mutant_is_a_mistake_with_an_explanation():
    assert set(MUTANTS) | set(LOSS_MUTANTS) <= set(MISTAKES)


def test_no_false_alarm_where_rounded_outputs_lose_the_slope():
    """In float16 tanh(5) is 1 − 1 bit: the output, not the backward pass, loses the digits of 1 − y²."""
    a = jnp.linspace(4.5, 6.5, 24).reshape(4, 6).astype(jnp.float16)
    assert compare_layer(bp.tanh, (), a).wrong is None
    halved = bp.tanh._replace(backward=lambda params, y, dy: ((), 0.5 * bp.tanh.backward(params, y, dy)[1]))
    assert compare_layer(halved, (), jnp.linspace(-1, 1, 24).reshape(4, 6).astype(jnp.float16)).wrong == "dx"
