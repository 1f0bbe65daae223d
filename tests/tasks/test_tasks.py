"""The examples and targets of every task against its definition."""

import jax
import numpy as np
import pytest

import bpjax as bp


def present(task):
    x, t = (np.asarray(a) for a in task.present(None))
    assert x.shape[1:] == task.in_shape and t.shape[1:] == task.out_shape
    assert len({row.tobytes() for row in x}) == len(x)
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


def named(x):
    person, relationship = x[:24], x[24:]
    assert person.sum() == relationship.sum() == 1
    return bp.tasks.PEOPLE[person.argmax()], bp.tasks.RELATIONSHIPS[relationship.argmax()]


def test_family_trees_have_the_104_examples_of_the_papers():
    x, t = present(bp.tasks.family_trees())
    answers = {named(row): {bp.tasks.PEOPLE[i] for i in target.nonzero()[0]} for row, target in zip(x, t, strict=True)}
    assert len(answers) == 104 and t.sum() == 112 == len(bp.tasks.family_triples())
    counts = {name: sum(name == r for _, r in answers) for name in bp.tasks.RELATIONSHIPS}
    # of each tree: 6 people with parents, 5 couples, 3 with a son and a daughter, 3 pairs of brother and sister,
    # 2 grandchildren with uncles and aunts, and 4 uncles and aunts with a nephew and a niece
    assert counts == {
        "father": 12, "mother": 12, "son": 12, "daughter": 12, "husband": 10, "wife": 10, "brother": 6, "sister": 6,
        "uncle": 4, "aunt": 4, "nephew": 8, "niece": 8,
    }  # fmt: skip
    assert answers["Colin", "aunt"] == {"Jennifer", "Margaret"}  # figure 3 of the paper in Nature
    assert answers["Sophia", "uncle"] == {"Emilio", "Tomaso"} and answers["Charles", "niece"] == {"Charlotte"}
    assert answers["Lucia", "husband"] == {"Marco"} and answers["Victoria", "brother"] == {"Arthur"}
    assert answers["Christine", "son"] == {"James"} and ("Christine", "father") not in answers


def test_the_two_family_trees_have_the_same_form():
    english, italian = bp.tasks.PEOPLE[:12], bp.tasks.PEOPLE[12:]
    same = dict(zip(english, italian, strict=True))
    triples = set(bp.tasks.family_triples())
    translated = {bp.tasks.Triple(same[a], r, same[b]) for a, r, b in triples if a in same}
    assert len(translated) == 56 and translated == {triple for triple in triples if triple.person1 in italian}
    groups = bp.tasks.family_groups()
    assert groups["nationality"].tolist() == [0] * 12 + [1] * 12
    for name in ("generation", "branch"):
        np.testing.assert_array_equal(groups[name][:12], groups[name][12:])
    # husband and wife, brother and sister are of one generation, a father of the one before
    place = bp.tasks.PEOPLE.index
    older = {"father": -1, "mother": -1, "uncle": -1, "aunt": -1, "son": 1, "daughter": 1, "nephew": 1, "niece": 1}
    for a, r, b in triples:
        assert groups["generation"][place(b)] - groups["generation"][place(a)] == older.get(r, 0)
    assert np.bincount(groups["branch"]).tolist() == [10, 10, 4]


def test_t_and_c_have_five_squares_and_touch_21_and_20_windows():
    x, t = present(bp.tasks.t_c())
    np.testing.assert_array_equal(t[:, 0], [1] * 4 + [0] * 4)
    images = x[..., 0]
    np.testing.assert_array_equal(images.sum(axis=(1, 2)), [5] * 8)
    np.testing.assert_array_equal(images[0, 2:5, 2:5], [[1, 1, 1], [0, 1, 0], [0, 1, 0]])
    windows = np.lib.stride_tricks.sliding_window_view(images, (3, 3), axis=(1, 2))
    np.testing.assert_array_equal(windows.any(axis=(3, 4)).sum(axis=(1, 2)), [21] * 4 + [20] * 4)


def test_t_and_c_everywhere():
    x, t = present(bp.tasks.t_c(9, everywhere=True))
    assert len(x) == 8 * 9 and t.sum() == 36  # 3 × 3 positions in the middle 5 × 5 pixels
    assert x[:, :2].sum() == x[:, -2:].sum() == x[:, :, :2].sum() == x[:, :, -2:].sum() == 0


def test_a_shift_register_returns_to_its_state():
    x, t = present(bp.tasks.shift_register(3))
    assert x.shape == (8, 3) and t.shape == (8, 3, 3)
    np.testing.assert_array_equal(x[1], [0, 0, 1])
    np.testing.assert_array_equal(t[1], [[1, 0, 0], [0, 1, 0], [0, 0, 1]])
    np.testing.assert_array_equal(t[:, -1], x)
    assert bp.tasks.shift_register(5, 2).out_shape == (2, 5)


def test_letter_sequences():
    x, t = present(bp.tasks.letter_sequences())
    assert x.shape == (25, 6, 5) and t.shape == (25, 4, 3)
    np.testing.assert_array_equal(x.sum(axis=2), [[1, 1, 0, 0, 0, 0]] * 25)
    letters = [tuple(row[:2].argmax(axis=1)) for row in x]
    completed = ["".join(str(1 + digit) for digit in row.argmax(axis=1)) for row in t]
    assert letters[1] == (0, 1) and completed[1] == "1223" and completed[letters.index((4, 3))] == "1321"
    assert len(set(completed)) == 25 and t.sum() == 100


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
        ("family_trees", "family_trees"),
        ("shift_register-3-2", "shift_register-3-2"),
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
    "states": (lambda: bp.tasks.shift_register(40), r"got 2\^40 examples of 40 steps and 40 bits"),
    "images": (lambda: bp.tasks.t_c(2000, everywhere=True), r"`t_c` expected examples of at most 4 GiB"),
    "a small image": (lambda: bp.tasks.t_c(6), r"`size` to be an integer ≥ 7, got 6"),
    "codes": (lambda: bp.tasks.letter_sequences(("12", "3")), r"`codes` to be 2 to 26 strings"),
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
