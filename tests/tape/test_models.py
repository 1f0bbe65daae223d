"""The tape on models of other libraries: `reverse` of their loss is `jax.value_and_grad` of it."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.example_libraries import stax
from optax import losses
from oracles import relative_error
from passes import quick_jit

import bpjax as bp
from bpjax.interop.as_function import as_function
from bpjax.tape import reverse


@pytest.fixture(autouse=True)
def ranks():
    """The libraries add biases (H,) to (N, H)."""
    with jax.numpy_rank_promotion("allow"):
        yield


def check(apply, params, x, tolerance=1e-13):
    """`reverse` and `jax.value_and_grad` of Σ sin(y) agree for params and x, in one program."""
    loss = lambda params, x: sum(jnp.sum(jnp.sin(y)) for y in jax.tree.leaves(apply(params, x)))
    both = lambda *args: (reverse(loss, (0, 1))(*args), jax.value_and_grad(loss, (0, 1))(*args))
    by_tape, by_jax = quick_jit(both)(params, x)
    assert all(np.any(leaf) for leaf in jax.tree.leaves(by_jax))
    assert relative_error(by_tape, by_jax) < tolerance


def noisy(params, keys):
    """Params without zeros, so that no derivative is hidden: biases start at 0 and gains at 1."""
    leaves, structure = jax.tree.flatten(params)
    return structure.unflatten([p + 0.2 * jax.random.normal(next(keys), p.shape, p.dtype) for p in leaves])


@pytest.mark.thorough
def test_nnx(keys):
    nnx = pytest.importorskip("flax.nnx")
    options = {"rngs": nnx.Rngs(1), "param_dtype": jnp.float64}

    class Net(nnx.Module):
        def __init__(self):
            self.conv = nnx.Conv(2, 4, (3,), **options)
            self.norm = nnx.LayerNorm(4, **options)
            self.attention = nnx.MultiHeadAttention(2, 4, decode=False, use_bias=False, **options)
            self.last = nnx.Linear(4, 3, **options)

        def __call__(self, x):
            return self.last(nnx.gelu(self.attention(self.norm(self.conv(x)))))

    graph, state = nnx.split(Net(), nnx.Param)
    params = noisy(state, keys)
    x = jax.random.normal(next(keys), (2, 5, 2))
    check(lambda params, x: nnx.merge(graph, params)(x), params, x, 1e-6)  # its softmax is computed in float32


@pytest.mark.thorough
def test_linen_on_images(keys):
    nn = pytest.importorskip("flax.linen")

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.Conv(3, (2, 2), param_dtype=jnp.float64)(x)
            x = nn.BatchNorm(use_running_average=False, param_dtype=jnp.float64)(x)
            x = nn.max_pool(nn.silu(x), (2, 2), strides=(2, 2))
            return nn.Dense(2, param_dtype=jnp.float64)(nn.avg_pool(x, (2, 2)).reshape(len(x), -1))

    module, x = Net(), jax.random.normal(next(keys), (2, 4, 4, 1))
    variables = module.init(next(keys), x)
    statistics = {"batch_stats": variables["batch_stats"]}
    apply = lambda params, x: module.apply({"params": params, **statistics}, x, mutable=["batch_stats"])[0]
    check(apply, noisy(variables["params"], keys), x, 1e-12)


@pytest.mark.thorough
def test_linen_recurrent(keys):
    nn = pytest.importorskip("flax.linen")
    module = nn.RNN(nn.OptimizedLSTMCell(3, param_dtype=jnp.float64), return_carry=True)
    x = jax.random.normal(next(keys), (2, 4, 3))
    params = noisy(module.init(next(keys), x)["params"], keys)
    check(lambda params, x: module.apply({"params": params}, x), params, x)


@pytest.mark.thorough
def test_equinox(keys):
    eqx = pytest.importorskip("equinox")

    class Net(eqx.Module):
        cell: eqx.nn.GRUCell
        readout: eqx.nn.MLP

        def __call__(self, x):
            last, _ = jax.lax.scan(lambda h, x: (self.cell(x, h), None), jnp.zeros(3), x)
            return self.readout(last)

    cell = eqx.nn.GRUCell(2, 3, key=next(keys))
    module = Net(cell, eqx.nn.MLP(3, 2, 4, 1, activation=jax.nn.softplus, key=next(keys)))
    params, static = eqx.partition(module, eqx.is_inexact_array)
    apply = lambda params, x: jax.vmap(eqx.combine(params, static))(x)
    check(apply, params, jax.random.normal(next(keys), (2, 4, 2)))


@pytest.mark.thorough
def test_stax(keys):
    layers = stax.Conv(3, (2, 2)), stax.Relu, stax.MaxPool((2, 2)), stax.Flatten, stax.Dense(4), stax.LogSoftmax
    init, apply = stax.serial(*layers)
    params = bp.util.cast(init(next(keys), (-1, 4, 4, 2))[1], jnp.float64)
    check(apply, params, jax.random.normal(next(keys), (2, 4, 4, 2)))


def test_haiku(keys):
    hk = pytest.importorskip("haiku")
    model = hk.without_apply_rng(hk.transform(lambda x: hk.nets.MLP([5, 3], activation=jnp.tanh)(x)))
    x = jax.random.normal(next(keys), (6, 4))
    check(model.apply, noisy(model.init(next(keys), x), keys), x)


# --- Our layers as functions: a custom_vjp ---------------------------------------------------------------------------


def test_a_layer_as_a_function_is_used_with_its_own_rule_or_opened(keys):
    network = bp.chain(bp.dense(4), bp.tanh, bp.dense(3))
    tripled = lambda *args: jax.tree.map(lambda d: 3 * d, network.backward(*args))  # a rule that shows itself
    custom = as_function(network._replace(backward=tripled))
    params, x = network.init(next(keys), (5,))[0], jax.random.normal(next(keys), (2, 5))
    loss = lambda params: jnp.sum(custom(params, x) ** 2)
    true = lambda params: jnp.sum(network.forward(params, x)[0] ** 2)

    def all_four(params):
        used, opened = (reverse(loss, custom_rules=rules)(params)[1] for rules in ("use", "open"))
        return used, jax.grad(loss)(params), opened, jax.grad(true)(params)

    used, by_jax, opened, by_jax_of_forward = quick_jit(all_four)(params)
    assert relative_error(used, by_jax) < 1e-13
    assert relative_error(opened, by_jax_of_forward) < 1e-13
    assert relative_error(used, jax.tree.map(lambda d: 3 * d, opened)) < 1e-13


# --- optax -----------------------------------------------------------------------------------------------------------

SCORES, TARGETS = (3, 4), np.array([[0.1, 0.2, 0.3, 0.4], [0.7, 0.1, 0.1, 0.1], [0.25, 0.5, 0.125, 0.125]])
LABELS, SIGNS, BITS = np.array([2, 0, 3]), np.where(TARGETS > 0.2, 1.0, -1.0), np.where(TARGETS > 0.2, 1.0, 0.0)
NOT_PADDED = np.zeros((3, 4)), np.array([[1, 2], [3, 1], [2, 2]]), np.zeros((3, 2))  # logits, labels and theirs

OPTAX_LOSSES = {
    "l2_loss": lambda o: losses.l2_loss(o, TARGETS),
    "huber_loss": lambda o: losses.huber_loss(o, TARGETS, delta=0.7),
    "log_cosh": lambda o: losses.log_cosh(o, TARGETS),
    "cosine_distance": lambda o: losses.cosine_distance(o, TARGETS, epsilon=1e-6),
    "hinge_loss": lambda o: losses.hinge_loss(o, SIGNS),
    "perceptron_loss": lambda o: losses.perceptron_loss(o, SIGNS),
    "sparsemax_loss": lambda o: losses.sparsemax_loss(o, BITS),
    "multiclass_hinge_loss": lambda o: losses.multiclass_hinge_loss(o, LABELS),
    "multiclass_perceptron_loss": lambda o: losses.multiclass_perceptron_loss(o, LABELS),
    "multiclass_sparsemax_loss": lambda o: losses.multiclass_sparsemax_loss(o, LABELS),
    "sigmoid_binary_cross_entropy": lambda o: losses.sigmoid_binary_cross_entropy(o, BITS),
    "sigmoid_focal_loss": lambda o: losses.sigmoid_focal_loss(o, BITS, alpha=0.3),
    "softmax_cross_entropy": lambda o: losses.softmax_cross_entropy(o, TARGETS),
    "safe_softmax_cross_entropy": lambda o: losses.safe_softmax_cross_entropy(o, TARGETS),
    "softmax_cross_entropy_with_integer_labels": lambda o: losses.softmax_cross_entropy_with_integer_labels(o, LABELS),
    "poly_loss_cross_entropy": lambda o: losses.poly_loss_cross_entropy(o, TARGETS),
    "kl_divergence": lambda o: losses.kl_divergence(o, TARGETS),
    "generalized_kl_divergence": lambda o: losses.generalized_kl_divergence(o, TARGETS),
    "ranking_softmax_loss": lambda o: losses.ranking_softmax_loss(o, BITS),
    "triplet_margin_loss": lambda o: losses.triplet_margin_loss(o, TARGETS, o[::-1] * SIGNS),
    "ntxent": lambda o: losses.ntxent(o, np.array([0, 1, 0])),
    "ctc_loss": lambda o: losses.ctc_loss(o[..., None] * SIGNS[:, None], *NOT_PADDED),
}


@pytest.fixture(scope="module")
def gradients_of_losses():
    """Value and gradient of every loss by the tape and by JAX, in one program."""

    def both(o):
        by_name = {}
        for name, loss in OPTAX_LOSSES.items():
            total = lambda o, loss=loss: jnp.sum(loss(o) * jnp.cos(jnp.arange(loss(o).size)).reshape(loss(o).shape))
            by_name[name] = reverse(total)(o), jax.value_and_grad(total)(o)
        return by_name

    with jax.numpy_rank_promotion("allow"):
        return quick_jit(both)(jax.random.normal(jax.random.key(5), SCORES))


@pytest.mark.thorough
@pytest.mark.parametrize("name", OPTAX_LOSSES)
def test_losses_of_optax(name, gradients_of_losses):
    by_tape, by_jax = gradients_of_losses[name]
    assert np.any(by_jax[1])
    assert relative_error(by_tape, by_jax) < 1e-13


def test_through_a_training_with_adam(keys):
    """The error after three steps of Adam, by its learning rate and the initial weights."""
    x, target = jax.random.normal(next(keys), (5, 3)), jax.random.normal(next(keys), (5,))
    error = lambda w: jnp.mean((jnp.tanh(x @ w) - target) ** 2)

    def after_training(gradient):
        def train(rate, w):
            optimizer = optax.adam(rate)

            def step(carry, _):
                w, state = carry
                updates, state = optimizer.update(gradient(w), state)
                return (optax.apply_updates(w, updates), state), None

            return error(jax.lax.scan(step, (w, optimizer.init(w)), length=3)[0][0])

        return train

    def both(rate, w):
        by_tape = reverse(after_training(lambda w: reverse(error)(w)[1]), (0, 1))(rate, w)
        return by_tape, jax.value_and_grad(after_training(jax.grad(error)), (0, 1))(rate, w)

    by_tape, by_jax = quick_jit(both)(0.1, jax.random.normal(next(keys), (3,)))
    assert all(np.any(leaf) for leaf in jax.tree.leaves(by_jax))
    assert relative_error(by_tape, by_jax) < 1e-12
