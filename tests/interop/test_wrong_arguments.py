"""Wrong arguments of the interop functions end in one sentence, before anything is called or written."""

# pyright: reportArgumentType=false, reportCallIssue=false, reportAttributeAccessIssue=false

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bpjax as bp
from bpjax import interop

eqx = pytest.importorskip("equinox")
linen = pytest.importorskip("flax.linen")
nnx = pytest.importorskip("flax.nnx")
pytest.importorskip("flatbuffers")

EQX = eqx.nn.Linear(3, 2, key=jax.random.key(0))
NNX = nnx.Linear(3, 2, rngs=nnx.Rngs(0))
NETWORK = bp.dense(2)
WEIGHTS = {"kernel": jnp.ones((3, 2)), "bias": jnp.ones(2)}


def export(params=None, **changes):
    params = NETWORK.init(jax.random.key(0), (3,))[0] if params is None else params
    return interop.export_network(NETWORK, params, **{"in_shape": (3,), **changes})


WRONG = {
    "a flag that is a text": (lambda: interop.from_equinox(EQX, "yes"), "`per_example` to be True or False, got 'yes'"),
    "a state that is a text": (lambda: interop.from_equinox(EQX, state="word"), "`state` of arrays and numbers"),
    "no dtype": (lambda: interop.from_equinox(EQX, dtype="word"), "`dtype` to be a dtype, such as jnp.int32"),
    "an array as dtype": (lambda: interop.from_nnx(NNX, dtype=jnp.ones(2)), "`dtype` to be a dtype"),
    "a class as dtype": (lambda: interop.from_linen(linen.Dense(2), dtype=bp.Layer), "`dtype` to be a dtype"),
    "no dtypes": (lambda: interop.from_linen(linen.Dense(2), dtype=()), "`dtype` to be a dtype"),
    "no filter": (lambda: interop.from_nnx(NNX, wrt=0.7), "`wrt` to be a filter of Flax"),
    "a filter of nothing": (lambda: interop.from_nnx(NNX, wrt="word"), "`wrt` to choose arrays of Linear, got 'word'"),
    "no NNX module": (lambda: interop.to_nnx(EQX, WEIGHTS), "a module of Flax NNX"),
    "other shapes": (lambda: interop.to_nnx(NNX, {**WEIGHTS, "bias": jnp.ones(3)}), r"\['bias'\]` of shape \(2,\)"),
    "a leaf missing": (lambda: interop.to_nnx(NNX, {"bias": jnp.ones(2)}), "`params` in the structure of `module`"),
    "complex weights": (lambda: interop.to_nnx(NNX, {**WEIGHTS, "bias": jnp.ones(2, complex)}), "of the dtypes"),
    "integer weights": (lambda: interop.to_nnx(NNX, {**WEIGHTS, "bias": jnp.ones(2, int)}), "`params` of the dtypes"),
    "no Equinox module": (lambda: interop.to_equinox(NETWORK, EQX), "an Equinox module"),
    "params that are a number": (lambda: interop.to_equinox(EQX, 3), "`params` in the structure of `module`"),
    "an empty name": (lambda: interop.from_function(lambda k, s: s, lambda p, x: x, ""), "`name` to be a text"),
    "a key as function": (lambda: interop.from_function(jax.random.key(0), lambda p, x: x), "`init` to be a function"),
    "a number of platforms": (lambda: export(platforms=3), "platforms among cpu, cuda, rocm, tpu, got 3"),
    "a text as flag": (lambda: export(trainable="no"), "`trainable` to be True or False, got 'no'"),
    "NaN in weights": (lambda: export(jax.tree.map(lambda w: w * jnp.nan, NETWORK.init(jax.random.key(0), (3,))[0])),
                       "finite numbers in `params"),
    "texts in weights": (lambda: export(np.array(["a"])), "`params` to be a pytree of arrays"),
    "metadata that is an array": (lambda: interop.save("w", WEIGHTS, jnp.ones((9, 9))), r"names, got float\d+\[9,9\]"),
}  # fmt: skip


@pytest.mark.parametrize(("call", "words"), WRONG.values(), ids=WRONG)
def test_wrong_arguments(call, words):
    with pytest.raises(ValueError, match=words) as error:
        call()
    assert "\n" not in str(error.value)


def test_what_fits_goes_through(tmp_path):
    """Half precision and NumPy's flags are right, and so is every way to name dtypes and platforms."""
    half = jax.tree.map(lambda w: w.astype(jnp.float16), WEIGHTS)
    assert interop.to_nnx(NNX, half).bias[...].dtype == jnp.float16
    assert interop.to_nnx(NNX, nnx.state(NNX, nnx.Param)).kernel.shape == (3, 2)
    for dtype in ("int32", jnp.int32, np.dtype("int32"), np.int32, None):
        assert interop.from_nnx(NNX, dtype=dtype).name == "Linear"
    interop.save(tmp_path / "w", WEIGHTS)
    assert interop.load(tmp_path / "w", WEIGHTS, cast=np.bool_(True)).params["bias"].shape == (2,)
