"""Complex numbers are refused in a sentence that says what to do, by every layer and loss; optimizers take them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bpjax as bp
from bpjax.gradcheck.cases.case import LayerCase
from bpjax.gradcheck.registry import ACTIVATIONS, LAYERS, LOSSES

REFUSED = "Complex numbers are not supported: make two real arrays"
KEY = jax.random.key(0)
NETWORK = bp.mlp((3, 4, 2))
PARAMS, X, T = NETWORK.init(KEY, (3,))[0], jnp.ones((5, 3)), jnp.ones((5, 2))
CASES = {**LAYERS, **{name: LayerCase(layer, (6,)) for name, layer in ACTIVATIONS.items()}}
BY_JAX = [name for name in CASES if name.startswith("from_function")]  # differentiated by JAX, in its convention


def turned(tree):
    """Complex numbers in place of real ones."""
    return jax.tree.map(lambda a: a * (1 + 0.5j) if jnp.issubdtype(a.dtype, jnp.floating) else a, tree)


@pytest.mark.thorough
@pytest.mark.parametrize("name", [name for name in CASES if name not in BY_JAX])
def test_every_layer_refuses(name):
    case = CASES[name]
    draw = lambda key: turned((case.layer.init(key, case.in_shape)[0], case.inputs(key, 3, case.in_shape)))
    with pytest.raises(ValueError, match=REFUSED):
        jax.eval_shape(case.layer.forward, *jax.eval_shape(draw, KEY))


@pytest.mark.thorough
@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_refuses(name):
    case = LOSSES[name]
    with pytest.raises(ValueError, match=REFUSED):
        jax.eval_shape(case.loss.value, jnp.ones((4, 5), complex), case.target(KEY, (4, 5)))


RULE, SGD = bp.backprop(NETWORK, bp.squared_error), bp.momentum(0.1)
CALLS = {
    "a rule": lambda params, x: RULE.grads(params, (), (x, T)),
    "a step": lambda params, x: bp.make_train_step(RULE, SGD)(
        bp.training.TrainState(params, SGD.init(params), ()), (x, T)
    ),
    "fit": lambda params, x: bp.fit(RULE, SGD, params, (x, T), key=KEY, epochs=1),
    "a sweep": lambda params, x: bp.sweep(
        lambda key, rate: bp.trial(RULE, bp.momentum(rate), params, (x, T), key=key, epochs=1),
        {"rate": [0.1]}, key=KEY, progress=False,
    ),
    "predict": lambda params, x: bp.predict(NETWORK, params, x),
    "a receipt": lambda params, x: bp.receipt(RULE, params, (x, T), key=KEY, show=False),
    "the ledger": lambda params, x: bp.ledger(bp.backprop, NETWORK, bp.squared_error, params, (x, T), key=KEY),
    "signals": lambda params, x: bp.signals(NETWORK, bp.squared_error)(params, (x, T)),
}  # fmt: skip


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_training_refuses_complex_weights_and_complex_data(call):
    for params, x in ((turned(PARAMS), X), (PARAMS, turned(X))):
        with pytest.raises(ValueError, match=REFUSED):
            call(params, x)


def test_optimizers_take_real_and_imaginary_parts_as_two_weights():
    """v ← ½ v − η g for both parts; the gradient is that of the caller's convention."""
    optimizer = bp.momentum(0.1, 0.5)
    w = jnp.asarray([1 + 2j, -1j])
    state = optimizer.init(w)
    first, state = optimizer.update(jnp.asarray([1 + 1j, 2j]), state, w)
    second, _ = optimizer.update(jnp.asarray([1 - 1j, 0j]), state, w)
    np.testing.assert_allclose(first, [-0.1 - 0.1j, -0.2j], rtol=1e-14)
    np.testing.assert_allclose(second, [-0.15 + 0.05j, -0.1j], rtol=1e-14)
