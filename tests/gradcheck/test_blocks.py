"""The block of wrong entries, in words."""

import numpy as np
import pytest

from bpjax.gradcheck.blocks import block_in_words


def mask(shape, *places):
    wrong = np.zeros(shape, bool)
    for place in places:
        wrong[place] = True
    return wrong


CASES = [
    (mask((), ()), "`w`"),
    (mask((3, 2), ...), "all entries of `w`"),
    (mask((5,), 1), "entry [1] of `w`"),
    (mask((4, 3), (2, 1)), "entry [2, 1] of `w`"),
    (mask((6,), slice(2, 5)), "entries 2–4 of `w`"),
    (mask((8,), slice(1, None, 2)), "every second entry from 1 of `w`"),
    (mask((8,), [0, 1, 5]), "entries 0, 1, 5 of `w`"),
    (mask((8, 3), slice(0, 4)), "rows 0–3 of `w`"),
    (mask((8, 3), 5), "row 5 of `w`"),
    (mask((8, 6), (slice(None), slice(0, None, 2))), "every second column from 0 of `w`"),
    (mask((8, 6), (slice(None), slice(2, 4))), "columns 2–3 of `w`"),
    (mask((8, 192), (slice(0, 4), slice(64, 128))), "rows 0–3 of `w[..., 64:128]`"),
    (mask((8, 4, 6), (slice(2, 4), 1)), "rows 2–3 of `w[:, 1]`"),
    (mask((8, 4, 6), (..., slice(3, None))), "`w[..., 3:]`"),
    (np.eye(4, dtype=bool), "the diagonal of `w`"),
    (~np.eye(4, dtype=bool), "all entries off the diagonal of `w`"),
    (np.triu(np.ones((4, 4), bool), 1), "the triangle above the diagonal of `w`"),
    (mask((6, 5), (0, 1), (2, 3)), "2 of 4 entries in rows 0, 2 of `w[..., 1::2]`"),
]


@pytest.mark.parametrize(("wrong", "words"), CASES, ids=[words for _, words in CASES])
def test_a_block_in_words(wrong, words):
    assert block_in_words("w", wrong) == words


def test_no_wrong_entry_is_an_error():
    with pytest.raises(ValueError, match="got none"):
        block_in_words("w", np.zeros((2, 2), bool))
