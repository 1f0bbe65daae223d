"""Reasons to stop of the user's own, against trajectories by NumPy; time; what is said of a condition that fails."""

import functools
import re
import sys
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sweeping
from linear_unit import RATE, RULE, SGD, UNIT, linear, numpy_epochs

import bpjax as bp

KEY = jax.random.key(1)
FIT = functools.partial(bp.fit, *(RULE, SGD, *linear()[1:]), key=KEY, epochs=30, chunk=30)


def weights_of(epochs):
    """The weights after some epochs of gradient descent with all examples, by NumPy."""
    w, b, _ = numpy_epochs(*linear()[1:], [10], epochs)
    return w, b


def test_it_stops_on_a_weight_and_keeps_the_weights_that_it_saw():
    path = [np.abs(weights_of(epochs)[0]).max() for epochs in range(12)]
    bound = (path[3] + path[4]) / 2
    last = next(epochs for epochs, size in enumerate(path) if (size < bound) != (path[0] < bound))
    assert last > 1

    def crossed(now):
        return (jnp.abs(now.params.w).max() < bound) != (path[0] < bound)

    result = FIT(stops=bp.stop_when(crossed, "crossed"))
    assert (result.reason, result.epochs) == ("crossed", last + 1)  # which measures the weights after `last` epochs
    np.testing.assert_allclose(result.params.w, weights_of(last)[0], rtol=1e-12)


def test_with_batches_it_sees_the_weights_after_the_epoch_and_the_validation_data():
    _, params, batch = linear()
    validation = batch[0][::-1] + 0.3, batch[1]

    def right(epochs):
        w, b, _ = numpy_epochs(params, batch, [5, 5], epochs)
        return (((np.asarray(validation[0]) @ w + b) > 0) == (np.asarray(validation[1]) > 0)).mean()

    shares = [right(epochs) for epochs in range(1, 31)]
    first = next(epoch for epoch, share in enumerate(shares, 1) if share != shares[0])
    better = shares[first - 1] > shares[0]

    def changed(now):
        share = bp.accuracy(UNIT, now.params, now.validation, threshold=0.0)
        return share > shares[0] + 0.01 if better else share < shares[0] - 0.01

    stop = bp.stop_when(changed, "another accuracy")
    result = FIT(stops=stop, validation=validation, batch_size=5, shuffle=False)
    assert (result.reason, result.epochs) == ("another accuracy", first)
    w, b, _ = numpy_epochs(params, batch, [5, 5], first)
    np.testing.assert_allclose(result.params.b, b, rtol=1e-12)


def test_it_reads_what_the_history_records():
    """Each field, at the first epoch where its curve is on the other side of a bound than at the start."""
    x, target = linear()[2]
    validation = x + 0.3, 3 * target
    history = FIT(validation=validation).history
    for field in ("error", "gradient_norm", "validation_error"):
        curve = getattr(history, field)
        bound, starts_below = (curve[3] + curve[4]) / 2, bool(curve[0] < (curve[3] + curve[4]) / 2)
        epoch = 1 + int(np.argmax((curve < bound) != starts_below))
        assert epoch > 1

        def crossed(now, field=field, bound=bound, starts_below=starts_below):
            return (getattr(now, field) < bound) != starts_below

        assert FIT(validation=validation, stops=bp.stop_when(crossed, "crossed")).epochs == epoch


def spy_network():
    """A linear unit, and a list that grows whenever its forward pass is traced."""
    traces = []

    def forward(params, x):
        traces.append(1)
        return UNIT.forward(params, x)

    return UNIT._replace(forward=forward), traces


def test_what_no_stop_reads_is_not_traced():
    _, params, batch = linear()
    counts = []
    for condition in (lambda now: now.error < 0, lambda now: now.worst_output < 0):
        network, traces = spy_network()
        rule = bp.backprop(network, bp.squared_error)
        training = bp.training.make_training(rule, SGD, bp.stop_when(condition, "never"))
        run = training.init(KEY, params, 3)
        jax.eval_shape(training.epoch, run, batch)
        counts.append(len(traces))
    assert counts == [1, 2]  # the forward pass of the gradient, and that for the worst output


def test_the_same_function_compiles_once_and_one_that_cannot_be_hashed_works():
    traces = []

    class Small:
        __hash__ = None

        def __call__(self, now):
            traces.append(1)
            return now.error < 0.0

    def small(now):
        traces.append(1)
        return now.error < 0.0

    FIT(stops=bp.stop_when(small, "small"))
    once = len(traces)
    FIT(stops=bp.stop_when(small, "small"))
    assert len(traces) == once
    assert FIT(stops=bp.stop_when(Small(), "small")).reason == "epoch limit"
    assert len(traces) > once


@pytest.fixture
def clock(monkeypatch):
    """Each look at the clock of `fit` comes a second after the last one."""
    seconds = iter(range(1000))
    monkeypatch.setattr(sys.modules["bpjax.training.fit"], "time", SimpleNamespace(monotonic=lambda: next(seconds)))


def test_time_is_looked_at_after_each_chunk(clock):
    limit = bp.training.time_limit(3)
    result = FIT(epochs=100, chunk=7, stops=limit)
    assert (result.reason, result.epochs) == ("time limit", 21)  # 7 epochs a second
    np.testing.assert_allclose(result.params.w, weights_of(21)[0], rtol=1e-12)
    assert len(result.history.error) == 21
    earlier = FIT(epochs=100, chunk=7, stops=(bp.stop_when(lambda now: now.epoch >= 9, "nine"), limit))
    assert (earlier.reason, earlier.epochs) == ("nine", 9)


def test_a_sweep_refuses_time():
    rule, params, batch = linear()
    with pytest.raises(ValueError, match="must not depend on the speed of the machine. Limit `epochs`"):
        bp.trial(rule, SGD, params, batch, key=KEY, stops=bp.training.time_limit(3))


def of_no_field(now):
    limit = 0.1
    return now.loss < limit


CONDITIONS = {
    "exception": (of_no_field, "`of_no_field` .test_conditions.py, line {}., which raised AttributeError in line {}: "),
    "python if": (lambda now: bool(now.error), "TracerBoolConversionError .* `jnp.where` in place of Python's `if`"),
    "number": (lambda now: now.error, r"one boolean from the condition function `<lambda>` .*, got float64\[\]"),
    "many": (lambda now: now.params.w > 0, r"got bool\[3, 1\]. .* `.all\(\)`"),
    "none": (lambda now: None, "got None"),
    "no validation": (lambda now: now.validation_error < 0, r"give `validation=\(x, target\)`"),
}


@pytest.mark.parametrize("name", CONDITIONS)
def test_a_condition_that_fails_is_named_with_its_line(name):
    condition, message = CONDITIONS[name]
    line = of_no_field.__code__.co_firstlineno
    with pytest.raises(ValueError, match=message.format(line, line + 2)) as caught:
        FIT(stops=bp.stop_when(condition, "stop"))
    assert "\n" not in str(caught.value)
    if name == "exception":
        assert isinstance(caught.value.__cause__, AttributeError)
        assert caught.value.__cause__.__traceback__ is not None


STOPS = {
    "not called": (bp.error_below, "got error_below. Stops are made by calls"),
    "a function": (lambda now: now.error < 1, r"`bp.stop_when\(f, \"reason\"\)`"),
    "a number": (0.1, "a stop or a tuple of stops, got 0.1"),
    "one of several": ((bp.error_below(0.1), 0.2), "got 0.2"),
    "a text": ("error", "got 'error'"),
}


@pytest.mark.parametrize("name", STOPS)
def test_what_is_no_stop_is_refused(name):
    stops, message = STOPS[name]
    with pytest.raises(ValueError, match=message):
        FIT(stops=stops)


def test_lists_of_stops_and_none_are_stops():
    below = bp.error_below(1e9)
    assert FIT(stops=[below]).reason == FIT(stops=(below,)).reason == "error below goal"
    assert FIT(stops=None).reason == "epoch limit"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: bp.stop_when("reason", lambda now: True), "`condition` to be a function, got 'reason'"),
        (lambda: bp.stop_when(lambda now: True, 3), "`reason` to be a text, got 3"),
        (lambda: bp.stop_when(lambda now: True, "epoch limit"), "another reason than 'epoch limit'"),
        (lambda: bp.training.time_limit(0), "finite number > 0, got 0"),
        (lambda: bp.training.time_limit("1 h"), "got '1 h'"),
    ],
)
def test_factories_of_stops_check_their_arguments(call, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        call()


def test_in_a_trial_the_condition_sees_the_same_weights():
    _, params, batch = linear()
    stop = bp.stop_when(lambda now: now.epoch >= 4, "four")
    made = bp.trial(RULE, SGD, params, batch, key=KEY, epochs=10, stops=stop)
    run = jax.jit(lambda run: jax.lax.scan(lambda r, _: made.program.epoch(r), run, None, length=6)[0])(made.start)
    assert made.program.reasons[int(run.reason)] == "four" and int(run.epoch) == 4
    np.testing.assert_allclose(run.params.w, weights_of(3)[0], rtol=1e-12)
    assert RATE == 0.05 and jnp.isfinite(run.error)


def test_a_condition_that_is_no_success():
    """In a sweep such a run is not solved, and its reason names the condition."""

    def trial(key, rate):
        stops = (bp.stop_when(lambda now: now.epoch >= 3, "given up", success=False), bp.error_below(1e-9))
        params, _ = sweeping.NETWORK.init(key, (2,))
        return bp.trial(
            sweeping.RULE, bp.momentum(rate, 0.0), params, bp.xor().present(), key=key, epochs=9, stops=stops
        )

    result = bp.sweep(trial, {"rate": [0.5], "seed": range(2)}, key=jax.random.key(0))
    assert result.epochs.values.tolist() == [[3, 3]] and not result.solved.any()
    assert result.reason.attrs["flag_meanings"].split()[int(result.reason[0, 0])] == "given_up"
