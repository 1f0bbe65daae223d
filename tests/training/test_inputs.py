"""What `fit`, `trial` and their relatives take as arguments, and the sentence for everything else."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from linear_unit import RULE, SGD, linear

import bpjax as bp

KEY = jax.random.key(1)
PARAMS, (X, TARGET) = linear()[1:]


def fit(**changed):
    given = {"rule": RULE, "optimizer": SGD, "params": PARAMS, "data": (X, TARGET), "key": KEY, "epochs": 30} | changed
    return bp.fit(**given)


def trial(**changed):
    given = {"rule": RULE, "optimizer": SGD, "params": PARAMS, "data": (X, TARGET), "key": KEY, "epochs": 30} | changed
    return bp.trial(**given)


BOTH = {
    "epochs 2.7": (dict(epochs=2.7), "`epochs` to be an integer ≥ 1, got 2.7"),
    "epochs text": (dict(epochs="9"), "`epochs` to be an integer ≥ 1, got '9'"),
    "epochs True": (dict(epochs=True), "`epochs` to be an integer ≥ 1, got True"),
    "epochs huge": (dict(epochs=2**40), "`epochs` to be an integer ≥ 1 and ≤ 2147483647, got 1099511627776"),
    "epochs many": (dict(epochs=np.array([3, 4])), "`epochs` to be an integer ≥ 1, got int64[2]"),
    "batch_size 2.0": (dict(batch_size=2.0), "`batch_size` to be an integer ≥ 1, got 2.0"),
    "batch_size key": (dict(batch_size=KEY), "`batch_size` to be an integer ≥ 1, got key<fry>[]"),
    "batch_size 0": (dict(batch_size=0), "`batch_size` to be an integer ≥ 1, got 0"),
    "shuffle text": (dict(shuffle="no"), "`shuffle` to be True or False, got 'no'"),
    "key 0": (dict(key=0), "`key` to be one random key, got 0. Make one: `jax.random.key(0)`"),
    "keys": (dict(key=jax.random.split(KEY, 3)), "`key` to be one random key, got key<fry>[3]"),
    "swapped": (dict(rule=bp.momentum(0.1, 0.9), optimizer=RULE), "got momentum(0.1, 0.9). The order is `"),
    "second swapped": (
        dict(optimizer=RULE),
        "an optax optimizer as its second argument, got backprop(dense(1), ",
    ),
    "network": (dict(rule=bp.dense(1)), "a learning rule as its first argument, got dense(1). Make one: `bp.backprop"),
    "rule not called": (dict(rule=bp.backprop), "got backprop. Call it first: `backprop(network, loss)`"),
    "not called": (dict(optimizer=bp.momentum), "got momentum. Call it first, with its hyperparameters: `momentum"),
    "optax.adam": (dict(optimizer=optax.adam), "got adam. Call it first, with its hyperparameters: `adam(...)`"),
    "a rate": (dict(optimizer=0.1), "an optax optimizer as its second argument, got 0.1. For example: `optax.adam"),
    "params of init": (dict(params=bp.dense(1).init), "`params`, the weights, got init. Make them: `params, out_shape"),
    "params text": (dict(params="w"), "`params` to be a pytree of arrays, got 'w'"),
    "params NaN": (dict(params=jax.tree.map(lambda w: w * jnp.nan, PARAMS)), "finite numbers in `params.w`"),
    "data None": (dict(data=None), "a batch `(x, target)`, got None"),
    "data x": (dict(data=X), "a batch `(x, target)`, got float64[10,3]"),
    "data task": (dict(data=bp.xor()), "got Task('xor', in_shape=(2,), out_shape=(1,)). Call `present()`"),
    "data texts": (dict(data=("ab", "cd")), "`x` to be an array of numbers, got 'ab'"),
    "data Nones": (dict(data=(None, TARGET)), "`x` to be an array of examples, got None"),
    "target text": (dict(data=(X, "cd")), "`target` to be an array of numbers, got 'cd'"),
    "validation": (dict(validation=X), "a batch `(x, target)`, got float64[10,3]"),
}


@pytest.mark.parametrize("function", [fit, trial])
@pytest.mark.parametrize("name", BOTH)
def test_wrong_arguments_of_a_training_are_named(function, name):
    changed, message = BOTH[name]
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        function(**changed)
    assert f"`{function.__name__}`" in str(caught.value) and "\n" not in str(caught.value)


def test_wrong_arguments_of_fit_alone():
    for changed, message in (
        (dict(chunk=2.5), "`chunk` to be an integer ≥ 1, got 2.5"),
        (dict(on_chunk=3), "`on_chunk` to be a function, got 3"),
    ):
        with pytest.raises(ValueError, match=message):
            fit(**changed)


def test_arguments_of_other_types_are_as_good():
    expected = fit(batch_size=5, chunk=10)
    x, target = np.asarray(X), np.asarray(TARGET)
    others = [
        dict(epochs=np.int64(30), batch_size=np.int8(5), chunk=np.uint16(10), shuffle=np.True_),
        dict(epochs=jnp.int32(30), batch_size=np.array(5)),
        dict(data=[x, target], validation=None, stops=None),
        dict(data=(x.tolist(), target.tolist())),
        dict(data=(x.astype(object), target)),
        dict(params=jax.tree.map(np.asarray, PARAMS)),
    ]
    for changed in others:
        result = fit(**{"batch_size": 5, "chunk": 10} | changed)
        np.testing.assert_array_equal(result.params.w, expected.params.w)


def test_a_key_of_the_old_kind_trains():
    assert fit(key=jax.random.PRNGKey(1)).epochs == 30


def test_params_in_a_list_train_as_in_a_tuple():
    network = bp.chain(bp.dense(2), bp.tanh, bp.dense(1))
    params, _ = network.init(KEY, (3,))
    rule = bp.backprop(network, bp.squared_error)
    one, other = (fit(rule=rule, params=kind(params)) for kind in (tuple, list))
    np.testing.assert_array_equal(one.params[0].w, other.params[0].w)
    made = trial(rule=rule, params=list(params))
    jax.eval_shape(made.program.epoch, made.start)
    with pytest.raises(ValueError, match="expected a tuple of 3 params, got 2"):
        fit(rule=rule, params=list(params)[:2])


def test_a_network_whose_params_are_a_list_keeps_it():
    network = bp.from_function(lambda key, shape: ([jnp.ones((3, 1))], (1,)), lambda p, x: x @ p[0], "line")
    params, _ = network.init(KEY, (3,))
    result = fit(rule=bp.backprop(network, bp.squared_error), params=params)
    assert isinstance(result.params, list)


def test_a_traced_limit_of_epochs_is_an_integer():
    limits = jax.vmap(lambda epochs: trial(epochs=epochs).start.limit)(jnp.array([3, 5]))
    assert limits.tolist() == [3, 5]
    with pytest.raises(ValueError, match=r"`epochs` to be an integer, got float64\[\] while it is traced"):
        jax.vmap(lambda epochs: trial(epochs=epochs).start.limit)(jnp.array([2.7]))


TRAINING = bp.training.make_training(RULE, SGD)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: bp.training.make_training(SGD, RULE), "a learning rule as its first argument"),
        (lambda: bp.training.make_training(RULE, optax.sgd), "got sgd. Call it first"),
        (lambda: bp.training.make_training(RULE, SGD, chunk=2.5), "`chunk` to be an integer"),
        (lambda: bp.training.make_training(RULE, SGD, 0.1), "a stop or a tuple of stops, got 0.1"),
        (lambda: bp.make_train_step(SGD, RULE), "`make_train_step` expected a learning rule as its first argument"),
        (lambda: bp.make_train_step(RULE, bp.rprop), "got rprop. Call it first"),
        (lambda: bp.training.run_to_end(None, None), "`advance` to be a function, got None"),
        (lambda: bp.training.run_to_end(TRAINING.epoch, PARAMS), "`run` to be a Run"),
        (lambda: bp.training.restart_unsolved(RULE, None, None, KEY, 3), "`training` to be a Training"),
        (
            lambda: bp.training.restart_unsolved(TRAINING, PARAMS, TRAINING.init(KEY, PARAMS, 3), KEY, 3),
            "`start` to be a function",
        ),
        (
            lambda: bp.training.restart_unsolved(TRAINING, lambda key: PARAMS, TRAINING.init(KEY, PARAMS, 3), KEY, 2.5),
            "`epochs` to be an integer ≥ 1, got 2.5",
        ),
    ],
    ids=lambda case: case if isinstance(case, str) else "",
)
def test_wrong_arguments_of_the_parts_are_named(call, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        call()


def test_warm_up_from_0_trains():
    schedule = optax.warmup_cosine_decay_schedule(0.0, 0.05, 5, 30)
    history = fit(optimizer=bp.momentum(schedule, 0.5)).history
    assert history.learning_rate[0] == 0.0 and history.error[-1] < history.error[0]


def test_records_print_on_one_short_line():
    result = fit(epochs=30, chunk=10)
    curves = "error, gradient_norm, validation_error, refused"
    assert repr(result) == f"Fit('epoch limit', epochs=30, error={result.history.error[-1]:.4g})"
    assert repr(result.history) == f"History({curves}; 30 epochs)"
    assert repr(result.state).startswith("TrainState(4 params, ")
    assert repr(bp.error_below(0.1)) == "Stop('error below goal', 0.1)"
    assert repr(bp.stop_when(lambda now: True, "now")) == "Stop('now', ())"
    assert repr(TRAINING) == "Training(reasons=('running', 'diverged', 'epoch limit'))"
    made = trial(watch={"w": lambda run: run.params.w})
    assert repr(made.start) == "Run(epoch 0 of 30, reason 0, error=nan)"
    assert repr(made.program) == "Program(stops: diverged, epoch limit; watch: w)"
    many = jax.vmap(functools.partial(TRAINING.init, epochs=3), (0, None))(jax.random.split(KEY, 2), PARAMS)
    assert repr(many) == "Run(epoch=int32[2])"
