"""Plots that the experiments share: the drawn data are the given data."""

import csv
import subprocess
import sys

import matplotlib
import numpy as np
import pytest

from bpjax.results import plots

matplotlib.use("Agg")
from matplotlib import pyplot as plt  # noqa: E402  (after the backend is chosen)


@pytest.fixture
def axis():
    figure, axis = plt.subplots()
    yield axis
    figure.canvas.draw()  # fails if something cannot be drawn
    plt.close(figure)


def legend(axis):
    return axis.get_legend_handles_labels()[1]


def test_a_map_has_its_values_axes_and_gaps(axis):
    values = np.array([[1.0, 2.0, 4.0], [np.inf, np.nan, 3.0]])
    mesh = plots.outcome_map(axis, [0.1, 1.0, 10.0], [0.0, 0.5], values, "median epochs")
    np.testing.assert_array_equal(mesh.get_array().filled(-1.0), [[1, 2, 4], [-1, -1, 3]])
    assert mesh.get_clim() == (1.0, 4.0)
    assert (axis.get_xscale(), axis.get_yscale()) == ("log", "linear")
    np.testing.assert_allclose(axis.get_xlim(), [10**-1.5, 10**1.5])
    np.testing.assert_allclose(axis.get_ylim(), [-0.25, 0.75])
    assert legend(axis) == ["never", "no data"]
    assert axis.figure.axes[1].get_ylabel() == "median epochs"
    hatched = [patch.get_xy()[0].tolist() for patch in axis.patches if patch.get_hatch()]
    np.testing.assert_allclose(hatched, [[10**-0.5, 0.25]])


@pytest.mark.parametrize("scale", ["linear", "log"])
def test_a_map_without_finite_values_is_drawn(scale, axis):
    plots.outcome_map(axis, [1, 2], [1], np.full((1, 2), np.inf), "epochs", scale=scale)
    assert legend(axis) == ["never"]


@pytest.mark.parametrize(
    "x, values, sentence",
    [
        ([1, 2, 3], np.zeros((3, 2)), r"expected `values` of shape \(len\(y\), len\(x\)\) = \(2, 3\), got \(3, 2\)"),
        ([1, 3, 2], np.zeros((2, 3)), r"must ascend, got \[1.0, 3.0, 2.0\]"),
        ([1, np.nan, 2], np.zeros((2, 3)), "must ascend"),
    ],
)
def test_a_wrong_map_is_reported(x, values, sentence, axis):
    with pytest.raises(ValueError, match=sentence):
        plots.outcome_map(axis, x, [1, 2], values, "share")


@pytest.mark.parametrize(
    "values, geometric",
    [
        ([0.01, 0.1, 1.0], True),
        ([0.01, 0.03, 0.1, 0.3], True),
        ([0.1, 100.0], True),
        ([1, 2, 3, 4, 5], False),
        ([0.0, 0.5, 0.9], False),
        ([0.9, 0.95, 0.99], False),
        ([3.0], False),
    ],
)
def test_geometric_axes_are_recognized(values, geometric):
    assert plots.is_geometric(values) == geometric


def test_edges_are_half_way_between_centres():
    np.testing.assert_allclose(plots.cell_edges([0, 1, 3]), [-0.5, 0.5, 2, 4])
    np.testing.assert_allclose(plots.cell_edges([1, 10, 100]), 10.0 ** np.array([-0.5, 0.5, 1.5, 2.5]))
    np.testing.assert_allclose(plots.cell_edges([7]), [6.5, 7.5])


def test_theory_does_not_change_the_limits(axis):
    axis.set(xlim=(0, 1), ylim=(0, 2))
    line = plots.theory_line(axis, [0, 5], [0, 9], "2(1 + α)/λ", style="--")
    assert (axis.get_xlim(), axis.get_ylim()) == ((0, 1), (0, 2))
    assert legend(axis) == ["2(1 + α)/λ"] and line.get_xdata()[1] == 5


def test_survival_starts_at_one_and_ticks_are_on_the_curve(axis):
    line = plots.survival_curve(axis, [2, 4], [0.5, 0.25], [0.3, 0.1], [0.7, 0.4], "α = 0.9", censored=[3, 6, 6])
    np.testing.assert_array_equal(line.get_xdata(), [0, 2, 4])
    np.testing.assert_array_equal(line.get_ydata(), [1, 0.5, 0.25])
    ticks = next(line for line in axis.lines if line.get_marker() == "|")
    np.testing.assert_array_equal(ticks.get_xydata(), [[3, 0.5], [6, 0.25]])
    assert legend(axis) == ["α = 0.9", "censored"]


def test_jumps_across_the_minimum_are_open_dots(axis):
    line = plots.alternating(axis, [1.0, -0.5, 0.25], plots.BLUE, "η = 1.5/λ", predicted=[1.0, -0.5, 0.25])
    np.testing.assert_array_equal(line.get_xydata(), [[0, 1], [1, -0.5], [2, 0.25]])
    across = next(line for line in axis.lines if line.get_markerfacecolor() == "white")
    np.testing.assert_array_equal(across.get_xydata(), [[1, -0.5]])
    assert legend(axis) == ["η = 1.5/λ", "theory"]


def test_sharpness_is_drawn_with_its_limit(axis):
    line = plots.sharpness(axis, [0, 10], [3.0, 8.0], 2 / 0.25, plots.RED, "η = 0.25")
    np.testing.assert_array_equal(line.get_ydata(), [3, 8])
    np.testing.assert_array_equal(axis.lines[1].get_ydata(), [8, 8])
    assert legend(axis) == ["η = 0.25", r"$2/\eta$"]


def test_csv_files_are_written_completely_or_not_at_all(tmp_path):
    path = tmp_path / "deep" / "map.csv"
    plots.write_csv(path, {"learning_rate": np.array([0.1, 1.0]), "reason": ["solved", 'a "b", c'], "epochs": [3, 4]})
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert rows == [["learning_rate", "reason", "epochs"], ["0.1", "solved", "3"], ["1.0", 'a "b", c', "4"]]
    before = path.read_bytes()
    with pytest.raises(ValueError, match=r"columns \(n,\) of one length, got {'a': \(2,\), 'b': \(1,\)}"):
        plots.write_csv(path, {"a": [1, 2], "b": [1]})
    assert path.read_bytes() == before and [file.name for file in path.parent.iterdir()] == ["map.csv"]
    with pytest.raises(ValueError, match="cannot be written"):
        plots.write_csv(path / "below_a_file.csv", {"a": [1]})


def test_bpjax_needs_no_plotting():
    code = "import sys, bpjax, bpjax.results.plots; print({'matplotlib', 'xarray'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


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


def test_a_hinton_diagram_has_areas_in_proportion_and_signs(axis):
    squares = plots.hinton(axis, [[4.0, -1.0, 0.0], [np.nan, 2.0, -4.0]], rows=["a", "b"], columns=["x", "y", "z"])
    boxes = [path.get_extents() for path in squares.get_paths()]
    # 0 and NaN have no square; the largest has side 0.92, so areas are 0.8464 |w| / 4
    np.testing.assert_allclose([box.width * box.height for box in boxes], [0.8464, 0.2116, 0.4232, 0.8464])
    centres = [((box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2) for box in boxes]
    np.testing.assert_allclose(centres, [(0, 0), (1, 0), (1, 1), (2, 1)], atol=1e-12)
    faces, edges = squares.get_facecolor(), squares.get_edgecolor()
    filled = [tuple(face) == tuple(edge) for face, edge in zip(faces, edges, strict=True)]
    assert filled == [True, False, True, False]
    assert axis.get_ylim() == (1.5, -0.5)  # row 0 at the top
    assert [label.get_text() for label in axis.get_xticklabels()] == ["x", "y", "z"]


def test_a_hinton_diagram_with_a_given_scale(axis):
    squares = plots.hinton(axis, [[1.0, 8.0]], largest=4.0)
    assert [path.get_extents().width for path in squares.get_paths()] == pytest.approx([0.46, 0.92])
    assert len(plots.hinton(axis, np.zeros((2, 2))).get_paths()) == 0


@pytest.mark.parametrize(
    ("weights", "more", "sentence"),
    [
        ([1.0, 2.0], {}, r"shape \(R, C\), got \(2,\)"),
        ([[np.inf]], {}, "finite `weights`"),
        ([["a"]], {}, "of numbers"),
        ([[1.0]], {"largest": 0.0}, "`largest` > 0, got 0"),
        ([[1.0]], {"rows": ["a", "b"]}, "1 labels in `rows`, got 2"),
    ],
)
def test_a_wrong_hinton_diagram_is_reported(weights, more, sentence, axis):
    with pytest.raises(ValueError, match=sentence):
        plots.hinton(axis, weights, **more)
