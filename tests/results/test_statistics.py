"""Statistics of many runs."""

import numpy as np
import pytest

from bpjax.results import statistics


def test_wilson_by_its_formula():
    # Wilson 1927: (p + z²/2n ± z √(p(1−p)/n + z²/4n²)) / (1 + z²/n) for 17 of 20, z = 1.959964
    n, p, z = 20, 0.85, 1.959963984540054
    centre, half = p + z**2 / (2 * n), z * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    expected = ((centre - half) / (1 + z**2 / n), (centre + half) / (1 + z**2 / n))
    assert statistics.wilson(17, 20) == pytest.approx(expected, rel=1e-9)
    assert statistics.wilson(0, 20)[0] == 0.0


def test_failures_count_as_never():
    epochs = statistics.epochs_or_never([True, False, True, False, True], [10, 99, 20, 99, 30])
    np.testing.assert_array_equal(statistics.quantiles_with_failures(epochs, [0.2, 0.6, 0.8]), [10, 30, np.inf])
