"""Memory: calls with new network objects keep nothing for each call, and compile nothing that was compiled before."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest
from full_size import at_full_size

from bpjax.util.shared_jit import SharedJit, shared_program

GROWTH = """
import contextlib, ctypes, gc, resource, sys
import jax, jax.numpy as jnp, bpjax as bp

loss, key = bp.mean_squared_error, jax.random.key(0)
data = jnp.ones((5, 3)), jnp.zeros((5, 2))

def sine():
    def backward(params, x, dy):
        return (), jnp.cos(x) * dy
    return bp.Layer("sine", lambda key, shape: ((), shape), lambda params, x: (jnp.sin(x), x), backward)

def network():
    return bp.chain(bp.dense(4), sine(), bp.dense(2))

params = network().init(key, (3,))[0]

def hand_written():
    f = jax.custom_vjp(jnp.sin)
    f.defvjp(lambda x: (jnp.sin(x), x), lambda x, dy: (jnp.cos(x) * dy,))
    return f

def compare(n):
    bp.compare(bp.backprop(n, loss), bp.autodiff(n, loss), params, data, timed=False, show=False)

def compare_timed(n):
    bp.compare(bp.backprop(n, loss), bp.autodiff(n, loss), params, data, show=False)

def receipt(n):
    bp.receipt(bp.backprop(n, loss), params, data, key=key, show=False)

def check_gradient(n):
    bp.check_gradient(hand_written(), jnp.ones(3))

def fit(n):
    bp.fit(bp.backprop(n, loss), bp.momentum(0.1, 0.5), params, data, key=key, epochs=3)

def accuracy(n):
    bp.accuracy(n, params, data, 0.5)

def sweep(n):
    def trial(key, rate):
        return bp.trial(bp.backprop(n, loss), bp.momentum(rate, 0.5), params, data, key=key, epochs=3)
    bp.sweep(trial, {"rate": [0.1, 0.2]}, key=key)

def tape(n):
    bp.tape(lambda params: jnp.sum(n.forward(params, data[0])[0] ** 2), params)

def memory():
    gc.collect()
    with contextlib.suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(0)  # glibc holds back freed memory, more or less of it from run to run
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize() / 2**20

function, calls = globals()[sys.argv[1]], int(sys.argv[2])
def growth(calls):
    before = memory()
    for _ in range(calls):
        function(network())
    return (memory() - before) / calls

growth(5)
print(sorted(growth(calls // 5) for _ in range(5))[2])  # the median: what is kept for each call is seen in every part
"""


@pytest.mark.thorough
@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="reads the memory that Linux reports")
@pytest.mark.parametrize(
    ("name", "calls"),
    [
        *[("compare", 30), ("receipt", 30), ("fit", 60), ("accuracy", 100), ("sweep", 30), ("tape", 60)],
        *[pytest.param(*case, marks=at_full_size) for case in [("compare_timed", 10), ("check_gradient", 20)]],
    ],
)
def test_calls_with_new_networks_do_not_fill_the_memory(name, calls):
    command = [sys.executable, "-c", GROWTH, name, str(calls)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    assert float(run.stdout) < 0.25, f"{name} keeps {float(run.stdout):.2f} MiB per call"


def scaled(scale, offset):
    """A line: a number written into the program, and an array that it closes over."""
    offset = jnp.full(2, offset)
    return lambda x: scale * x + offset


def counted(function, *arguments):
    """(result, whether a program was compiled)."""
    seen = []

    def listen(event, seconds, **_):
        seen.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        result = function(*arguments)
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    return result, any(event.endswith("backend_compile_duration") for event in seen)


def test_functions_that_compute_the_same_share_a_program_and_others_do_not():
    x = jnp.array([1.0, 2.0])

    def call(scale, offset):
        shared = SharedJit(scaled(scale, offset))
        result, compiled = counted(shared, x)
        return result.tolist(), compiled

    assert call(2.0, 1.0) == ([3.0, 5.0], True)
    assert call(2.0, 1.0) == ([3.0, 5.0], False)
    assert call(2.0, 5.0) == ([7.0, 9.0], True)
    assert call(2.0000000000000004, 1.0)[1]  # the next number in float64
    assert SharedJit(scaled(2.0, 1.0)).compiled(x) is SharedJit(scaled(2.0, 1.0)).compiled(x)


def test_programs_that_call_python_are_not_shared():
    def logging(log):
        def call(x):
            jax.debug.callback(lambda value: log.append(float(value)), x)
            return x + 1

        return call

    logs = [], []
    for log in logs:
        SharedJit(logging(log))(1.0)
        jax.effects_barrier()
        seen, log[:] = list(log), []
        assert seen == [1.0]
    assert logs == ([], [])


def test_settings_and_shapes_have_programs_of_their_own():
    shared = SharedJit(lambda x: 3 * x)
    assert shared(jnp.ones(2)).dtype == jnp.float64
    with jax.enable_x64(False):
        assert shared(jnp.ones(2, jnp.float32)).dtype == jnp.float32
    assert shared(jnp.ones((2, 2))).shape == (2, 2)
    assert jax.grad(lambda x: shared(x)[0])(jnp.ones(2)).tolist() == [3.0, 0.0]


def test_programs_are_looked_up_by_functions():
    def apply(function, x):
        return function(x)

    assert shared_program(apply, (jnp.sin,)) is shared_program(apply, (jnp.sin,))
    assert float(shared_program(apply, (jnp.sin,))(0.0)) == 0.0
    assert float(shared_program(apply, (jnp.cos,))(0.0)) == 1.0
