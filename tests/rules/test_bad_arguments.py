"""Wrong arguments of rules and of their predictions: one sentence, on one line."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bpjax as bp
from bpjax.layers import unit_length
from bpjax.rules import ff_goodness, ff_predict, mono_forward, mono_predict, sign_symmetry

KEY = jax.random.key(0)
HIDDEN = bp.chain(bp.dense(4), bp.relu, unit_length, bp.dense(2))
WEIGHTS = HIDDEN.init(KEY, (6,))[0]
NETWORK = bp.mlp((3, 4, 2))
PARAMS = NETWORK.init(KEY, (3,))[0]
HEADS = mono_forward(NETWORK, bp.softmax_cross_entropy).init(KEY, PARAMS)
X = jnp.ones((5, 3))

BAD = {
    "no params": (lambda: ff_goodness(HIDDEN, (), jnp.ones((2, 6)), 2), "network with weights and params"),
    "params of nothing": (lambda: ff_goodness(HIDDEN, 2j, jnp.ones((2, 6)), 2), "network with weights and params"),
    "one number": (lambda: ff_goodness(HIDDEN, WEIGHTS, jnp.float64(1), 2), r"examples `x` of shape \(N, ...\)"),
    "no example": (lambda: ff_predict(HIDDEN, WEIGHTS, jnp.ones((0, 6)), 2), r"at least one, got \(0, 6\)"),
    "an infinity": (lambda: ff_predict(HIDDEN, WEIGHTS, jnp.full((2, 6), jnp.inf), 2), "finite numbers in `x"),
    "too many classes": (lambda: ff_predict(HIDDEN, WEIGHTS, jnp.ones((2, 6)), 7), "`classes` to be an integer ≥ 2"),
    "an empty tree": (lambda: mono_predict(NETWORK, None, HEADS, X), "network with weights and params"),
    "no heads": (
        lambda: mono_predict(NETWORK, PARAMS, [], X),
        r"weights of shapes \[\(4, 2\)\]",
    ),
    "other heads": (lambda: mono_predict(NETWORK, PARAMS, [HEADS[0]._replace(w=X)], X), "one for each hidden layer"),
    "NaN heads": (lambda: mono_predict(NETWORK, PARAMS, [HEADS[0]._replace(w=X * jnp.nan)], X), "finite numbers"),
    "infinite spikes": (lambda: bp.rules.stdp_change(jnp.full((2, 4, 3), jnp.inf), jnp.ones((2, 4, 2))), "finite"),
    "kind": (lambda: sign_symmetry(NETWORK, bp.squared_error, np.array(["a", "b"])), "one of uSF, brSF, frSF"),
}


@pytest.mark.parametrize(("call", "message"), BAD.values(), ids=BAD)
def test_bad_arguments(call, message):
    with pytest.raises(ValueError, match=message) as raised:
        call()
    assert "\n" not in str(raised.value)


def test_predictions_of_right_arguments():
    assert ff_predict(HIDDEN, WEIGHTS, np.ones((2, 6)), 6).shape == (2,)
    assert mono_predict(NETWORK, PARAMS, HEADS, X).shape == (5,)
