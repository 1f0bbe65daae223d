"""Checkpoints: what goes in comes out, damaged and foreign files are refused, and the old file survives."""

import os
import re
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
    assert repr(found) == str(found) and "\n" not in repr(found)
    assert repr(found).startswith(
        "Checkpoint(4 arrays: 0.b float64[4], 0.w float64[5, 4], 2.b float64[3], …; metadata={"
    )
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
        ({1: jnp.ones(1), "a": jnp.ones(1)}, r"dictionaries have keys of one type"),
        ({"\ud800": jnp.ones(1)}, r"names that UTF-8 can hold, got '\\ud800'"),
        (bp.dense(3), r"expected an array at 'name', got str"),
        (np.array(["a"]), r"expected one of bool, .* at 'params', got <U1"),
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


def test_files_of_other_programs_load_without_a_checksum(path):
    from safetensors.numpy import save_file

    arrays = {"w": np.arange(6.0).reshape(2, 3), "n": np.array([3], np.int16), "b": np.ones(2, jnp.bfloat16)}
    save_file(arrays, path, {"format": "pt"})
    same(load(path).params, arrays)
    assert load(path, arrays).metadata == {"format": "pt"}


def test_other_refusals(path, tmp_path, params):
    with pytest.raises(FileNotFoundError, match=r"There is no checkpoint at .*net.safetensors"):
        load(path)
    with pytest.raises(ValueError, match=r"is not a file"):
        load(tmp_path)
    with pytest.raises(ValueError, match=r"is a folder: name the file to write"):
        save(tmp_path, params)
    with pytest.raises(ValueError, match=r"`save` expected a path, such as 'net.safetensors', got tuple"):
        save(params, path)  # type: ignore[arg-type]
    for wrong in (None, 3, ""):
        with pytest.raises(ValueError, match=r"`load` expected a path, such as 'net.safetensors', got"):
            load(wrong)  # type: ignore[arg-type]
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"cannot be written"):
        save(tmp_path / "file" / "net.safetensors", params)
    save(path, params)
    for like in (NETWORK, bp.dense, {"w": 1.0}, jax.random.key(0)):
        with pytest.raises(
            ValueError, match=r"expected `like` to be a pytree of arrays or `jax.ShapeDtypeStruct`s, got"
        ):
            load(path, like)


# dtypes change when they are asked to, and no number changes silently


def test_a_dtype_is_converted_by_name_alone(path):
    save(path, {"w": np.array([0.1, np.inf, np.nan]), "n": np.array([7]), "b": np.array(True)})
    like = {"w": jnp.zeros(3, jnp.float32), "n": jnp.zeros(1, jnp.int32), "b": jnp.zeros((), jnp.bfloat16)}
    with pytest.raises(ValueError) as error:
        load(path, like)
    for part in ("w: float64[3] in the file, float32[3] expected (`cast=True` converts it)", "n: int64[1] in the file"):
        assert part in str(error.value)
    expected = {
        "w": np.array([0.1, np.inf, np.nan], np.float32),
        "n": np.array([7], np.int32),
        "b": np.array(1, jnp.bfloat16),
    }
    same(load(path, like, cast=True).params, expected)
    with pytest.raises(
        ValueError, match=r"w: float64\[3\] in the file, int32\[3\] expected, which no cast makes of it"
    ):
        load(path, like | {"w": jnp.zeros(3, jnp.int32)}, cast=True)
    with pytest.raises(ValueError, match=r"expected `cast` to be True or False"):
        load(path, like, cast=jnp.float32)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"expected `like` beside `cast=True`"):
        load(path, cast=True)


@pytest.mark.parametrize(
    ("number", "dtype"),
    [(2**40 + 7, np.int32), (-1, np.uint8), (200, np.int8), (1e300, np.float32), (70000, np.float16)],
)
def test_a_number_that_does_not_fit_is_named(path, number, dtype):
    save(path, {"w": np.array([0, number])})
    with pytest.raises(
        ValueError, match=rf"holds {re.escape(str(np.array(number)))} in w, too large for {np.dtype(dtype)}"
    ):
        load(path, {"w": np.zeros(2, dtype)}, cast=True)


def test_without_x64_wide_numbers_are_not_narrowed_silently(path, float32):
    save(path, {"w": np.array([1e300])})
    assert load(path).params["w"][0] == 1e300
    with pytest.raises(
        ValueError, match=r"w: float64\[1\] in the file, float64\[1\] expected, which JAX holds with jax_enab"
    ):
        load(path, {"w": np.zeros(1)})
    with pytest.raises(ValueError, match=r"float64\[1\] in the file, float32\[1\] expected"):
        load(path, {"w": jnp.zeros(1)})


def test_numbers_of_numpy_and_jax_are_metadata_and_nothing_else_changes(path):
    metadata = {"a": np.float32(0.5), "b": jnp.array(3), "c": (np.int64(1), [True, None]), "nan": float("nan")}
    save(path, {}, metadata)
    found = load(path).metadata
    assert np.isnan(found.pop("nan"))
    assert found == {"a": 0.5, "b": 3, "c": [1, [True, None]]}
    circle: list = []
    circle.append(circle)
    wrong = [{"a": {1: 2}}, {"a": np.ones(2)}, {"a": {1}}, {"a": circle}, {"a": 10**5000}, {"a": b"x"}]
    for metadata in wrong:
        with pytest.raises(ValueError, match=r"`save` expected `metadata` that JSON can hold"):
            save(path, {}, metadata)
    with pytest.raises(ValueError, match=r"names and metadata of at most 33,554,432 bytes"):
        save(path, {}, {"a": "x" * 2**25})


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
