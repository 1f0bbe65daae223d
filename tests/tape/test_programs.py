"""What the forward and the backward program of a loop store, and programs on several devices."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest
from jax import lax
from oracles import relative_error

from bpjax.tape import reverse
from bpjax.util.jaxprs import opened, subjaxprs


def equations(jaxpr, name) -> list:
    found = [e for e in opened(jaxpr).eqns if e.primitive.name == name]
    return found + [e for eqn in opened(jaxpr).eqns for inside in subjaxprs(eqn) for e in equations(inside, name)]


def lstm(params, xs):
    """A cell with peepholes to nothing: four gates, one matrix for inputs, one for the last output."""
    w, u = params

    def step(state, x):
        h, c = state
        i, f, g, o = jnp.split(x @ w + h @ u, 4, axis=-1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        return (jax.nn.sigmoid(o) * jnp.tanh(c), c), None

    zeros = jnp.zeros((2, 3))
    return jnp.sum(lax.scan(step, (zeros, zeros), xs)[0][0])


def scans_of_lstm(gradient):
    params, xs = (jnp.ones((5, 12)), jnp.ones((3, 12))), jnp.ones((7, 2, 5))
    return equations(jax.make_jaxpr(gradient)(params, xs), "scan")


def test_a_loop_stores_what_the_reverse_sweep_cannot_compute_cheaply():
    """h, c, tanh c and the four gates are stacked: 7 residuals and no input; `jax.grad` stacks more."""
    forward, backward = scans_of_lstm(reverse(lstm))
    stacked = [v.aval.shape for v in forward.outvars if v.aval.ndim == 3]
    assert stacked == [(7, 2, 3)] * 7
    assert sum(v.aval.shape == (7, 2, 5) for v in backward.invars) == 1  # the inputs, which the caller has
    by_jax = [v for v in scans_of_lstm(jax.value_and_grad(lstm))[0].outvars if v.aval.ndim == 3]
    assert len(stacked) < len(by_jax)


def test_recompute_stores_the_carry_only():
    forward, _ = scans_of_lstm(reverse(lstm, recompute=True))
    assert [v.aval.shape for v in forward.outvars if v.aval.ndim == 3] == [(7, 2, 3)] * 2


def test_values_that_no_step_changes_are_computed_once():
    """sin w is computed outside of the loops, and not stacked."""

    def function(w, xs):
        return lax.scan(lambda h, x: (h * jnp.sin(w) + x, None), jnp.zeros(()), xs)[0]

    jaxpr = jax.make_jaxpr(reverse(function))(1.0, jnp.ones(7))
    for loop in equations(jaxpr, "scan"):
        assert not equations(loop.params["jaxpr"], "sin")
        assert not equations(loop.params["jaxpr"], "cos")


def deep(transform):
    """Eight layers of three products each."""
    layer = transform(lambda h, w: (jnp.tanh(jnp.tanh(jnp.tanh(h @ w) @ w) @ w), None))
    return lambda h, ws: jnp.sum(lax.scan(layer, h, ws)[0])


def test_checkpoint_saves_memory():
    """Of the three values of each layer only its input is stored.

    The layers are a loop: XLA for CPUs takes the barriers out of straight code and computes nothing again, for
    `jax.grad` neither.
    """
    inputs = jnp.ones((2_000, 4)), jnp.ones((8, 4, 4))

    def temporary(function):
        compiled = jax.jit(reverse(function)).lower(*inputs).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    assert temporary(deep(jax.checkpoint)) < 0.6 * temporary(deep(lambda layer: layer))


def on_devices(count: int) -> float:
    """The error of gradients through `shard_map` and `pmap` on some devices."""
    mesh = jax.make_mesh((count,), ("i",), axis_types=(jax.sharding.AxisType.Auto,))
    spec = jax.sharding.PartitionSpec("i")

    def sharded(x):
        inside = lambda x: jnp.sin(x) * lax.psum(x.sum(), "i")
        return jnp.sum(jax.shard_map(inside, mesh=mesh, in_specs=spec, out_specs=spec)(x) * x)

    def mapped(x):
        inside = jax.pmap(lambda x: jnp.sin(x) * lax.psum(x.sum(), "i"), "i")
        return jnp.sum(inside(x.reshape(count, -1)).reshape(-1) * x)

    x = jnp.linspace(0.1, 1, 4)
    expected = jax.value_and_grad(lambda x: jnp.sum(jnp.sin(x) * x.sum() * x))(x)
    return max(relative_error(jax.jit(reverse(f))(x), expected) for f in (sharded, mapped))


def test_one_device():
    assert on_devices(1) < 1e-14


@pytest.mark.thorough
def test_two_devices():
    environment = os.environ | {
        "XLA_FLAGS": "--xla_force_host_platform_device_count=2", "JAX_ENABLE_X64": "1",
        "PYTHONPATH": os.pathsep.join([os.getcwd(), os.path.join(os.getcwd(), "tests")]),
    }  # fmt: skip
    program = "from tape.test_programs import on_devices; print(on_devices(2))"
    result = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert float(result.stdout) < 1e-14
