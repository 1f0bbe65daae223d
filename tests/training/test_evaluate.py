"""Accuracy by hand, on NaN and on targets that do not fit; programs that are shared, and memory that does not grow."""

import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bpjax as bp
from bpjax.training import evaluate

IDENTITY = bp.layers.identity
OUTPUTS = jnp.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]])
NAN = jnp.array([[jnp.nan, 0.1], [0.2, 0.8], [0.6, jnp.nan]])


def accuracy(outputs, target, **options):
    return bp.accuracy(IDENTITY, (), (outputs, target), **options)


@pytest.mark.parametrize(
    ("outputs", "target", "options", "expected"),
    [
        (OUTPUTS, [0, 1, 1], {}, 2 / 3),
        (OUTPUTS, np.array([0, 1, 1], np.uint8), {}, 2 / 3),
        (OUTPUTS, np.array([False, True, True]), {}, 2 / 3),
        (OUTPUTS, np.eye(2)[[0, 1, 0]], {}, 1.0),
        (OUTPUTS, np.eye(2, dtype=int)[[0, 1, 1]], {}, 2 / 3),
        (OUTPUTS, [[1.0, 0], [0, 1], [1, 1]], {"threshold": 0.5}, 2 / 3),
        (OUTPUTS[:, :1], [1, 0, 0], {"threshold": 0.5}, 2 / 3),
        (OUTPUTS[:, :1], [[1.0], [0.0], [0.0]], {"threshold": 0.5}, 2 / 3),
        (OUTPUTS.tolist(), [0, 1, 1], {}, 2 / 3),
        (jnp.stack([OUTPUTS, OUTPUTS]), [[0, 1, 1], [0, 0, 1]], {}, 3 / 6),
        (NAN, [0, 1, 0], {}, 1 / 3),
        (NAN, [1, 1, 1], {}, 1 / 3),
        (NAN, np.zeros((3, 2)), {"threshold": 0.5}, 0.0),
        (NAN, [[0.0, 0], [0, 1], [1, 0]], {"threshold": 0.5}, 1 / 3),
        (NAN * jnp.nan, [0, 0, 0], {}, 0.0),
        (jnp.array([[jnp.inf, 0.0], [0.0, -jnp.inf]]), [0, 0], {}, 1.0),
    ],
)
def test_accuracy_is_the_share_classified_correctly_by_hand(outputs, target, options, expected):
    share = accuracy(outputs, target, **options)
    assert isinstance(share, float) and share == expected


@pytest.mark.parametrize(
    ("target", "options", "message"),
    [
        ([0, 1, 7], {}, "labels from 0 to 1 for 2 outputs, got 7 at index 2 (1 of 3 out of range)"),
        ([0, -1, 1], {}, "got -1 at index 1"),
        (np.zeros((3, 3)), {}, "targets of shape (3, 2), got float64[3, 3]"),
        (np.zeros(3), {}, "integer labels of shape (3,) or targets of shape (3, 2), got float64[3]"),
        ([0, 1], {}, "got int64[2]"),
        (np.full((3, 2), np.nan), {}, "targets that are numbers, got NaN"),
        (np.zeros(3), {"threshold": 0.5}, "targets of shape (3, 2), got (3,)"),
        (np.zeros((3, 2)), {"threshold": "half"}, "`threshold` to be a finite number, got 'half'"),
        ("labels", {}, "`target` to be an array of numbers, got 'labels'"),
    ],
)
def test_accuracy_refuses_targets_that_do_not_fit(target, options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        accuracy(OUTPUTS, target, **options)


def test_accuracy_and_predict_check_their_arguments():
    for call, message in (
        (lambda: bp.accuracy(IDENTITY, (), OUTPUTS), "`accuracy` expected a batch `(x, target)`, got float64[3,2]"),
        (lambda: accuracy(OUTPUTS[:, :1], [0, 1, 0]), "needs a `threshold` for outputs of shape (3, 1)"),
        (lambda: accuracy(OUTPUTS[:0], OUTPUTS[:0]), "at least one example"),
        (lambda: bp.predict(bp.mlp, (), OUTPUTS), "a Layer, got mlp. Call it first: `mlp(...)`"),
        (lambda: bp.predict(IDENTITY, (), None), "`x` to be an array of examples, got None"),
        (lambda: bp.predict(IDENTITY, (), "x"), "`x` to be an array of numbers, got 'x'"),
    ):
        with pytest.raises(ValueError, match=re.escape(message)):
            call()


def test_accuracy_is_traced_where_the_weights_are():
    network = bp.dense(2)
    params = network.init(jax.random.key(0), (2,))[0]
    batch = OUTPUTS, np.array([0, 1, 1])
    traced = jax.jit(lambda params: bp.accuracy(network, params, batch))(params)
    assert float(traced) == pytest.approx(bp.accuracy(network, params, batch), rel=1e-15)
    constant = jax.jit(lambda x: x + bp.accuracy(network, params, batch))(0.0)  # nothing in it depends on x
    assert float(constant) == pytest.approx(float(traced), rel=1e-15)
    labels = jax.jit(lambda target: accuracy(OUTPUTS, target))(np.array([0, 7, -1]))  # no class: never correct
    assert float(labels) == pytest.approx(1 / 3, rel=1e-15)


def test_equal_networks_share_a_program_and_others_do_not():
    x, w = jnp.ones((2, 3)), jnp.ones((3, 1))

    def network(scale, offset):
        """A line with a number written into its program and an array that it closes over."""
        offset = jnp.full((1, 1), offset)
        return bp.from_function(lambda key, shape: (w, (1,)), lambda p, x: scale * (x @ p) + offset, "line")

    def misses(*arguments):
        before = evaluate._compiled.cache_info().misses
        value = float(bp.predict(network(*arguments), w, x)[0, 0])
        return value, evaluate._compiled.cache_info().misses - before

    assert misses(2.0, 1.0) == (7.0, 1)
    assert misses(2.0, 1.0) == (7.0, 0)
    assert misses(2.0, 5.0) == (11.0, 0)  # the array is an argument of the shared program
    assert misses(2.0000000000000004, 1.0)[1] == 1  # the next number in float64
    one = network(2.0, 1.0)
    assert bp.predict(one, w, x).dtype == jnp.float64
    with jax.enable_x64(False):
        assert bp.predict(one, w.astype(jnp.float32), x.astype(jnp.float32)).dtype == jnp.float32


GROWTH = """
import gc, resource, sys, jax, jax.numpy as jnp, bpjax as bp
x, labels = jnp.ones((5, 3)), jnp.zeros(5, int)
params = bp.mlp((3, 4, 2)).init(jax.random.key(0), (3,))[0]
def memory():
    gc.collect()
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize() / 2**20
for call in range(210):
    if call == 10:
        before = memory()
    bp.predict(bp.mlp((3, 4, 2)), params, x)
    bp.accuracy(bp.mlp((3, 4, 2)), params, (x, labels))
print(memory() - before)
"""


@pytest.mark.thorough
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_memory_does_not_grow_with_new_networks():
    """200 calls with a new network each: 5 MiB at most for all of them, where each kept 1.6 MiB before."""
    result = subprocess.run([sys.executable, "-c", GROWTH], capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    assert float(result.stdout) < 5
