"""Quantities along a training: the values against NumPy, the epochs, the cost, and what is said of wrong functions."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from linear_unit import RULE, SGD, UNIT, linear, numpy_epochs

import bpjax as bp

KEY = jax.random.key(1)
FIT = functools.partial(bp.fit, *(RULE, SGD, *linear()[1:]), key=KEY, epochs=13, chunk=5)
OTHER = linear()[2][0] + 1.0, linear()[2][1]


def weights(run):
    return run.params.w


def error_elsewhere(run):
    return 0.5 * jnp.sum((UNIT.forward(run.params, OTHER[0])[0] - OTHER[1]) ** 2)


WATCH = {"w": weights, "elsewhere": error_elsewhere}


def by_numpy(epochs):
    """(weights after some epochs, their error on the other data)."""
    w, b, _ = numpy_epochs(*linear()[1:], [10], epochs)
    return w, 0.5 * ((np.asarray(OTHER[0]) @ w + b - np.asarray(OTHER[1])) ** 2).sum()


@pytest.mark.parametrize("at", [[2, 3, 7, 12, 13], None, np.array([5, 1]), range(4, 99, 4), {6}, []], ids=str)
def test_the_values_are_those_of_the_weights_after_the_epoch(at):
    history = FIT(watch=WATCH, watch_at=at).history
    expected = [epoch for epoch in range(1, 14) if at is None or epoch in at]
    assert history.watched_at.tolist() == expected
    assert history.watched["w"].shape == (len(expected), 3, 1)
    assert history.watched["elsewhere"].shape == (len(expected),)
    for row, epoch in enumerate(expected):
        w, error = by_numpy(epoch)
        np.testing.assert_allclose(history.watched["w"][row], w, rtol=1e-12)
        assert history.watched["elsewhere"][row] == pytest.approx(error, rel=1e-12)
    assert len(history.error) == 13


def test_a_training_is_the_same_with_and_without_watch():
    plain, watched = FIT(), FIT(watch=WATCH, watch_at=[2, 3, 7, 12, 13])
    np.testing.assert_array_equal(plain.history.error, watched.history.error)
    np.testing.assert_array_equal(plain.params.w, watched.params.w)
    assert plain.history.watched == {} and plain.history.watched_at.tolist() == []


def test_a_run_that_stops_has_no_values_after_its_end():
    result = FIT(
        watch={"w": weights}, watch_at=range(2, 14, 2), stops=bp.stop_when(lambda now: now.epoch >= 8, "eight")
    )
    assert result.epochs == 8 and result.history.watched_at.tolist() == [2, 4, 6, 8]
    np.testing.assert_array_equal(result.history.watched["w"][-1], result.params.w)  # those that the run keeps


def test_a_pytree_is_followed_leaf_by_leaf():
    history = FIT(watch={"params": lambda run: {"now": run.params, "epoch": run.epoch}}, watch_at=[6, 11]).history
    assert history.watched["params"]["epoch"].tolist() == [6, 11]
    np.testing.assert_allclose(history.watched["params"]["now"].w[1], by_numpy(11)[0], rtol=1e-12)


def test_it_is_computed_at_the_chosen_epochs_alone_and_compiled_once():
    seen, traces = [], []

    def spy(run):
        traces.append(1)
        jax.debug.callback(lambda epoch: seen.append(int(epoch)), run.epoch)
        return run.error

    FIT(watch={"spy": spy}, watch_at=[3, 9])
    jax.effects_barrier()
    assert sorted(seen) == [3, 9]
    once = len(traces)
    FIT(watch={"spy": spy}, watch_at=[4, 11])  # other epochs, as many a chunk
    jax.effects_barrier()
    assert sorted(seen) == [3, 4, 9, 11]
    assert len(traces) == once


WRONG = {
    "a function": (dict(watch=weights), "`watch` to be {name: function}, got weights"),
    "no function": (dict(watch={"w": 3}), "`watch['w']` to be a function of the run, got 3"),
    "no name": (dict(watch={3: weights}), "expected `watch` to be a text, got 3"),
    "epochs alone": (dict(watch_at=[1]), "`watch={name: function}` beside `watch_at`, got none"),
    "one number": (dict(watch=WATCH, watch_at=5), "a list of epochs such as `range(10, 14, 10)`, got 5"),
    "a text": (dict(watch=WATCH, watch_at="21"), "a list of epochs"),
    "a fraction": (dict(watch=WATCH, watch_at=[1.7]), "integer ≥ 1, got 1.7"),
    "epoch 0": (dict(watch=WATCH, watch_at=[0]), "integer ≥ 1, got 0"),
    "exception": (dict(watch={"x": lambda run: run.weights}), "which raised AttributeError in line"),
    "nothing": (dict(watch={"x": lambda run: None}), "expected an array from the watch 'x' function `<lambda>`"),
    "a word": (dict(watch={"x": lambda run: "word"}), "expected an array from the watch 'x' function `<lambda>`"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_arguments_are_named(name):
    arguments, message = WRONG[name]
    with pytest.raises(ValueError, match=re.escape(message)):
        FIT(**arguments)


TRIAL = functools.partial(bp.trial, *(RULE, SGD, *linear()[1:]), key=KEY, epochs=20)


def test_a_trial_passes_on_its_functions_and_the_run_has_params():
    made = TRIAL(watch=WATCH, outcome=lambda run: {"bias": run.params.b, "two": [1, 2.5]})
    values = {name: function(made.start) for name, function in made.program.watch.items()}
    np.testing.assert_array_equal(values["w"], linear()[1].w)
    assert float(values["elsewhere"]) == pytest.approx(by_numpy(0)[1], rel=1e-12)
    stored = made.program.outcome(made.start)
    assert sorted(stored) == ["bias", "epochs", "error", "refused", "two"]
    np.testing.assert_array_equal(stored["bias"], linear()[1].b)
    assert stored["two"].tolist() == [1.0, 2.5]


def of_no_field(run):
    weights = run.weights
    return {"w": weights}


OUTCOMES = {
    "exception": (of_no_field, "`of_no_field` (test_watch.py, line {}), which raised AttributeError in line {}: "),
    "ours": (lambda run: {"error": run.error, "solved": run.error}, "other names in `outcome` than error, solved"),
    "no dictionary": (lambda run: run.error, "{{name: array}} from the outcome function `<lambda>`"),
    "a pytree": (lambda run: {"params": run.params}, "an array of numbers for 'params' from the outcome function"),
    "nothing": (lambda run: {"w": None}, "an array of numbers for 'w'"),
    "no name": (lambda run: {3: run.error}, "expected texts as names in `outcome`, got 3"),
    "twice": (lambda run: {"w": run.error}, "other names for `outcome` than for `watch`, got ['w'] in both"),
}


@pytest.mark.parametrize("name", OUTCOMES)
def test_a_wrong_outcome_is_named_with_its_line(name):
    outcome, message = OUTCOMES[name]
    line = of_no_field.__code__.co_firstlineno
    with pytest.raises(ValueError, match=re.escape(message.format(line, line + 1))):
        made = TRIAL(outcome=outcome, watch=WATCH)
        jax.eval_shape(made.program.outcome, made.start)


@pytest.mark.parametrize("name", ["error", "epochs", "reason", "curve", "epoch", "seed"])
def test_a_trial_refuses_the_names_of_a_sweep(name):
    with pytest.raises(ValueError, match=f"expected other names in `watch` than {name}: .* final_{name}"):
        TRIAL(watch={name: weights})


def test_a_trial_watches_arrays_alone():
    made = TRIAL(watch={"params": lambda run: run.params})
    with pytest.raises(ValueError, match="expected an array from the watch 'params' function .*, got Affine"):
        made.program.watch["params"](made.start)
