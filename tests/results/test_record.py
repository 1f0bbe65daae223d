"""Results on disk, statistics and plots."""

import json
from dataclasses import dataclass

import matplotlib
import numpy as np
import pytest

from bpjax.results import plots, record, statistics

matplotlib.use("Agg")
from matplotlib import pyplot as plt  # noqa: E402  (after the backend is chosen)


@dataclass(frozen=True)
class Config:
    rate: float = 0.1


def write(folder, text):
    with record.written_aside(folder) as aside:
        (aside / "numbers.csv").write_text(text)
        record.write_record(aside, Config(), receipt="right")


def test_a_result_replaces_a_result(tmp_path):
    folder = tmp_path / "deep" / "result"
    write(folder, "first")
    write(folder, "second")
    assert (folder / "numbers.csv").read_text() == "second"
    written = json.loads((folder / record.MARK).read_text())
    assert written["config"] == {"rate": 0.1} and written["receipt"] == "right"
    assert written["versions"]["jax"] and written["device"]["platform"] == "cpu"
    assert written["precision"] == {"matmul": "highest", "x64": True}
    assert [path.name for path in folder.parent.iterdir()] == ["result"]


@pytest.mark.parametrize("stop", [KeyboardInterrupt, OSError])
def test_the_earlier_result_stays_when_writing_fails(stop, tmp_path):
    folder = tmp_path / "result"
    write(folder, "first")
    with pytest.raises(stop), record.written_aside(folder) as aside:
        (aside / "numbers.csv").write_text("half")
        raise stop
    assert (folder / "numbers.csv").read_text() == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["result"]


def test_only_a_result_is_replaced(tmp_path):
    (tmp_path / "letters.txt").write_text("dear")
    with pytest.raises(ValueError, match="holds something that is not a result"):
        write(tmp_path, "first")
    assert (tmp_path / "letters.txt").read_text() == "dear"
    with pytest.raises(ValueError, match="cannot be written to"):
        record.check_replaceable(tmp_path / "letters.txt" / "result")


def test_a_result_needs_its_record(tmp_path):
    with pytest.raises(RuntimeError, match="needs its record"), record.written_aside(tmp_path / "result"):
        pass
    assert not list(tmp_path.iterdir())


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


def test_curves_continue_after_a_run_has_stopped():
    curves = np.array([[3.0, 2.0, np.nan, np.nan], [3.0, 2.5, 2.0, 1.0]])
    np.testing.assert_array_equal(plots.carry_forward(curves), [[3, 2, 2, 2], [3, 2.5, 2, 1]])


def test_plots_return_their_artists():
    figure, axis = plt.subplots()
    rates = np.array([0.1, 1.0, 10.0])
    line = plots.error_curves(axis, np.array([[4.0, 2.0, np.nan], [4.0, 3.0, 1.0]]), plots.BLUE, "run")
    np.testing.assert_allclose(line.get_ydata(), [4.0, 2.5, 1.5])
    bars = plots.epochs_to_goal(axis, rates, [[5, np.inf, np.inf], [5, 6, 7], [1, 2, np.inf]], plots.BLUE, "epochs")
    np.testing.assert_array_equal(bars.lines[0].get_xdata(), [1.0, 10.0])
    np.testing.assert_array_equal(bars.lines[0].get_ydata(), [6.0, 2.0])
    shares = plots.proportion(axis, rates, [0.0, 0.5, 1.0], [0.0, 0.2, 0.8], [0.2, 0.8, 1.0], plots.RED, "solved")
    np.testing.assert_array_equal(shares.lines[0].get_ydata(), [0.0, 50.0, 100.0])
    assert plots.classical_limit(axis, [0.5, 1.0, 2.0]).get_xdata()[0] == 1.0
    assert plots.region(axis, rates, [False, False, False], plots.RED, "none") is None
    assert plots.region(axis, rates, [False, True, True], plots.RED, "most").get_x() == pytest.approx(10**-0.5)
    plt.close(figure)
