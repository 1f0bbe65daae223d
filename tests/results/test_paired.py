"""Paired contrasts against published examples, closed forms and brute force."""

import itertools
import math

import numpy as np
import pytest

from bpjax.results import holm, success_contrast, time_contrast


def pairs(both, first, second, neither):
    return (
        np.repeat([True, True, False, False], [both, first, second, neither]),
        np.repeat([True, False, True, False], [both, first, second, neither]),
    )


@pytest.mark.parametrize(
    ("counts", "difference", "low", "high", "digits"),
    [
        ((14, 5, 0, 22), 0.122, 0.011, 0.226, 3),  # Altman et al. 2000, Statistics with Confidence, table 6.2
        ((1, 1, 7, 12), -0.286, -0.507, -0.026, 3),  # Fagerland et al. 2014, Statist. Med. 33, 2850: Bentur et al.
    ],
)
def test_newcombe_interval_of_published_examples(counts, difference, low, high, digits):
    found = success_contrast(*pairs(*counts))
    assert (found.both, found.first_only, found.second_only, found.neither) == counts
    assert found.difference == pytest.approx((difference, low, high), abs=0.6 * 10**-digits)
    swapped = success_contrast(*reversed(pairs(*counts))).difference
    assert swapped == pytest.approx((-found.difference[0], -found.difference[2], -found.difference[1]))


@pytest.mark.parametrize(("first", "second"), [(1, 7), (5, 0), (3, 3), (0, 0), (12, 30)])
def test_mcnemar_is_the_binomial_test_of_discordant_pairs(first, second):
    n = first + second
    tail = sum(math.comb(n, k) for k in range(min(first, second) + 1)) / 2**n
    assert success_contrast(*pairs(4, first, second, 2)).p_value == pytest.approx(min(1.0, 2 * tail))


def test_times_with_failures_as_infinity():
    inf = np.inf
    first, second = [1, 2, inf, 4, inf, 6, 3], [2, 4, 5, 4, inf, inf, 9]
    found = time_contrast(first, second)
    assert (found.first_faster, found.second_faster, found.ties) == (4, 1, 2)
    assert found.p_value == pytest.approx(2 * (1 + 5) / 2**5)
    # ratios, sorted: 0, 1/3, 1/2, 1/2, 1, 1, inf; with 7 pairs P(B < 1) = 1/128, P(B < 2) = 8/128 > 0.025
    assert found.ratio == (0.5, 0.0, inf)
    assert time_contrast(first, second, confidence=0.8).ratio == (0.5, 1 / 3, 1.0)


@pytest.mark.parametrize("n", [1, 5, 6, 9])
def test_interval_of_the_median_covers_as_often_as_it_says(n):
    """All 2ⁿ equally likely sides of the true median, ratio 1, on which n continuous ratios can lie."""
    covered = []
    for signs in itertools.product([-1, 1], repeat=n):
        ratios = np.exp(np.array(signs) * np.linspace(0.1, 1, n))
        _, low, high = time_contrast(ratios, np.ones(n)).ratio
        covered.append(low <= 1 <= high)
    assert np.mean(covered) >= 0.95
    assert (n >= 6) == (np.mean(covered) < 1)


def test_median_of_an_even_number_of_ratios():
    assert time_contrast([1.0, 4.0], [1.0, 1.0]).ratio.value == 2.0
    assert time_contrast([1.0, np.inf], [1.0, 1.0]).ratio.value == np.inf
    assert time_contrast([np.inf] * 3, [np.inf] * 3).ratio.value == 1.0


def test_holm_by_hand():
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]).tolist() == [1.0, 1.0] and holm([]).size == 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: success_contrast([True], [True, False]), "one shape"),
        (lambda: success_contrast([1, 0], [1, 0]), "booleans"),
        (lambda: success_contrast([], []), "one shape"),
        (lambda: time_contrast([1, 2], [0, 3]), "times > 0"),
        (lambda: time_contrast([1, np.nan], [1, 3]), "times > 0"),
        (lambda: time_contrast([1], [1], confidence=1.0), "confidence"),
        (lambda: holm([0.5, 1.5]), "from 0 to 1"),
        (lambda: holm("word"), "`p_values` to be an array of real numbers, got 'word'"),
        (lambda: holm([0.5, "a"]), "`p_values` to be an array of real numbers"),
        (lambda: holm([0.5, True]), "`p_values` to be an array of real numbers"),
        (lambda: time_contrast([1.0, (2.0,)], [1, 3]), "`first` to be an array of real numbers"),
        (lambda: time_contrast([1.0, 2.0], {}), "`second` to be an array of real numbers"),
        (lambda: success_contrast([True, (1,)], [True, False]), "booleans in `first`"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
