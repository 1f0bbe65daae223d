"""Steps computed for a few examples at a time: the same bits as for all at once, and the numbers of JAX."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from llvm_evaluation import evaluated

from bpjax.sweeps.lanes.llvm import batches, rules


def trained(x, w, v, target):
    """A step of a network with softmax and a batch mean in its middle, with sums of all kinds over the examples."""
    h = jnp.tanh(x @ w)
    h = h - h.mean(0, keepdims=True)
    y = h @ v
    p = jax.nn.softmax(y)
    error = p - target
    dh = (error @ v.T) * (1 - h * h)
    near = jnp.abs(error).max(1) < 0.4
    return (
        (error**2).sum(), jnp.abs(error).max(), near.all(), near.any(), h.T @ error, x.T @ dh, dh.sum(0), p,
        jnp.argmax(y, 1).astype(jnp.float32).sum(), (x[:, 0] * error[:, 1]).sum(), h.reshape(len(h), 2, -1).sum((0, 2)),
    )  # fmt: skip


def looked_up(x, places, w):
    """Examples at places that differ between runs, and a random mask."""
    chosen = x[places]
    kept = jax.random.bernoulli(jax.random.wrap_key_data(places[:2].astype(jnp.uint32)), 0.5, (len(chosen), 5))
    h = jnp.where(kept, jax.nn.sigmoid(chosen @ w), 0)
    return (chosen.T @ h, h.sum(0), (h[:, :1].T @ chosen).max())


def cases(examples, seed=0):
    """Each function with its arrays for six runs."""
    rng = np.random.default_rng(seed)
    normal = lambda *shape: rng.normal(size=(6, *shape)).astype(np.float32)  # noqa: E731
    target = np.eye(3, dtype=np.float32)[rng.integers(0, 3, (6, examples))]
    places = rng.integers(0, 12, (6, examples)).astype(np.int32)
    return (
        (trained, (normal(examples, 4), normal(4, 6), normal(6, 3), target)),
        (looked_up, (normal(12, 4), places, normal(4, 5))),
    )


@pytest.mark.parametrize("examples", [61, pytest.param(64, marks=pytest.mark.thorough)])
def test_the_bits_are_those_of_all_examples_at_once(examples, monkeypatch):
    """64 examples are four blocks; of 61, a prime number, some are left."""
    monkeypatch.setattr(batches, "ENTRIES", 1)
    for function, arrays in cases(examples):
        sizes = []
        groups_of = batches.groups_of
        record = lambda flat, f=groups_of, s=sizes: note(f(flat), s)  # noqa: E731
        monkeypatch.setattr(rules, "groups_of", record)
        ours = evaluated(function, *arrays)
        assert sizes and set(sizes) == {16}
        monkeypatch.setattr(rules, "groups_of", lambda flat: flat.steps)
        for some, every in zip(ours, evaluated(function, *arrays), strict=True):
            np.testing.assert_array_equal(some, every)
        expected = jax.jit(jax.vmap(function))(*arrays)
        for some, theirs in zip(ours, expected, strict=True):
            np.testing.assert_allclose(some, theirs, rtol=2e-4, atol=2e-5)


def note(order, sizes):
    """The order, after the sizes of its blocks were noted."""
    sizes += [item.size for item in order if isinstance(item, batches.Group)]
    return order


def test_blocks_divide_the_examples_where_they_can():
    sizes = {n: batches.block_of(n) for n in (32, 64, 100, 194, 272, 1197)}
    assert sizes == {32: 16, 64: 16, 100: 20, 194: 16, 272: 16, 1197: 21}
