"""The examples and targets of every task against its definition."""

import jax
import numpy as np
import pytest

import bpjax as bp


def present(task):
    x, t = (np.asarray(a) for a in task.present(None))
    assert x.shape[1:] == task.in_shape and t.shape[1:] == task.out_shape
    assert len({tuple(row) for row in x}) == len(x)
    return x, t


def test_xor():
    x, t = present(bp.xor())
    np.testing.assert_array_equal(x, [[0, 0], [0, 1], [1, 0], [1, 1]])
    np.testing.assert_array_equal(t, [[0], [1], [1], [0]])


def test_levels():
    x, t = present(bp.xor(levels=(-0.5, 0.5), target_levels=(0.1, 0.9)))
    np.testing.assert_array_equal(x, [[-0.5, -0.5], [-0.5, 0.5], [0.5, -0.5], [0.5, 0.5]])
    np.testing.assert_allclose(t, [[0.1], [0.9], [0.9], [0.1]])


def test_parity():
    x, t = present(bp.parity(4))
    assert len(x) == 16
    np.testing.assert_array_equal(t[:, 0], x.sum(axis=1) % 2)


def test_symmetry():
    x, t = present(bp.tasks.symmetry(6))
    assert len(x) == 64 and t.sum() == 8  # 2³ palindromes of six bits
    np.testing.assert_array_equal(t[:, 0], (x == x[:, ::-1]).all(axis=1))


def test_encoder():
    for task, hidden in ((bp.encoder(10, 5), 5), (bp.encoder(8), 3)):
        x, t = present(task)
        np.testing.assert_array_equal(x, np.eye(len(x)))
        np.testing.assert_array_equal(x, t)
        assert task.hidden == (hidden,)


def test_multiplexer():
    x, t = present(bp.tasks.multiplexer(2))
    assert x.shape == (64, 6)
    address = (2 * x[:, 0] + x[:, 1]).astype(int)
    np.testing.assert_array_equal(t[:, 0], x[np.arange(64), 2 + address])


def test_binary_addition():
    x, t = present(bp.tasks.binary_addition(2))
    a, b = 2 * x[:, 0] + x[:, 1], 2 * x[:, 2] + x[:, 3]
    np.testing.assert_array_equal(4 * t[:, 0] + 2 * t[:, 1] + t[:, 2], a + b)


def test_negation():
    x, t = present(bp.tasks.negation(3))
    np.testing.assert_array_equal(t, np.where(x[:, 3:] == 1, 1 - x[:, :3], x[:, :3]))


def test_digits_have_a_fixed_split():
    sizes, pixels = [], []
    for split in ("train", "validation", "test"):
        x, t = (np.asarray(a) for a in bp.digits(split).present(None))
        assert x.min() == 0 and x.max() == 1 and set(t) == set(range(10))
        sizes.append(len(x))
        pixels.append(x)
    assert sizes == [1197, 240, 360]
    from sklearn.datasets import load_digits

    np.testing.assert_allclose(np.concatenate(pixels) * 16, load_digits().data)


def test_spike_patterns_are_poisson_and_their_labels_random():
    task = bp.tasks.spike_patterns(64, inputs=50, steps=100, classes=3, rate=20.0, dt=0.5)
    x, labels = (np.asarray(a) for a in task.present(jax.random.key(0)))
    assert x.shape == (64, 100, 50) and task.in_shape == (100, 50) and task.out_shape == (3,)
    n = x.size  # spikes are binomial: n p = 3,200 with deviation √(n p (1 − p)) = 56
    assert set(np.unique(x)) == {0, 1} and abs(x.sum() - 0.01 * n) < 5 * np.sqrt(n * 0.01 * 0.99)
    assert set(labels) == {0, 1, 2}
    other, _ = task.present(jax.random.key(1))
    assert (np.asarray(other) != x).any()
    with pytest.raises(ValueError, match="expected a key"):
        task.present()
    with pytest.raises(ValueError, match="at most one spike a step.*2000"):
        bp.tasks.spike_patterns(rate=2000.0)
    with pytest.raises(ValueError, match="`classes`.*≥ 2"):
        bp.tasks.spike_patterns(classes=1)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("xor", "xor"),
        ("spike_patterns-8", "spike_patterns-8"),
        ("parity-4", "parity-4"),
        ("encoder-10-5", "encoder-10-5-10"),
        ("encoder-10-5-10", "encoder-10-5-10"),
        ("digits-test", "digits-test"),
        ("binary_addition-2", "binary_addition-2"),
    ],
)
def test_by_name(name, expected):
    assert bp.tasks.task(name).name == expected


def test_a_task_prints_its_name_and_shapes():
    assert repr(bp.xor()) == "Task('xor', in_shape=(2,), out_shape=(1,))"


LARGE = {
    "parity": (lambda: bp.parity(40), r"`parity-40` .* 4 GiB, got 2\^40 .* 40 bits: 3.36e\+05 GiB"),
    "parity of a million": (lambda: bp.parity(10**6), r"2\^1000000 examples of 1000000 bits: more than any memory"),
    "symmetry": (lambda: bp.tasks.symmetry(2**31 - 1), r"symmetry.*more than any memory"),
    "multiplexer": (lambda: bp.tasks.multiplexer(6), r"got 2\^70 examples of 70 bits"),
    "multiplexer of a million": (lambda: bp.tasks.multiplexer(10**6), r"`address_bits` to be an integer ≥ 1 and ≤ 16"),
    "binary_addition": (lambda: bp.tasks.binary_addition(20), r"got 2\^40 examples"),
    "negation": (lambda: bp.tasks.negation(63), r"got 2\^64 examples"),
    "encoder": (lambda: bp.encoder(10**6), r"1000000 examples of 1000000 inputs and 1000000 outputs: 1.49e\+04 GiB"),
    "spike_patterns": (lambda: bp.tasks.spike_patterns(10**6, 10**4, 10**4), r"`spike_patterns` .* 7.45e\+05 GiB"),
    "by name": (lambda: bp.tasks.task("parity-40"), r"`parity-40` expected examples"),
    "levels": (lambda: bp.parity(2, levels=3), r"`levels` to be a pair \(false, true\).*got 3"),
    "levels of NaN": (lambda: bp.parity(2, levels=(float("nan"), 1)), r"`levels\[0\]` to be a finite number, got nan"),
    "target levels": (lambda: bp.encoder(4, target_levels=(1, 0)), r"`target_levels\[1\]` to be a finite number > 1"),
    "spirals' levels": (lambda: bp.tasks.two_spirals((0, np.inf)), r"`two_spirals` expected .*got inf"),
    "negative bits": (lambda: bp.parity(-1), r"`bits` to be an integer ≥ 1, got -1"),
    "fractional bits": (lambda: bp.parity(3.0), r"`bits` to be an integer ≥ 1, got 3.0"),
    "a truth table of nothing": (lambda: bp.tasks.truth_table("x", 2, 5, (2,), (0, 1), None), r"`function` to be"),
}  # fmt: skip


@pytest.mark.parametrize("name", LARGE)
def test_bad_sizes_are_refused_at_once(name):
    call, sentence = LARGE[name]
    with pytest.raises(ValueError, match=sentence):
        call()


def test_a_truth_table_of_a_users_function():
    x, t = present(bp.tasks.truth_table("and", np.int64(2), lambda bits: (bits[0] & bits[1],), (1,), (0, 1), (-1, 1)))
    np.testing.assert_array_equal(x, [[0, 0], [0, 1], [1, 0], [1, 1]])
    np.testing.assert_array_equal(t, [[-1], [-1], [-1], [1]])


def test_a_truth_table_of_a_million_rows():
    x, t = bp.parity(20).present()
    assert x.shape == (2**20, 20) and int(t.sum()) == 2**19
