"""Checkpoints: what goes in comes out, damaged and foreign files are refused, and the old file survives."""

import json
import os
import pickle
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bpjax as bp
from bpjax.interop.checkpoints import load, save

pytest.importorskip("safetensors")

NETWORK = bp.chain(bp.dense(4), bp.tanh, bp.dense(3))


class Pair(NamedTuple):
    a: object
    b: object = None


@pytest.fixture
def path(tmp_path):
    return tmp_path / "net.safetensors"


@pytest.fixture
def params(keys):
    return NETWORK.init(next(keys), (5,))[0]


def same(found, expected):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for x, y in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert (x.dtype, x.shape) == (y.dtype, y.shape)
        assert np.asarray(x).tobytes() == np.asarray(y).tobytes()


def test_names_are_places_and_metadata_comes_back(path, params):
    metadata = {"epoch": 7, "task": "xor", "rates": [0.1, None, True], "größe": {"π": 3.5}}
    save(path, params, metadata)
    found = load(path)
    assert found.metadata == metadata
    assert "'0.b': 'float64[4]'" in repr(found) and len(repr(found)) < 300
    assert set(found.params) == {"0.w", "0.b", "2.w", "2.b"}
    assert all(isinstance(array, np.ndarray) for array in found.params.values())
    np.testing.assert_array_equal(found.params["2.w"], params[2].w)
    assert load(path, params).metadata == metadata
    assert os.listdir(path.parent) == [path.name]  # nothing is left beside it


def test_like_may_be_shapes_alone(path, params, keys):
    save(path, params)
    like = jax.eval_shape(lambda key: NETWORK.init(key, (5,))[0], next(keys))
    same(load(path, like).params, params)


TREES = {
    "bfloat16": {"w": jnp.arange(6, dtype=jnp.bfloat16).reshape(2, 3) / 7},
    "float16": [jnp.array([1e-7, 6e4, jnp.nan, -jnp.inf], jnp.float16)],
    "integers": (jnp.array([-1, 2**62]), jnp.array([255], jnp.uint8), jnp.array([True, False])),
    "scalars": {"a": jnp.array(1.5), "b": jnp.array(2, jnp.int32)},
    "zero size": Pair(jnp.zeros((0, 3)), jnp.zeros((2, 0), jnp.bfloat16)),
    "empty": (),
    "nothing but None": {"a": None, "b": [None, ()]},
    "nested": Pair([jnp.ones(2), {"x": (jnp.zeros(1),)}], None),
    "integers as keys": {10: jnp.ones(2), 9: jnp.zeros(3)},
    "a dot": {"a.b": jnp.ones(2), "a": {"c": jnp.zeros(1)}},
    "one array": jnp.arange(3.0),
    "NumPy, in Fortran's order": {"w": np.asfortranarray(np.arange(6.0).reshape(2, 3))},
    "a name of no letters": {"": jnp.ones(1), "ü/ñ": jnp.ones(2)},
}


@pytest.mark.parametrize("name", TREES)
def test_what_goes_in_comes_out_bit_for_bit(name, path):
    save(path, TREES[name])
    same(load(path, TREES[name]).params, TREES[name])


def test_other_tools_read_the_file(path, params):
    from safetensors.numpy import load_file

    save(path, params)
    np.testing.assert_array_equal(load_file(path)["0.w"], params[0].w)


def test_a_file_that_does_not_fit_is_refused_with_all_that_differs(path):
    save(path, {"a": jnp.ones(2), "b": jnp.ones((2, 3)), "c": jnp.ones(1), "d": jnp.ones(4)})
    like = {"b": jnp.ones((3, 2)), "c": jnp.ones(1, jnp.float32), "d": jnp.ones(4), "e": jnp.ones(5)}
    with pytest.raises(ValueError) as error:
        load(path, like)
    for part in (
        "missing: e float64[5]",
        "unexpected: a float64[2]",
        "b: float64[2, 3] in the file, float64[3, 2] expected",
        "c: float64[1] in the file, float32[1] expected",
    ):
        assert part in str(error.value)
    assert str(error.value).count(";") == 4  # and of d nothing is said


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"key": jax.random.key(0)}, r"got a random key at 'key': store `jax.random.key_data\(key\)`"),
        ({"rate": 0.5}, r"expected an array at 'rate', got float"),
        ({"f": jnp.tanh}, r"expected an array at 'f', got"),
        ({"w": jax.ShapeDtypeStruct((2,), jnp.float32)}, r"expected an array at 'w', got ShapeDtypeStruct"),
        ({"w": jnp.ones(2, jnp.complex64)}, r"expected one of bool, .* at 'w', got complex64"),
        ({"a.b": jnp.ones(1), "a": {"b": jnp.ones(1)}}, r"got 'a.b' twice or reserved"),
        ({"__metadata__": jnp.ones(1)}, r"got '__metadata__' twice or reserved"),
    ],
)
def test_what_cannot_be_stored_is_refused(params, message, path):
    with pytest.raises(ValueError, match=message):
        save(path, params)
    assert not path.exists()


def test_metadata_must_be_for_json(path, params):
    with pytest.raises(ValueError, match=r"`metadata` that JSON can hold"):
        save(path, params, {"array": jnp.ones(2)})
    with pytest.raises(ValueError, match=r"`metadata` to be a dictionary with strings for names"):
        save(path, params, {1: "x"})  # type: ignore[dict-item]


def test_every_truncation_and_every_flipped_bit_is_found(path, params):
    save(path, params, {"epoch": 7})
    whole, right = path.read_bytes(), load(path)
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"is damaged|is empty|checksum"):
            load(path)
    rng = np.random.default_rng(0)
    for place in [*range(len(whole)), *rng.integers(0, len(whole), 500)]:
        damaged = bytearray(whole)
        damaged[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        try:
            found = load(path)
        except ValueError:
            continue
        assert found.metadata == right.metadata  # a bit that means nothing
        same(found.params, right.params)


def foreign():
    header = json.dumps({"w": {"dtype": "F32", "shape": [2684354560], "data_offsets": [0, 10737418240]}}).encode()
    return {
        "random": np.random.default_rng(1).bytes(500),
        "pickle": pickle.dumps({"w": np.ones(3)}),
        "png": b"\x89PNG\r\n\x1a\n" + bytes(100),
        "text": b"epoch,error\n1,0.5\n",
        "a header of 10 GB": (10 * 2**30).to_bytes(8, "little") + b"{}" + bytes(100),
        "tensors of 10 GB": len(header).to_bytes(8, "little") + header + bytes(100),
        "nothing": b"",
    }


@pytest.mark.parametrize("kind", foreign())
def test_foreign_files_are_refused(kind, path):
    path.write_bytes(foreign()[kind])
    with pytest.raises(ValueError, match=r"is not a safetensors file or is damaged|is empty"):
        load(path)


def test_other_refusals(path, tmp_path, params):
    from safetensors.numpy import save_file

    with pytest.raises(FileNotFoundError, match=r"There is no checkpoint at .*net.safetensors"):
        load(path)
    with pytest.raises(ValueError, match=r"is not a file"):
        load(tmp_path)
    with pytest.raises(ValueError, match=r"is a folder: name the file to write"):
        save(tmp_path, params)
    save_file({"w": np.ones(3)}, path)
    with pytest.raises(ValueError, match=r"was not written by `bp.save`: it has no checksum"):
        load(path)
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"cannot be written"):
        save(tmp_path / "file" / "net.safetensors", params)


def test_a_write_that_fails_leaves_the_old_file(path, params, monkeypatch):
    save(path, params, {"old": True})
    for broken, error in (("replace", OSError(28, "No space left on device")), ("fsync", KeyboardInterrupt())):
        with monkeypatch.context() as patch:

            def fail(*_, error=error):
                raise error

            patch.setattr(os, broken, fail)
            with pytest.raises((ValueError, KeyboardInterrupt)):
                save(path, params, {"old": False})
        assert load(path).metadata == {"old": True}
        assert os.listdir(path.parent) == [path.name]
