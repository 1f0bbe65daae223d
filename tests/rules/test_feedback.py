"""Rules with feedback weights: each against its paper's equations in plain NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from oracles import relative_error
from passes import quick_jit

import bpjax as bp
from bpjax.layers.convolution.conv import conv
from bpjax.layers.normalization.layer import layer_norm
from bpjax.layers.shapes import flatten
from bpjax.rules.feedback import batch_manhattan, feedback_alignment, sign_symmetry
from bpjax.rules.feedback_params import feedback_params
from bpjax.rules.kolen_pollack import Reciprocal, kolen_pollack
from bpjax.rules.slopes import borrowed_slope, noisy_slopes, with_slopes
from bpjax.rules.weight_mirror import weight_mirror

pytestmark = pytest.mark.usefixtures("quick_compilation")

RATE, STEPS = 0.3, 5
NETWORK = bp.mlp((3, 3, 3, 2), bp.tanh, output=bp.tanh)  # two hidden layers: errors go through two of the B
DATA = np.random.default_rng(7)
X, T = DATA.normal(size=(4, 3)), DATA.uniform(-0.8, 0.8, (4, 2))
SHAPES = ((3, 3), (3, 3), (3, 2))
WEIGHTS = [DATA.normal(size=shape) / 2 for shape in SHAPES]
BIASES = [DATA.normal(size=shape[1:]) / 2 for shape in SHAPES]
FEEDBACK = [DATA.normal(size=shape) / 2 for shape in SHAPES]


def pytree(w, b):
    """The lists in the structure of the network's params."""
    layers = [(bp.layers.Affine(jnp.asarray(wl), jnp.asarray(bl)), ()) for wl, bl in zip(w, b, strict=True)]
    return tuple(part for layer in layers for part in layer)


def matrices(params):
    return [np.asarray(p.w) for p in params[::2]]


def feedback_pytree(b):
    """B with NaN biases, to prove that the rules read only its matrices."""
    return pytree(b, [np.full(shape[1:], np.nan) for shape in SHAPES])


def golden(feedback_of, change=lambda g: g, keep=1.0):
    """NumPy: W ← keep W − η change(Σₙ xᵀ δ), δₗ = φ′ ⊙ (δₗ₊₁ Bₗ₊₁ᵀ), tanh units, B = feedback_of(step, W)."""
    w, b = [a.copy() for a in WEIGHTS], [a.copy() for a in BIASES]
    errors = []
    for step in range(STEPS):
        back = feedback_of(step, w)
        y = [X]
        for wl, bl in zip(w, b, strict=True):
            y.append(np.tanh(y[-1] @ wl + bl))
        errors.append(0.5 * np.sum((T - y[-1]) ** 2))
        delta = (1 - y[-1] ** 2) * (y[-1] - T)
        for l in (2, 1, 0):
            below = (1 - y[l] ** 2) * (delta @ back[l].T)
            w[l] = keep * w[l] - RATE * change(y[l].T @ delta)
            b[l] = b[l] - RATE * change(delta.sum(axis=0))
            delta = below
    return errors, w, b


def trained(rule, state, optimizer=None):
    """Errors and params after the same steps by the rule, in one scan."""
    optimizer = optax.sgd(RATE) if optimizer is None else optimizer
    params = pytree(WEIGHTS, BIASES)
    step = bp.make_train_step(rule, optimizer)
    start = bp.training.TrainState(params, optimizer.init(params), state)
    end, metrics = quick_jit(lambda s: jax.lax.scan(lambda s, _: step(s, (X, T)), s, None, length=STEPS))(start)
    return metrics.value, end.params, end.rule


def check_golden(found, expected, tolerance=1e-12):
    errors, params, _ = found
    true_errors, w, b = expected
    np.testing.assert_allclose(errors, true_errors, rtol=tolerance)
    assert relative_error(params, pytree(w, b)) < tolerance
    assert relative_error(params, pytree(WEIGHTS, BIASES)) > 0.01


# --- Golden trajectories --------------------------------------------------------------------------------------------


def test_feedback_alignment_step_by_step():
    rule = feedback_alignment(NETWORK, bp.squared_error)
    check_golden(trained(rule, feedback_pytree(FEEDBACK)), golden(lambda step, w: FEEDBACK))


def test_uniform_sign_symmetry_step_by_step():
    rule = sign_symmetry(NETWORK, bp.squared_error, "uSF", scale=0.4)
    check_golden(trained(rule, ()), golden(lambda step, w: [0.4 * np.sign(a) for a in w]))


def test_fixed_random_magnitudes_step_by_step():
    rule = sign_symmetry(NETWORK, bp.squared_error, "frSF")
    expected = golden(lambda step, w: [np.abs(m) * np.sign(a) for m, a in zip(FEEDBACK, w, strict=True)])
    check_golden(trained(rule, feedback_pytree(FEEDBACK)), expected)


def test_batchwise_random_magnitudes_step_by_step():
    """M of every step is read from the states of a loop; the rule claims that all differ."""
    rule = sign_symmetry(NETWORK, bp.squared_error, "brSF")
    params = pytree(WEIGHTS, BIASES)
    begin = state = rule.init(jax.random.key(3), params)
    drawn, compiled = [], quick_jit(rule.grads)
    for _ in range(STEPS):
        drawn.append(matrices(state.magnitudes))
        state = compiled(params, state, (X, T))[2]
    assert len({m[1][0, 0] for m in drawn}) == STEPS
    expected = golden(lambda step, w: [np.abs(m) * np.sign(a) for m, a in zip(drawn[step], w, strict=True)])
    check_golden(trained(rule, begin), expected)


def test_batch_manhattan_step_by_step():
    rule = batch_manhattan(bp.backprop(NETWORK, bp.squared_error))
    found = trained(rule, (), optax.sgd(0.02))
    expected = golden(lambda step, w: w, change=lambda g: np.sign(g) * 0.02 / RATE)
    check_golden(found, expected)
    moved = jax.tree.map(lambda a, b: (a - b) / 0.02, found[1], pytree(WEIGHTS, BIASES))
    assert all(np.allclose(leaf, np.round(leaf), atol=1e-9) for leaf in jax.tree.leaves(moved))


@pytest.mark.parametrize("keep", [0.9, 1.0])
def test_kolen_pollack_step_by_step(keep):
    """As in the paper: W ← λ W − η xᵀ δ, B ← λ B − η xᵀ δ; errors of step t travel through Bₜ."""
    back = [a.copy() for a in FEEDBACK]
    last = []

    def feedback_of(step, w):
        if last:  # the update of W without its decay
            back[:] = [keep * b + (new - keep * old) for b, new, old in zip(back, w, last, strict=True)]
        last[:] = [a.copy() for a in w]
        return [a.copy() for a in back]

    rule = kolen_pollack(NETWORK, bp.squared_error, keep)
    params = pytree(WEIGHTS, BIASES)
    state = Reciprocal(feedback_pytree(FEEDBACK), params, jnp.ones(()))
    decayed = optax.chain(optax.sgd(RATE), optax.masked(optax.add_decayed_weights(keep - 1), is_matrix))
    check_golden(trained(rule, state, decayed), golden(feedback_of, keep=keep))


def is_matrix(params):
    return jax.tree.map(lambda w: w.ndim >= 2, params)


def test_weight_mirror_step_by_step():
    """With given noise: errors travel through B, then B ← (1 − d) B + η ξᵀ (y − ȳ) / (n − 1) at the same weights."""
    noise = DATA.normal(size=(5, 3))
    rate, decay, deviation = 0.2, 0.1, 0.7
    back = [a.copy() for a in FEEDBACK]

    def draw(key, shape, dtype):
        assert shape == noise.shape
        return jnp.asarray(noise, dtype)

    # biases change too: the mirror uses those of the same step
    biases = [a.copy() for a in BIASES]

    def mirror(w, b):
        for l in (1, 2):  # no error travels through B of the first layer
            xi = deviation * noise
            y = np.tanh(xi @ w[l] + b[l])
            back[l] = (1 - decay) * back[l] + rate * xi.T @ (y - y.mean(axis=0)) / 4

    rule = weight_mirror(NETWORK, bp.squared_error, rate, decay, deviation, examples=5, noise=draw)
    params = pytree(WEIGHTS, BIASES)
    state = rule.init(jax.random.key(0), params)._replace(feedback=pytree(FEEDBACK, BIASES))
    step = quick_jit(bp.make_train_step(rule, optax.sgd(RATE)))
    w, b = [a.copy() for a in WEIGHTS], biases
    run = bp.training.TrainState(params, optax.sgd(RATE).init(params), state)
    for _ in range(STEPS):
        run, _ = step(run, (jnp.asarray(X), jnp.asarray(T)))
        y = [X]
        for wl, bl in zip(w, b, strict=True):
            y.append(np.tanh(y[-1] @ wl + bl))
        delta, before, through = (1 - y[-1] ** 2) * (y[-1] - T), ([*w], [*b]), [*back]
        for l in (2, 1, 0):
            below = (1 - y[l] ** 2) * (delta @ through[l].T)
            w[l], b[l] = w[l] - RATE * y[l].T @ delta, b[l] - RATE * delta.sum(axis=0)
            delta = below
        mirror(*before)
        assert relative_error(run.params, pytree(w, b)) < 1e-12
        assert relative_error(run.rule.feedback, pytree(back, BIASES)) < 1e-12


# --- Exact identities -----------------------------------------------------------------------------------------------


def convolutional(keys):
    """A network with convolutions, gains of a norm and a dense layer, params without zeros, and a batch."""
    network = bp.chain(conv(3, (2, 2)), layer_norm(), bp.relu, conv(2, (2, 2)), bp.tanh, flatten, bp.dense(3))
    params, _ = network.init(next(keys), (4, 5, 2))
    leaves, structure = jax.tree.flatten(params)
    params = structure.unflatten([w + 0.1 * jax.random.normal(next(keys), w.shape) for w in leaves])
    return network, params, (jax.random.normal(next(keys), (3, 4, 5, 2)), jax.random.normal(next(keys), (3, 3)))


@pytest.mark.parametrize("where", ["dense", "convolution"])
def test_with_the_forward_weights_as_feedback_they_are_backprop_to_the_last_bit(where, keys):
    """X18 for feedback alignment, brSF and frSF (M = W), Kolen-Pollack, and weight mirror."""
    if where == "dense":
        network, params, batch = NETWORK, pytree(WEIGHTS, BIASES), (jnp.asarray(X), jnp.asarray(T))
    else:
        network, params, batch = convolutional(keys)
    loss = bp.squared_error
    truth = bp.backprop(network, loss).grads(params, (), batch)[:2]
    brsf = sign_symmetry(network, loss, "brSF")
    mirror = weight_mirror(network, loss)
    for rule, state in (
        (feedback_alignment(network, loss), params),
        (sign_symmetry(network, loss, "frSF"), params),
        (brsf, brsf.init(next(keys), params)._replace(magnitudes=params)),
        (kolen_pollack(network, loss, 0.9), Reciprocal(params, params, jnp.ones(()))),
        (mirror, mirror.init(next(keys), params)._replace(feedback=params)),
    ):
        assert same_bits(rule.grads(params, state, batch)[:2], truth), rule.name
        drawn = rule.grads(params, rule.init(next(keys), params), batch)[1]
        assert relative_error(drawn, truth[1]) > 0.05, rule.name


def same_bits(a, b):
    return all((x == y).all() for x, y in zip(*map(jax.tree.leaves, (a, b)), strict=True))


@pytest.mark.parametrize("where", ["dense", "convolution"])
def test_gains_biases_and_the_last_layer_do_not_use_feedback_weights(where, keys):
    """The direction of the output layer is that of backprop, and gains in the feedback path are the network's own."""
    network, params, batch = (NETWORK, pytree(WEIGHTS, BIASES), (X, T)) if where == "dense" else convolutional(keys)
    truth = bp.backprop(network, bp.squared_error).grads(params, (), batch)[1]
    rule = feedback_alignment(network, bp.squared_error)
    found = rule.grads(params, rule.init(next(keys), params), batch)[1]
    last = -2 if where == "dense" else -1
    assert same_bits(found[last], truth[last])
    nans = jax.tree.map(lambda w: jnp.full_like(w, jnp.nan), params)
    merged = feedback_params(network, nans, params)
    first, *rest = zip(
        *map(jax.tree.leaves, (merged, params)), strict=True
    )  # errors through the first layer are unused
    assert (first[0] == first[1]).all()
    assert all((w == own).all() if w.ndim == 1 else jnp.isnan(w).all() for w, own in rest)


def test_sign_symmetry_of_weights_with_one_magnitude_is_backprop(keys):
    """For W entries ±c, uSF scaled by c is backprop (section 7 of the oracles)."""
    params = jax.tree.map(lambda w: 0.3 * jnp.sign(w) if w.ndim == 2 else w, pytree(WEIGHTS, BIASES))
    truth = bp.backprop(NETWORK, bp.squared_error).grads(params, (), (X, T))[1]
    rule = sign_symmetry(NETWORK, bp.squared_error, "uSF", scale=0.3)
    assert relative_error(rule.grads(params, (), (X, T))[1], truth) < 1e-14
    unscaled = sign_symmetry(NETWORK, bp.squared_error).grads(params, (), (X, T))[1]
    assert relative_error(jax.tree.map(lambda g: 0.3 * g, unscaled[2]), truth[2]) < 1e-14  # one B deep
    assert relative_error(jax.tree.map(lambda g: 0.09 * g, unscaled[0]), truth[0]) < 1e-14  # two


@pytest.mark.parametrize("decays_weights", [False, True], ids=["no decay of W", "decay of W"])
@pytest.mark.parametrize("optimizer", [bp.momentum(0.05, 0.9), optax.adam(0.02)], ids=["momentum", "adam"])
def test_the_gap_of_kolen_pollack_is_a_power_of_its_decay(optimizer, decays_weights, keys):
    """X19: Wₜ − Bₜ = λᵗ (W₀ − B₀) for any optimizer, with and without decay of W."""
    params, key, steps = pytree(WEIGHTS, BIASES), next(keys), 12
    feedback = kolen_pollack(NETWORK, bp.squared_error).init(key, params).feedback
    gap = jax.tree.map(lambda w, b: w - b, params, feedback)

    def gap_after(decay):
        rule = kolen_pollack(NETWORK, bp.squared_error, decay)
        full = optax.chain(optimizer, optax.add_decayed_weights(decay - 1)) if decays_weights else optimizer
        run = bp.training.TrainState(params, full.init(params), rule.init(key, params))
        run, _ = jax.lax.scan(lambda s, _: bp.make_train_step(rule, full)(s, (X, T)), run, None, length=steps)
        return jax.tree.map(lambda w, b: w - b, run.rule.forward, run.rule.feedback)

    decays = jnp.array([0.5, 0.98, 1.0])
    found = quick_jit(jax.vmap(gap_after))(decays)
    # the state holds W and B of the last of 12 steps, whose t is 11; no error travels through the first layer
    for g, g0 in zip(matrices(found)[1:], matrices(gap)[1:], strict=True):
        np.testing.assert_allclose(
            g, np.asarray(decays)[:, None, None] ** (steps - 1) * np.asarray(g0), rtol=0, atol=1e-13
        )


def test_kolen_pollack_with_decay_0_is_backprop_from_the_second_step(keys):
    rule = kolen_pollack(NETWORK, bp.squared_error, 0.0)
    params = pytree(WEIGHTS, BIASES)
    _, first, state = rule.grads(params, rule.init(next(keys), params), (X, T))
    truth = bp.backprop(NETWORK, bp.squared_error).grads(params, (), (X, T))[1]
    assert relative_error(first, truth) > 0.05
    assert same_bits(rule.grads(params, state, (X, T))[1], truth)


@pytest.mark.parametrize("where", ["dense", "convolution"])
def test_the_mirror_of_linear_units_learns_the_weights(where, keys):
    """E[ΔB] = η σ² W, by the mean over 400 draws of noise; for a kernel times the number of positions."""
    if where == "dense":
        network, in_shape, positions = bp.chain(bp.dense(3), bp.dense(2)), (4,), 1
    else:
        in_shape, positions = (5, 6, 1), 20
        network = bp.chain(conv(2, (1, 1)), conv(2, (2, 2), padding="VALID"), flatten)
    params, _ = network.init(next(keys), in_shape)
    params = jax.tree.map(lambda w: w + 0.3, params)  # biases, which cancel in y − ȳ
    rate, sigma, examples, draws = 0.5, 0.6, 8, 400
    rule = weight_mirror(network, bp.squared_error, rate, 0.0, sigma, examples, scale=0.0)
    x = jnp.ones((2, *in_shape))
    t = network.forward(params, x)[0]

    def once(key):
        return rule.grads(params, rule.init(key, params), (x, t))[2].feedback[1]

    found = quick_jit(lambda keys: jax.lax.map(once, keys))(jax.random.split(next(keys), draws))
    w, b = np.asarray(params[1].w), np.asarray(found.w)
    error = b.std(axis=0) / np.sqrt(draws)
    z = (b.mean(axis=0) - rate * sigma**2 * positions * w) / error
    assert np.abs(z).max() < 4
    assert np.abs(b.mean(axis=0) / error).max() > 10  # far from 0


def test_the_mirror_converges_to_a_multiple_of_the_weights(keys):
    """With decay B → η σ² W / d for linear units."""
    network = bp.mlp((6, 5, 4), bp.layers.identity)
    params, _ = network.init(next(keys), (6,))
    rule = weight_mirror(network, bp.squared_error, 0.05, 0.05, examples=64)
    batch = jnp.ones((1, 6)), jnp.ones((1, 4))
    state = rule.init(next(keys), params)
    state = quick_jit(lambda s: jax.lax.fori_loop(0, 300, lambda i, s: rule.grads(params, s, batch)[2], s))(state)
    assert relative_error(state.feedback[2].w, params[2].w) < 0.15


def test_the_magnitudes_of_frsf_stay_fixed(keys):
    rule = sign_symmetry(NETWORK, bp.squared_error, "frSF")
    state = rule.init(next(keys), pytree(WEIGHTS, BIASES))
    assert same_bits(trained(rule, state)[2], state)


# --- Other slopes ---------------------------------------------------------------------------------------------------


def test_linear_feedback_and_offsets_by_hand(keys):
    """ψ in δₗ = ψ ⊙ (δₗ₊₁ Wᵀ), in NumPy for a 3-3-3-2 tanh network."""
    params = pytree(WEIGHTS, BIASES)
    y = [X]
    for w, b in zip(WEIGHTS, BIASES, strict=True):
        y.append(np.tanh(y[-1] @ w + b))
    for change, slope in (
        (bp.layers.without_derivative, lambda o: np.ones_like(o)),
        (lambda phi: bp.layers.flat_spot(phi, 0.2), lambda o: 1.2 - o**2),
        (lambda phi: borrowed_slope(phi, bp.sigmoid), lambda o: 1 / (2 + 2 * np.cosh(np.arctanh(o)))),
    ):
        network = with_slopes(NETWORK, change)
        _, grads, _ = bp.backprop(network, bp.squared_error).grads(params, (), (X, T))
        delta = slope(y[3]) * (y[3] - T)
        for l in (2, 1, 0):
            np.testing.assert_allclose(grads[2 * l].w, y[l].T @ delta, rtol=1e-11, atol=1e-14)
            delta = slope(y[l]) * (delta @ WEIGHTS[l].T) if l else None
        assert (network.forward(params, jnp.asarray(X))[0] == NETWORK.forward(params, jnp.asarray(X))[0]).all()


def test_noisy_slopes_have_the_exact_mean_and_differ_between_batches(keys):
    network = bp.mlp((3, 3, 2), bp.tanh)  # one noisy layer: the gradient is linear in its derivative
    params, _ = network.init(next(keys), (3,))
    rule = noisy_slopes(bp.backprop, network, bp.squared_error, 0.4)
    truth = bp.backprop(network, bp.squared_error).grads(params, (), (X, T))[1]

    def step(state, _):
        _, grads, state = rule.grads(params, state, (X, T))
        return state, grads[0].w

    _, drawn = quick_jit(lambda s: jax.lax.scan(step, s, None, length=500))(rule.init(next(keys), params))
    z = (drawn.mean(axis=0) - truth[0].w) / (drawn.std(axis=0) / np.sqrt(500))
    assert np.abs(z).max() < 4 and drawn.std(axis=0).min() > 0.01
    exact = noisy_slopes(bp.backprop, network, bp.squared_error, 0.0)
    assert same_bits(exact.grads(params, exact.init(next(keys), params), (X, T))[1], truth)


def test_noisy_slopes_work_with_another_rule(keys):
    def make(network, loss):
        return feedback_alignment(network, loss, 0.5)

    rule = noisy_slopes(make, NETWORK, bp.squared_error, 0.1)
    params = pytree(WEIGHTS, BIASES)
    state = rule.init(next(keys), params)
    first, state = rule.grads(params, state, (X, T))[1:]
    second, _ = rule.grads(params, state, (X, T))[1:]
    assert relative_error(first, second) > 1e-3
    assert rule.name == "feedback alignment with noisy slopes"


def test_with_slopes_changes_only_activations(keys):
    network = bp.chain(bp.dense(4), layer_norm(), bp.tanh, bp.over_positions(bp.layers.softplus), flatten, bp.softmax)
    names = []
    with_slopes(network, lambda phi: names.append(phi.name) or phi)
    assert names == ["tanh", "softplus"]


def test_a_dead_relu_learns_with_the_slope_of_softplus():
    # relu(−1) = 0 and σ(−1) = 0.2689414…
    phi = borrowed_slope(bp.relu, bp.layers.softplus)
    y, residuals = phi.forward((), jnp.array([[-1.0]]))
    assert y[0, 0] == 0 and float(phi.backward((), residuals, jnp.ones((1, 1)))[1][0, 0]) == pytest.approx(0.2689414214)


# --- Bad input ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: feedback_alignment(NETWORK, bp.squared_error, scale=jnp.nan), "`scale` to be a finite number"),
        (lambda: feedback_alignment(NETWORK, bp.squared_error, weights="hee"), "Did you mean 'he'"),
        (lambda: sign_symmetry(NETWORK, bp.squared_error, "USF"), "'uSF', 'brSF' or 'frSF', got 'USF'"),
        (lambda: sign_symmetry(NETWORK, bp.squared_error, scale=0.0), "finite number > 0, got 0.0"),
        (lambda: kolen_pollack(NETWORK, bp.squared_error, 1.1), "≥ 0 and ≤ 1, got 1.1"),
        (lambda: weight_mirror(NETWORK, bp.squared_error, examples=1), "integer ≥ 2, got 1"),
        (lambda: weight_mirror(NETWORK, bp.squared_error, -1.0), "`rate` to be a finite number ≥ 0"),
        (lambda: noisy_slopes(bp.backprop, bp.dense(2), bp.squared_error, 0.1), "expected a network with activations"),
        (lambda: noisy_slopes(bp.backprop, NETWORK, bp.squared_error, -0.1), "finite number ≥ 0, got -0.1"),
        (lambda: borrowed_slope(bp.tanh, bp.dense(2)), "expected an activation"),
    ],
)
def test_bad_arguments_raise_when_the_rule_is_made(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("make", [feedback_alignment, sign_symmetry, kolen_pollack, weight_mirror])
def test_a_network_without_weights_raises_in_init(make, keys):
    network = bp.chain(bp.tanh, bp.sigmoid)
    with pytest.raises(ValueError, match="expected a network with weights"):
        make(network, bp.squared_error).init(next(keys), ((), ()))


def test_feedback_of_another_network_raises_and_names_the_leaves(keys):
    params = pytree(WEIGHTS, BIASES)
    other = bp.mlp((3, 4, 3, 2), bp.tanh, output=bp.tanh).init(next(keys), (3,))[0]
    rule = feedback_alignment(NETWORK, bp.squared_error)
    with pytest.raises(ValueError, match=r"\[0\]\.w: float64\[3, 4\] for float64\[3, 3\].*\[2\]\.w"):
        rule.grads(params, other, (X, T))
    with pytest.raises(ValueError, match=r"\[0\]\.w: none for float64"):
        rule.grads(params, (), (X, T))
    with pytest.raises(ValueError, match=r"float32"):
        rule.grads(params, bp.util.cast(params, "float32"), (X, T))
    with pytest.raises(ValueError, match="Feedback weights of the shapes of `params`"):
        kolen_pollack(NETWORK, bp.squared_error).grads(params, Reciprocal(other, other, jnp.ones(())), (X, T))
