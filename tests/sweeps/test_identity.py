"""The identity of a sweep: what changes it, what does not, and how a difference is named."""

import functools
import json
import os
import re
import subprocess
import sys
import textwrap

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import sweeping

import bpjax as bp
from bpjax.sweeps.axes import plan
from bpjax.sweeps.computation import trace
from bpjax.sweeps.identity import differences, identity_of
from bpjax.sweeps.lanes.layout import Layout
from bpjax.sweeps.workers import Job

pytestmark = pytest.mark.usefixtures("as_a_user_runs_it")

X, T = (np.asarray(a, np.float32) for a in bp.xor().present())
LANES, KEY = Layout("lanes", 8, 4, 8), jax.random.key(3)
AXES = {"learning_rate": [0.5, 2.0], "seed": range(3)}


def identity(trial, axes=AXES, key=KEY, curves=(), layout=LANES) -> dict:
    points = plan(trial, axes, key)
    computation, constants = trace(trial, points, key)
    job = Job(computation, constants, layout, tuple(curves), points, key)
    return json.loads(json.dumps(identity_of(job, explained=True)))


def make(x=X, t=T, loss=bp.squared_error, hidden=2, activation=bp.sigmoid, optimizer=None, rule=bp.backprop, **options):
    """The trial of all tests; every argument is something that a user may change."""
    network = bp.mlp((2, hidden, 1), activation, bp.sigmoid, options.pop("weights", bp.uniform(1.0)))
    settings = {"epochs": 20, "stops": bp.outputs_within(0.4)} | options

    def trial(key, learning_rate):
        params, _ = network.init(key, (2,))
        chosen = bp.momentum(learning_rate, 0.5) if optimizer is None else optimizer(learning_rate)
        return bp.trial(rule(network, loss), chosen, params, (x, t), key=key, **settings)

    return trial


def own_loss(factor):
    def value(output, target):
        return factor * jnp.sum((output - target) ** 2)

    return bp.losses.Loss("own", value, jax.grad(value))


def doubled(key, learning_rate):
    return make()(key, 2 * learning_rate)


FLIPPED = X.copy()
FLIPPED.view(np.uint8)[0, 0] ^= 1
CHANGES = {
    "the task": (make(t=np.roll(T, 1)), {}, "the data"),
    "one bit of the data": (make(x=FLIPPED), {}, r"the data \(an array float32\[4, 2\]"),
    "the loss": (make(loss=bp.binary_cross_entropy), {}, "the loss"),
    "a constant of one's own loss": (make(loss=own_loss(2.0)), {"than": make(loss=own_loss(3.0))}, "`value` in test"),
    "the tolerance": (make(stops=bp.outputs_within(0.3)), {}, "the stops, 0.4 there, 0.3 here"),
    "another stop": (make(stops=bp.error_below(0.1)), {}, "the stops"),
    "the number of epochs": (make(epochs=30), {}, "the number of epochs, 20 there, 30 here"),
    "the width": (make(hidden=3), {}, "the network"),
    "the activation": (make(activation=bp.tanh), {}, "the network"),
    "the initial weights": (make(weights=bp.uniform(0.5)), {}, "the initial weights"),
    "the optimizer": (make(optimizer=lambda rate: bp.rprop(rate)), {}, "the optimizer"),
    "a constant of the optimizer": (make(optimizer=lambda rate: bp.momentum(rate, 0.6)), {}, "the optimizer"),
    "an optimizer of optax": (make(optimizer=lambda rate: optax.adam(rate, b1=0.8)), {}, "the optimizer"),
    "the rule": (make(rule=bp.autodiff), {}, "the network"),
    "the batch size": (make(batch_size=2), {}, "the training"),
    "the order of examples": (make(batch_size=2, shuffle=False), {"than": make(batch_size=2)}, "the training"),
    "the outcome": (make(outcome=lambda run: {"w": run.params[0].w}), {}, "the computation"),
    "an operation of the trial": (doubled, {}, "`doubled` in test_identity.py"),
    "the key": (make(), {"key": jax.random.key(4)}, r"key: .*3\]\] there, .*4\]\] here"),
    "the kind of key": (make(), {"key": jax.random.key(3, impl="rbg")}, "key"),
    "the curves": (make(), {"curves": (1, 5)}, r"curves: \[\] there, \[1, 5\] here"),
    "integers for floats": (make(), {"axes": {**AXES, "learning_rate": [1, 2]}}, "the axis `learning_rate`"),
    "the range of draws": (
        make(),
        {"axes": {"learning_rate": bp.log_draws(0.1, 1, 3)}, "axes_there": {"learning_rate": bp.log_draws(1, 2, 3)}},
        r"the axis `learning_rate`: .*1.0, 2.0.*there, .*0.1, 1.0.*here",
    ),
    "an axis": (functools.partial(lambda key, learning_rate, decay: make()(key, learning_rate)),
                {"axes": {**AXES, "decay": [0.1]}}, "the axis `decay`: null there"),
    "the layout": (make(), {"layout": LANES._replace(width=16)}, "layout: .*width.* 8.*there"),
}  # fmt: skip


@pytest.mark.parametrize(("trial", "how", "named"), CHANGES.values(), ids=CHANGES)
def test_what_changes_the_computation_changes_the_identity_and_is_named(trial, how, named):
    how = dict(how)
    there = identity(how.pop("than", make()), how.pop("axes_there", AXES))
    found = differences(there, identity(trial, **how))
    assert any(re.search(named, text) for text in found), found


def test_precision_and_versions_are_named():
    there = identity(make())
    with jax.default_matmul_precision("bfloat16"):
        assert any("precision" in text and "bfloat16" in text for text in differences(there, identity(make())))
    other = {**there, "versions": {**there["versions"], "jax": "0.1.0"}, "computation": "of another version"}
    assert differences(other, there) == [f"JAX 0.1.0 there, {jax.__version__} here"]


class Holder:
    rate = 1.0

    def method(self, key, learning_rate):
        return make()(key, self.rate * learning_rate) if self.rate != 1 else make()(key, learning_rate)


def with_dead_code(key, learning_rate):
    unused = jnp.sin(learning_rate) + jax.random.normal(key).sum()  # noqa: F841
    return make()(key, learning_rate)


def with_more_arguments(factor, key, learning_rate, unused=3):
    return make()(key, learning_rate)


def inside_a_jit(key, learning_rate):
    made = make()(key, learning_rate)
    epoch = jax.jit(made.program.epoch)
    return made._replace(program=made.program._replace(epoch=lambda run: epoch(run)))


NO_CHANGES = {
    "the same in another closure": (make(), {}),
    "a lambda": (lambda key, learning_rate: make()(key, learning_rate), {}),
    "a partial": (functools.partial(with_more_arguments, 7), {}),
    "a method": (Holder().method, {}),
    "code that nothing depends on": (with_dead_code, {}),
    "a jit around the epoch": (inside_a_jit, {}),
    "data of JAX, not of NumPy": (make(x=jnp.asarray(X), t=jnp.asarray(T)), {}),
    "more seeds": (make(), {"axes": {**AXES, "seed": range(50)}}),
    "a finer grid": (make(), {"axes": {**AXES, "learning_rate": np.geomspace(0.1, 1, 20)}}),
    "axes in another order": (make(), {"axes": dict(reversed(AXES.items()))}),
    "points along other values": (make(), {"axes": {"seed": [9], "learning_rate": np.float32([0.25])}}),
    "stops as a tuple": (make(stops=(bp.outputs_within(0.4),)), {}),
}  # fmt: skip


@pytest.mark.parametrize(("trial", "how"), NO_CHANGES.values(), ids=NO_CHANGES)
def test_what_computes_the_same_has_the_same_identity(trial, how):
    assert differences(identity(make()), identity(trial, **how)) == []


def test_the_identity_is_the_same_in_another_process_script_and_directory(tmp_path):
    """Another file, another working directory, another seed of Python's hashes, other names for everything."""
    script = textwrap.dedent("""
        import json, sys
        import jax, numpy as np
        import bpjax as bp
        from bpjax.sweeps.axes import plan
        from bpjax.sweeps.computation import trace
        from bpjax.sweeps.identity import identity_of
        from bpjax.sweeps.lanes.layout import Layout
        from bpjax.sweeps.workers import Job

        net = bp.mlp((2, 2, 1), bp.sigmoid, bp.sigmoid, bp.uniform(1.0))
        examples = [np.asarray(a) for a in bp.xor().present()]

        def another_name(root, **given):
            weights = net.init(root, (2,))[0]
            opt = bp.momentum(given["learning_rate"], 0.5)
            rule = bp.backprop(net, bp.squared_error)
            stops = [bp.outputs_within(0.4)]
            return bp.trial(rule, opt, weights, tuple(examples), key=root, epochs=20, stops=tuple(stops))

        key = jax.random.key(3)
        points = plan(another_name, {"seed": [1], "learning_rate": [4.0]}, key)
        computation, constants = trace(another_name, points, key)
        job = Job(computation, constants, Layout("lanes", 8, 4, 8), (), points, key)
        json.dump(identity_of(job, explained=True), sys.stdout)
    """)
    (tmp_path / "another_script.py").write_text(script)
    environment = {**os.environ, "PYTHONHASHSEED": "7", "JAX_DEFAULT_MATMUL_PRECISION": "highest"}
    done = subprocess.run(
        [sys.executable, "another_script.py"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    with jax.default_matmul_precision("highest"):
        assert differences(json.loads(done.stdout), identity(make())) == []


def test_another_task_in_the_same_store_is_refused(tmp_path):
    """The worst of the stale results: the same function, with a global that has changed."""
    batch = [sweeping.NETWORK, bp.xor().present()]

    def trial(key, learning_rate):
        params, _ = batch[0].init(key, (2,))
        return bp.trial(sweeping.RULE, bp.momentum(learning_rate, 0.5), params, batch[1], key=key, epochs=20)

    bp.sweep(trial, AXES, key=KEY, store=tmp_path / "store")
    batch[1] = (batch[1][0], 1 - batch[1][1])
    with pytest.raises(ValueError, match="differ in the computation: the data"):
        bp.sweep(trial, AXES, key=KEY, store=tmp_path / "store")


def test_constants_in_another_order_are_not_mixed_up():
    """Two trials with one program, of which one meets its arrays in another order in code that nothing depends on."""
    one, other = jnp.float32([1, 2]), jnp.float32([10, 20])

    def make_with(first):
        def trial(key, length):
            unused = first + other if first is one else other + one  # noqa: F841
            made = sweeping.countdown(key, length)
            outcome = lambda run: {"sum": run.draw * 0 + one[0] - other[1]}
            return made._replace(program=made.program._replace(outcome=outcome))

        return trial

    results = [bp.sweep(make_with(first), {"length": [2]}, key=KEY) for first in (one, other)]
    assert [float(result["sum"][0]) for result in results] == [-19.0, -19.0]


def test_what_a_callback_closes_over_counts():
    def make_with(factor):
        def trial(key, learning_rate):
            made = make()(key, learning_rate)

            def outcome(run):
                shape = jax.ShapeDtypeStruct((), jnp.float32)
                return {"called": jax.pure_callback(lambda e: np.float32(factor * e), shape, run.error)}

            return made._replace(program=made.program._replace(outcome=outcome))

        return trial

    assert differences(identity(make_with(2.0)), identity(make_with(2.0))) == []
    assert differences(identity(make_with(2.0)), identity(make_with(3.0)))
