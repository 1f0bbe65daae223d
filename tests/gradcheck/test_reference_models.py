"""`compare` on models that fix a dtype, scan a cell, or have two outputs."""

import jax
import jax.numpy as jnp
import pytest

import bpjax as bp
from bpjax.interop import from_linen
from bpjax.losses import Loss

nn = pytest.importorskip("flax.linen")


def compared(network, loss, params, batch):
    rules = bp.backprop(network, loss), bp.autodiff(network, loss)
    return bp.compare(*rules, params, batch, timed=False, show=False)


class Recurrent(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.RNN(nn.OptimizedLSTMCell(3, dtype=jnp.float32))(x)[:, -1]


@pytest.mark.parametrize(
    ("module", "shape"),
    [
        pytest.param(nn.Dense(3, dtype=jnp.float32), (4,), id="float32"),
        pytest.param(nn.Dense(3, dtype=jnp.bfloat16), (4,), id="bfloat16", marks=pytest.mark.thorough),
        pytest.param(Recurrent(), (5, 4), id="scan of a cell", marks=pytest.mark.thorough),
    ],
)
def test_a_module_that_fixes_its_dtype_is_compared(module, shape):
    with jax.enable_x64(False):
        network = from_linen(module)
        params, _ = network.init(jax.random.key(0), shape)
        x = jax.random.normal(jax.random.key(1), (2, *shape))
        assert compared(network, bp.softmax_cross_entropy, params, (x, jnp.array([0, 1]))).ok


def value(output, target):
    return jnp.sum((output[0] - target) ** 2) + jnp.sum(jnp.sin(output[1]))


def gradient(output, target):
    return 2 * (output[0] - target), jnp.cos(output[1])


@pytest.mark.parametrize("columns", [3, 1], ids=["of one shape", "of different shapes"])
@pytest.mark.parametrize("factor", [1.0, 2.0], ids=["right", "wrong"])
def test_a_network_with_two_outputs_is_compared(columns, factor):
    def init(key, in_shape):
        return jax.random.normal(key, (4, 3)), ((3,), (columns,))

    network = bp.from_function(init, lambda w, x: (x @ w, jnp.tanh(x @ w)[:, :columns]), "two outputs")
    loss = Loss("two", value, lambda o, t: jax.tree.map(lambda g: factor * g, gradient(o, t)))
    params, _ = network.init(jax.random.key(0), (4,))
    report = compared(network, loss, params, (jnp.ones((2, 4)), jnp.zeros((2, 3))))
    assert report.ok == (factor == 1.0)
    if factor == 2.0:
        assert report.mistake == "doubled"
