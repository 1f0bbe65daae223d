"""Damaged, crafted and foreign checkpoints: each loads bit for bit or ends in one sentence."""

import hashlib
import json
import os
import pickle
import re
import tracemalloc

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bpjax.interop.checkpoints import load, save

pytest.importorskip("safetensors")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "net.safetensors"


def same(found, expected):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for x, y in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert (x.dtype, x.shape) == (y.dtype, y.shape)
        assert np.asarray(x).tobytes() == np.asarray(y).tobytes()


def test_every_truncation_and_every_flipped_byte_is_found(path):
    save(path, {"w": jnp.arange(6.0).reshape(2, 3), "b": jnp.ones(2, jnp.int32)}, {"epoch": 7})
    whole, right = path.read_bytes(), load(path)
    for length in range(0, len(whole), 3):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"is damaged|is empty|checksum"):
            load(path)
    rng = np.random.default_rng(0)
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        loads_as(path, right)


def loads_as(path, right, like=None) -> bool:
    """Whether the file loads; it then holds what the undamaged one does, otherwise it ends in one sentence."""
    try:
        found = load(path, like)
    except ValueError as error:
        assert type(error) is ValueError and len(str(error)) < 1000 and str(error).endswith(".")
        return False
    assert found.metadata == right.metadata  # a bit that means nothing
    same(found.params, right.params)
    return True


def damaged(whole: bytes, rng) -> bytes:
    """One of eight kinds of damage, at random places and of random lengths."""
    i, j = sorted(int(n) for n in rng.integers(0, len(whole), 2))
    k = min(j + int(rng.integers(1, 65)), len(whole))
    here, there = whole[i : i + k - j], whole[j:k]
    kinds = (
        lambda: whole[:j] + rng.bytes(k - j) + whole[k:],  # overwritten
        lambda: whole[:j] + bytes(k - j) + whole[k:],  # zeros
        lambda: whole[:j] + b" " * (k - j) + whole[k:],  # blanks, which JSON skips
        lambda: whole[:j] + whole[k:],  # a part cut out
        lambda: whole[:j],  # the end cut off
        lambda: whole[:j] + rng.bytes(k - j) + whole[j:],  # inserted
        lambda: whole[:k] + whole[j:k] + whole[k:],  # written twice
        lambda: whole[:i] + there + whole[i + k - j : j] + here + whole[k:] if i + k - j <= j else whole[:i],  # swapped
    )
    return kinds[int(rng.integers(len(kinds)))]()


def test_whatever_is_damaged_a_checkpoint_is_right_or_refused(path):
    params = {
        "w": np.arange(12.0).reshape(3, 4),
        "zeros": np.zeros(40),
        "half": np.arange(6, dtype=jnp.bfloat16),
        "mask": np.array([True, False, True]),
        "n": np.array(7, np.int32),
    }
    save(path, params, {"epoch": 7, "note": "  bpjax  ", "nan": None})
    whole, loaded = path.read_bytes(), 0
    right, like = load(path), jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), params)
    for seed in range(400):
        path.write_bytes(damaged(whole, np.random.default_rng(seed)))
        loaded += loads_as(path, right, like if seed % 10 == 0 else None)
    assert 0 < loaded < 80  # zeros over zeros and blanks over blanks


def test_a_damaged_file_of_another_program_ends_in_a_sentence_or_loads(path):
    from safetensors.numpy import save_file

    save_file({"w": np.arange(12.0), "b": np.ones(3, np.float32)}, path, {"format": "pt"})
    whole = path.read_bytes()
    assert load(path).metadata == {"format": "pt"}
    for seed in range(300):
        path.write_bytes(damaged(whole, np.random.default_rng(seed)))
        try:
            load(path)
        except ValueError as error:
            assert type(error) is ValueError and str(error).endswith(".")


def with_header(header, data=b"", length=None) -> bytes:
    header = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(header) if length is None else length).to_bytes(8, "little") + header + data


def entry(dtype: object = "F32", shape=(1,), offsets=(0, 4), **more):
    return with_header({"w": {"dtype": dtype, "shape": shape, "data_offsets": offsets, **more}}, bytes(4))


def ours(metadata: str) -> bytes:
    """A checkpoint without arrays, with any text as its metadata and the right checksum."""
    header = {"bpjax.sha256": hashlib.sha256(metadata.encode()).hexdigest(), "bpjax.metadata": metadata}
    return with_header({"__metadata__": header})


DEEP = "[" * 100_000
TWICE = b'{"a":{"dtype":"F32","shape":[0],"data_offsets":[0,0]},"a":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}'
CRAFTED = {
    "random": (np.random.default_rng(1).bytes(500), "whole file has 500"),
    "pickle": (pickle.dumps({"w": np.ones(3)}), "its header would take"),
    "png": (b"\x89PNG\r\n\x1a\n" + bytes(100), "its header would take"),
    "text": (b"epoch,error\n1,0.5\n", "its header would take"),
    "nothing": (b"", "is empty"),
    "seven bytes": (b"1234567", "the whole file has 7"),
    "a header of 10 GB": (with_header({}, bytes(100), 10 * 2**30), "its header would take 10,737,418,240 bytes"),
    "arrays of 10 GB": (entry(shape=[2684354560], offsets=[0, 10737418240]), "describes 10,737,418,3"),
    "a deep header": (with_header(DEEP.encode()), "its header is nested too deeply"),
    "a list": (with_header(b"[]"), "is not a JSON object"),
    "not UTF-8": (with_header(b'{"\xff": 1}'), "is not JSON"),
    "a number of 5000 digits": (with_header(b'{"w":' + b"1" * 5000 + b"}"), "is not JSON"),
    "two arrays of one name": (with_header(TWICE), "two entries are named a"),
    "metadata of numbers": (with_header({"__metadata__": {"a": 1}}), "its metadata are not texts"),
    "no entry": (with_header({"w": None}), "is not a dtype, a shape and offsets"),
    "another field": (entry(x=1), "is not a dtype, a shape and offsets"),
    "another dtype": (entry("F8_E4M3"), "has the dtype F8_E4M3"),
    "a list as dtype": (entry(["F32"]), r"has the dtype \['F32'\]"),
    "a negative shape": (entry(shape=[-1]), r"has the shape \[-1\]"),
    "booleans as shape": (entry(shape=[True]), r"has the shape \[True\]"),
    "NaN as shape": (entry(shape=[float("nan")]), r"has the shape \[nan\]"),
    "40 axes": (entry(shape=[1] * 40), "has the shape"),
    "a shape beyond memory": (entry(shape=[2**62, 2**62]), "takes too many bytes"),
    "a shape beyond the offsets": (entry(shape=[2]), "takes 8 bytes, its offsets 4"),
    "an empty shape beyond NumPy": (
        with_header({"w": {"dtype": "F32", "shape": [0, 2**62], "data_offsets": [0, 0]}}),
        "does not fit into memory",
    ),
    "offsets the wrong way": (entry(offsets=[4, 0]), r"has the offsets \[4, 0\]"),
    "three offsets": (entry(offsets=[0, 4, 4]), "has the offsets"),
    "an offset too far": (entry(offsets=[4, 8]), "starts at byte"),
    "bytes after the arrays": (entry() + b"x", "describes 73 bytes, the file has 74"),
    "overlapping arrays": (
        with_header({n: {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]} for n in "ab"}, bytes(4)),
        "array b starts at byte",
    ),
    "booleans of 2": (entry("BOOL", [4], [0, 4])[:-1] + b"\2", "neither 0 nor 1"),
    "deep metadata": (ours('{"a":' + DEEP + "]" * 100_000 + "}"), "its metadata is nested too deeply"),
    "rather deep metadata": (ours('{"a":' + "[" * 200 + "]" * 200 + "}"), "nested more than 50 deep"),
    "metadata that are a list": (ours("[]"), "its metadata are not a dictionary"),
    "metadata that are not JSON": (ours("{"), "its metadata is not JSON"),
}


@pytest.mark.parametrize("kind", CRAFTED)
def test_foreign_and_crafted_files_are_refused(kind, path):
    content, reason = CRAFTED[kind]
    path.write_bytes(content)
    with pytest.raises(ValueError, match=reason) as error:
        load(path)
    assert re.match(
        r".*net.safetensors (is not a safetensors file or is damaged|is damaged|is empty): ", str(error.value)
    )
    assert len(str(error.value)) < 600


def test_names_from_a_file_cannot_command_a_terminal(path):
    path.write_bytes(with_header({"\x1b[31m": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, bytes(4)))
    with pytest.raises(ValueError, match=r"unexpected: '\\x1b\[31m' float32\[1\]"):
        load(path, {})
    assert "\x1b" not in repr(load(path))


def test_a_large_file_is_checked_before_it_is_read(path, monkeypatch):
    size = 64 * 2**20
    header = {"w": {"dtype": "F32", "shape": [size // 4], "data_offsets": [0, size]}}
    path.write_bytes(with_header(header | {"__metadata__": {"bpjax.sha256": "0", "bpjax.metadata": "{}"}}))
    os.truncate(path, path.stat().st_size + size)  # a sparse file
    tracemalloc.start()
    for like, message in (({"w": jnp.ones(3)}, "does not fit"), ({"v": jnp.ones(3)}, "missing: v"), (None, "checksum")):
        with pytest.raises(ValueError, match=message):
            load(path, like)
    assert tracemalloc.get_traced_memory()[1] < 8 * 2**20
    tracemalloc.stop()


def test_without_one_of_its_marks_a_checkpoint_is_damaged(path):
    save(path, jnp.ones(3))
    whole = path.read_bytes()
    for mark in (b"bpjax.sha256", b"bpjax.metadata"):
        path.write_bytes(whole.replace(mark, b"c" + mark[1:]))
        with pytest.raises(ValueError, match=r"is damaged: it has no checksum"):
            load(path)
