"""Looks of figures: size, text, language, colours, and the figures of any sweep."""

import itertools
import json

import matplotlib
import numpy as np
import pytest

matplotlib.use("Agg")
from matplotlib import pyplot as plt  # noqa: E402  (after the backend is chosen)

from bpjax.results import plots  # noqa: E402
from bpjax.results.plots import colours, words  # noqa: E402
from bpjax.results.plots.cells import cells_of  # noqa: E402
from bpjax.results.plots.panels import wrapped  # noqa: E402
from bpjax.results.statistics import median_interval  # noqa: E402

xr = pytest.importorskip("xarray")


def sweep(**extra):
    """Rates 0.1, 1, 10 and α 0, 0.9 with four seeds: at (1, 0.9) all four are solved after 10, 20, 30, 40 epochs."""
    dims, shape = ("learning_rate", "momentum", "seed"), (3, 2, 4)
    solved = np.zeros(shape, bool)
    solved[1, 1], solved[1, 0, :2] = True, True
    epochs = np.full(shape, 100)
    epochs[1, 1], epochs[1, 0, :2] = [10, 20, 30, 40], [50, 60]
    curve = np.linspace(1, 0.1, 5) * np.ones((*shape, 1))
    return xr.Dataset(
        {"solved": (dims, solved), "epochs": (dims, epochs), "reason": (dims, np.where(solved, 2, 3)),
         "curve": ((*dims, "epoch"), curve)},
        {"learning_rate": [0.1, 1.0, 10.0], "momentum": [0.0, 0.9], "seed": range(4), "epoch": [1, 5, 20, 50, 100]},
    )  # fmt: skip


def test_no_two_meanings_share_a_colour_and_colour_blind_readers_can_tell_them_apart():
    hexes = [colour for colour in colours.MEANINGS if colour.startswith("#")]
    rgb = np.array([[int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)] for colour in hexes])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    # Machado, Oliveira & Fernandes 2009, severity 1, in linear RGB
    deuteranopia = np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]]
    )
    protanopia = np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    )
    for matrix in (np.eye(3), deuteranopia, protanopia):
        seen = np.clip(linear @ matrix.T, 0, 1) ** (1 / 2.2)
        for (i, a), (j, b) in itertools.combinations(enumerate(seen), 2):
            assert np.abs(a - b).max() > 0.12, (hexes[i], hexes[j])


def test_a_figure_has_the_width_text_and_colours_of_its_look():
    look = plots.Look(width=3.5, font_size=7, dark=True, colour_map="magma")
    before = dict(matplotlib.rcParams)
    with plots.looking(look):
        figure = plots.sweep_figures(sweep())["epochs"]()
        plots.finish(figure)
        assert figure.get_size_inches()[0] == 3.5
        axis = figure.axes[0]
        assert axis.xaxis.label.get_fontsize() == 7 and axis.xaxis.label.get_color() == plots.ink() == "#E8E8E8"
        assert matplotlib.colors.to_hex(figure.get_facecolor()) == "#14171a"
        assert axis.collections[0].get_cmap().name == "magma"
        plt.close(figure)
    assert dict(matplotlib.rcParams) == before and plots.current_look().dark is False


def test_cells_of_the_momentum_coefficient_stay_within_its_range():
    with plots.looking(plots.Look()):
        figure = plots.sweep_figures(sweep())["success"]()
    assert figure.axes[0].get_ylim() == (0.0, 1.0)
    plt.close(figure)
    # by hand: midpoint 0.45, mirrored outwards -0.45 and 1.35, cut to [0, 1)
    np.testing.assert_allclose(plots.cell_edges([0.0, 0.9], 0.0, 1.0), [0.0, 0.45, 1.0])
    np.testing.assert_allclose(plots.cell_edges([0.0, 0.9]), [-0.45, 0.45, 1.35])


def test_the_answer_of_a_sweep_is_its_fastest_setting():
    cells = cells_of(sweep())
    assert cells.fastest == (0, 1, 1) and cells.named(cells.fastest) == "learning rate 1, momentum 0.9"
    assert (
        cells.share((0, 0, 1))[:2] == (2, 4) and cells.median((0, 0, 1))[0] == 60 and cells.median((0, 1, 1))[0] == 20
    )
    missing = sweep()
    missing.reason[1, 1, 3] = -1  # not there yet
    assert cells_of(missing).share((0, 1, 1))[:2] == (3, 3)
    with plots.looking(plots.Look(width=7)):
        figure = plots.sweep_figures(sweep())["epochs"]()
        plots.finish(figure)
    assert [text.get_text() for text in figure.texts][
        1
    ] == "Fastest at learning rate 1, momentum 0.9: 20 epochs (median)."
    plt.close(figure)


@pytest.mark.parametrize(
    "change, sentence",
    [
        (lambda r: r.drop_vars("solved"), "it lacks solved. It has epochs, reason, curve"),
        (lambda r: r.isel(seed=slice(0)), "a sweep with runs"),
        (lambda r: r.rename(seed="sample"), "randomly drawn settings"),
        (lambda r: r.expand_dims(width=range(20)), "at most 12 panels beside learning_rate and width"),
    ],
)
def test_what_is_no_sweep_is_refused_in_a_sentence(change, sentence):
    with pytest.raises(ValueError, match=sentence):
        plots.sweep_figures(change(sweep().expand_dims(depth=range(20)) if "panels" in sentence else sweep()))


def test_one_hyperparameter_gives_curves_and_none_gives_the_runs():
    with plots.looking(plots.Look()):
        for result, names in ((sweep().isel(momentum=1), 4), (sweep().isel(momentum=1, learning_rate=1), 2)):
            drawn = plots.sweep_figures(result)
            assert len(drawn) == names
            for draw in drawn.values():
                figure = draw()
                plots.finish(figure)
                figure.draw_without_rendering()
                plt.close(figure)


def test_the_interval_of_a_median_by_hand():
    # 10 values: P(B ≤ 1) = 11/1024 = 0.011, P(B ≤ 2) = 56/1024 = 0.055 > 0.025, so k = 2: ranks 2 and 9
    assert median_interval(range(1, 11)) == (5, 2, 9)
    # 5 values: P(B ≤ 0) = 1/32 > 0.025, so there is none
    assert median_interval([1, 2, 3, 4, 5])[0] == 3 and np.isnan(median_interval([1, 2, 3, 4, 5])[1])
    assert median_interval([1, 2, 3, np.inf, np.inf, np.inf]) == (3, 1, np.inf)
    # 1,000 values against SciPy's binomial quantile
    assert median_interval(range(1, 1001))[1:] == (469, 532)
    with pytest.raises(ValueError, match="at least one value"):
        median_interval([])


def test_figures_speak_german_and_words_of_the_user_come_first():
    assert words.translated("epochs to the goal", "de", {}) == "Epochen bis zum Ziel"
    assert words.translated("Most at learning rate 0.5: 3 of 4 runs (95 % interval 30 to 95 %).", "de", {}) == (
        "Die meisten bei Lernrate 0,5: 3 von 4 Läufen (95-%-Intervall 30 bis 95 %)."
    )
    assert words.translated("1,234.5", "de", {}) == "1\N{NARROW NO-BREAK SPACE}234,5"
    assert words.translated("epoch", "de", {"epoch": "Durchgang"}) == "Durchgang"
    assert words.translated("epoch", "en", {"epoch": "pass"}) == "pass"
    with plots.looking(plots.Look(language="de")):
        figure = plots.sweep_figures(sweep())["success"]()
        plots.finish(figure)
        figure.draw_without_rendering()
        assert figure.axes[0].get_xlabel() == "Lernrate"
        assert "0,2" in [label.get_text() for label in figure.axes[0].get_yticklabels()]
        plt.close(figure)


def test_german_has_as_many_places_as_english():
    for english, german in words.LANGUAGES["de"].items():
        assert english.count("{}") == german.count("{}"), english
    json.dumps(dict(words.LANGUAGES["de"]))


def test_names_beside_lines_do_not_cover_each_other():
    with plots.looking(plots.Look()):
        figure, (axis,) = plots.panels(1)
        axis.set(xlim=(0, 1), ylim=(0, 1))
        plots.name_lines(
            axis, [(0.5, "one", "black"), (0.51, "two", "black"), (0.505, "three", "black"), (1e30, "far", "black")]
        )
        plots.finish(figure)
        boxes = sorted((text.get_window_extent().y0, text.get_window_extent().y1) for text in axis.texts)
        assert all(low[1] <= high[0] + 1 for low, high in itertools.pairwise(boxes))
        plt.close(figure)


def test_a_long_question_is_wrapped_within_the_width():
    font = matplotlib.font_manager.FontProperties(size=8)
    lines = wrapped("word " * 60, 3.5, font).splitlines()
    assert len(lines) > 3 and "95\N{NO-BREAK SPACE}%" in wrapped("95 %", 1, font)


@pytest.mark.parametrize(
    "look, sentence",
    [
        (plots.Look(width=0.1), "`width` to be a finite number"),
        (plots.Look(font_size=float("nan")), "`font_size` to be a finite number"),
        (plots.Look(colour_map="sepia"), "`colour_map` to be one of Matplotlib's"),
        (plots.Look(language="la"), "`language` to be one of en, de"),
        (plots.Look(font="No Such Font"), "`font` to be installed"),
    ],
)
def test_a_look_that_cannot_be_drawn_is_refused(look, sentence):
    with pytest.raises(ValueError, match=sentence), plots.looking(look):
        pass
