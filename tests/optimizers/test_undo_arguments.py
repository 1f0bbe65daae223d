"""What `take_step`, `static_part`, `fan_in` and the bounds of rates refuse."""

# pyright: reportArgumentType=false, reportCallIssue=false, reportAttributeAccessIssue=false

import jax
import jax.numpy as jnp
import pytest

import bpjax as bp
from bpjax import optimizers

W = jnp.ones(2)
SGD = bp.momentum(0.1, 0.5)
STATE = SGD.init(W)

WRONG = {
    "an uncalled factory": (
        lambda: optimizers.take_step(bp.momentum, W, STATE, W, 1.0),
        "`optimizer` to be a Gradient",
    ),
    "texts as gradient": (lambda: optimizers.take_step(SGD, "word", STATE, W, 1.0), "`grads` of arrays and numbers"),
    "other params": (lambda: optimizers.take_step(SGD, W, STATE, jnp.ones(3), 1.0), r"`grads` of shape \(3,\)"),
    "no error": (lambda: optimizers.take_step(SGD, W, STATE, W, None), "`value` to be an array of numbers, got None"),
    "errors": (lambda: optimizers.take_step(SGD, W, STATE, W, jnp.ones(2)), "`value` to be one number, the error"),
    "a key as error": (lambda: optimizers.take_step(SGD, W, STATE, W, jax.random.key(0)), "`value` to be one number"),
    "no optimizer": (lambda: optimizers.static_part(3), "`optimizer` to be a GradientTransformation, got 3"),
    "a layer": (lambda: optimizers.fan_in(bp.tanh), "`params` of arrays and numbers"),
    "a number as name": (lambda: optimizers.hyperparameter(STATE, 3), "`name` to be a text, got 3"),
    "a text as bound": (lambda: bp.rprop(largest="word"), "`largest`"),
    "no bound": (lambda: bp.rprop(largest=None), "`largest`"),
    "too large a bound": (lambda: bp.rprop(largest=10**400), "`largest`"),
}


@pytest.mark.parametrize(("call", "words"), WRONG.values(), ids=WRONG)
def test_wrong_arguments(call, words):
    with pytest.raises(ValueError, match=words):
        call()
