"""Exported networks: run, for any batch, and trained, in a process that has JAX and no bpjax."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export
from oracles import relative_error

import bpjax as bp
from bpjax.interop.checkpoints import named
from bpjax.interop.export import export_network
from bpjax.layers.embedding import embedding

pytest.importorskip("flatbuffers")  # by which jax.export writes

NETWORK = bp.chain(bp.dense(4), bp.tanh, bp.layers.shortcut(bp.dense(3)), bp.softmax)

WITHOUT_BPJAX = """
import sys
import jax, numpy as np
from jax import export
jax.config.update("jax_enable_x64", True)
exported = export.deserialize(bytearray(open(sys.argv[1], "rb").read()))
for n in (1, 7, 300):
    x = np.load(sys.argv[2])[:n]
    np.save(f"{sys.argv[2]}.{n}.npy", exported.call(x))
assert not any(name.split(".")[0] == "bpjax" for name in sys.modules)
"""


@pytest.fixture
def params(keys):
    return NETWORK.init(next(keys), (5,))[0]


@pytest.mark.thorough
def test_another_process_runs_it_without_bpjax(tmp_path, params, keys):
    x = np.asarray(jax.random.normal(next(keys), (300, 5)))
    np.save(tmp_path / "x.npy", x)
    data = export_network(NETWORK, params, (5,), path=tmp_path / "net.jax", platforms=("cpu", "cuda", "tpu"))
    assert (tmp_path / "net.jax").read_bytes() == data
    arguments = [str(tmp_path / "net.jax"), str(tmp_path / "x.npy")]
    subprocess.run([sys.executable, "-c", WITHOUT_BPJAX, *arguments], check=True, cwd=tmp_path)
    for n in (1, 7, 300):
        found = np.load(tmp_path / f"x.npy.{n}.npy")
        np.testing.assert_allclose(found, NETWORK.forward(params, jnp.asarray(x[:n]))[0], rtol=1e-12)


@pytest.mark.thorough
def test_it_trains_by_the_hand_written_backward(params, keys):
    doubled = NETWORK._replace(
        backward=lambda p, residuals, dy: jax.tree.map(lambda d: 2 * d, NETWORK.backward(p, residuals, dy))
    )
    x, names = jax.random.normal(next(keys), (6, 5)), named("test", params)
    expected = jax.grad(lambda p: (NETWORK.forward(p, x)[0] ** 2).sum())(params)
    for network, factor in ((NETWORK, 1), (doubled, 2)):
        exported = export.deserialize(bytearray(export_network(network, params, (5,), trainable=True)))
        np.testing.assert_allclose(exported.call(names, x), NETWORK.forward(params, x)[0], rtol=1e-12)
        found = jax.grad(lambda p, e=exported: (e.call(p, x) ** 2).sum())(names)
        assert relative_error(found, jax.tree.map(lambda d, f=factor: f * d, named("test", expected))) < 1e-12


def test_tokens_and_a_fixed_batch(keys):
    network = bp.chain(embedding(7, 3), bp.tanh)
    params, _ = network.init(next(keys), (4,))
    exported = export.deserialize(bytearray(export_network(network, params, (4,), batch_size=2, dtype=jnp.int32)))
    tokens = jnp.array([[0, 1, 2, 6], [3, 3, 0, 5]], jnp.int32)
    np.testing.assert_allclose(exported.call(tokens), network.forward(params, tokens)[0], rtol=1e-12)
    with pytest.raises(ValueError):
        exported.call(tokens[:1])


def test_a_layer_that_depends_on_the_number_of_examples(keys):
    forward = lambda params, x: (x * 2 if x.shape[0] <= 5 else x, ())
    layer = bp.layers.identity._replace(forward=forward)
    with pytest.raises(ValueError, match=r"cannot export for every batch size: .* Give it `batch_size`"):
        export_network(layer, (), (3,))
    assert export_network(layer, (), (3,), batch_size=4)


def test_what_does_not_fit_is_refused(params):
    with pytest.raises(ValueError, match=r"`export_network` expected a Layer, got dense"):
        export_network(bp.dense, params, (5,))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"expected platforms among cpu, cuda, rocm, tpu, got \('gpu',\)"):
        export_network(NETWORK, params, (5,), platforms=("gpu",))
    with pytest.raises(ValueError, match=r"`batch_size` to be an integer ≥ 1, got 0"):
        export_network(NETWORK, params, (5,), batch_size=0)
    with pytest.raises(ValueError, match=r"`dense` expected `x` of shape \(N, 5\)"):
        export_network(NETWORK, params, (6,))
