"""The page of a sweep: it holds the sweep's data, makes no network requests, and shows the cell pointed at."""

import base64
import json
import re

import numpy as np
import pytest
from browser import opened

from bpjax.results import page

pytestmark = pytest.mark.thorough

xr = pytest.importorskip("xarray")

TITLE = """<script>alert("1 & 2")</script> ½ Σ (t − o)² {{data}}"""
REASONS = {"flag_values": [0, 1, 2, 3], "flag_meanings": "running diverged every_output_right epoch_limit"}


def sweep(rates=4, momenta=3, seeds=5, epochs=6):
    """Runs with known values: solved at small rates, diverged at the largest, some at the epoch limit."""
    random = np.random.default_rng(0)
    dims, shape = ("learning_rate", "momentum", "seed"), (rates, momenta, seeds)
    reason = np.where(random.random(shape) < 0.3, 3, 2).astype(np.int8)
    reason[-1] = 1
    error = np.where(reason == 1, np.inf, random.random(shape)).astype(np.float32)
    error[-1, 0, 0] = np.nan
    curve = random.random((*shape, epochs)).astype(np.float32)
    curve[..., -1] = np.nan
    return xr.Dataset(
        {
            "reason": (dims, reason, REASONS),
            "solved": (dims, reason == 2),
            "diverged": (dims, reason == 1),
            "epochs": (dims, random.integers(1, 100, shape).astype(np.int32)),
            "error": (dims, error, {"units": "½ Σ (t − o)²"}),
            "curve": ((*dims, "epoch"), curve),
        },
        coords={
            "learning_rate": np.geomspace(0.01, 10, rates),
            "momentum": ("momentum", np.linspace(0, 0.9, momenta), {"long_name": "momentum α < 1"}),
            "seed": 100 + np.arange(seeds),
            "epoch": np.arange(10, 10 * epochs + 10, 10),
        },
        attrs={"title": "XOR"},
    )


def read(path):
    """The data on a page, and the page without the data."""
    text = path.read_text(encoding="utf-8")
    scripts = re.findall(r"<script[^>]*>.*?</script>", text, re.DOTALL)
    data = next(script for script in scripts if script.startswith('<script id="data"'))
    return json.loads(data[data.index(">") + 1 : -len("</script>")]), text.replace(data, "")


DTYPES = {"Uint8Array": "u1", "Int8Array": "i1", "Uint16Array": "<u2", "Int32Array": "<i4", "Float32Array": "<f4"}


def decode(packed, shape):
    return np.frombuffer(base64.b64decode(packed["data"]), DTYPES[packed["type"]]).reshape(shape)


def decode_curves(packed, shape):
    """By the formula of `packed_logarithms`, written out again."""
    codes = decode(packed, shape).astype(float)
    values = 10 ** (packed["low"] + (codes - 1) / 65534 * (packed["high"] - packed["low"]))
    return np.where(codes == 0, np.nan, values)


def test_the_page_holds_the_sweep(tmp_path):
    result = sweep()
    line = (np.array([0.1, 1.0]), np.array([0.0, np.nan]))
    data, _ = read(page.sweep_page(result, tmp_path / "map.html", lines={"a < b": line}))
    assert data["shape"] == [3, 4, 5] and data["seeds"] == [100, 101, 102, 103, 104]
    assert (data["x"]["log"], data["y"]["log"]) == (True, False)
    assert data["y"]["label"] == "momentum α < 1"
    # midpoints 0.225 and 0.675, and the ends of the range of a momentum coefficient
    np.testing.assert_allclose(data["y"]["edges"], [0, 0.225, 0.675, 1])
    there = result.transpose("momentum", "learning_rate", "seed", "epoch")
    for name in ("reason", "epochs", "error"):
        np.testing.assert_array_equal(decode(data[name], data["shape"]), there[name].values)
    np.testing.assert_allclose(decode_curves(data["curves"]["values"], (3, 4, 5, 6)), there["curve"].values, rtol=1e-3)
    assert data["curves"]["epochs"] == result.epoch.values.tolist() and data["notes"] == []
    assert data["meanings"] == {"1": "diverged", "2": "every output right", "3": "epoch limit"}
    assert data["lines"] == [{"name": "a < b", "x": [0.1, 1.0], "y": [0.0, None]}]


def test_failures_are_counted_in_the_maps(tmp_path):
    result = sweep(rates=2, momenta=1, seeds=4)
    result.reason[0, 0] = [2, 2, 3, 1]
    result["solved"], result["diverged"] = result.reason == 2, result.reason == 1
    result.epochs[0, 0] = [30, 10, 99, 5]
    result.error[0, 0] = [0.1, 0.2, 0.4, np.nan]
    data, _ = read(page.sweep_page(result, tmp_path / "map.html", y="momentum"))
    shown = {map_["name"]: decode(map_["values"], (1, 2)) for map_ in data["maps"]}
    # two of four succeeded, after 10 and 30 epochs: half the runs at 30; at the larger rate every run diverged
    np.testing.assert_array_equal(shown["solved"], [[50, 0]])
    np.testing.assert_array_equal(shown["epochs"], [[30, np.inf]])
    np.testing.assert_array_equal(shown["diverged"], [[25, 100]])
    np.testing.assert_allclose(shown["error"], [[0.2, np.inf]], rtol=1e-6)
    # Wilson for 2 of 4 at z = 1.959964 by hand: ½ ± z √(1/16 + z²/64) / (1 + z²/4) = ½ ± 0.34998
    ends = [decode(data["maps"][0][end], (1, 2))[0, 0] for end in ("low", "high")]
    np.testing.assert_allclose(ends, [15.0, 85.0], atol=0.01)
    assert data["answer"] == "Fastest at learning rate 0.01, momentum α < 1 0: 30 epochs (median)."


def test_an_axis_of_texts_is_in_the_given_order(tmp_path):
    result = sweep(momenta=3).assign_coords(momentum=["plain", "heavy ball", "convex"])
    result.attrs["answer"] = "Heavy ball."
    data, _ = read(page.sweep_page(result, tmp_path / "map.html", x="momentum", y="learning_rate"))
    assert data["x"]["words"] == ["plain", "heavy ball", "convex"] and data["x"]["ends"] == [-0.5, 2.5]
    assert data["answer"] == "Heavy ball."
    there = result.transpose("learning_rate", "momentum", "seed", "epoch")
    np.testing.assert_array_equal(decode(data["epochs"], data["shape"]), there.epochs.values)


def test_a_page_of_many_runs_is_small(tmp_path):
    path = page.sweep_page(sweep(rates=21, momenta=20, seeds=50, epochs=30), tmp_path / "map.html")
    assert path.stat().st_size < 1_500_000


def test_axes_are_sorted_and_seeds_can_be_one(tmp_path):
    result = sweep().isel(momentum=0, drop=True).isel(learning_rate=[2, 0, 3, 1])
    data, _ = read(page.sweep_page(result.drop_vars("curve"), tmp_path / "map.html"))
    assert data["shape"] == [5, 4, 1] and data["y"]["label"] == "seed" and data["curves"] is None
    there = result.drop_dims("epoch").sortby("learning_rate").transpose("seed", "learning_rate")
    np.testing.assert_array_equal(decode(data["epochs"], (5, 4)), there.epochs.values)
    assert data["x"]["values"] == there.learning_rate.values.tolist()
    assert data["notes"] == ["This sweep stored no error curves."]


def sampled():
    return sweep().stack(sample=("learning_rate", "momentum")).reset_index("sample").transpose("sample", "seed", ...)


def test_scattered_samples_are_dots(tmp_path):
    data, _ = read(page.sweep_page(sampled(), tmp_path / "map.html"))
    assert data["sampled"] and data["shape"] == [12, 5] and "edges" not in data["x"]
    assert data["x"]["ends"][0] < 0.01 and data["x"]["ends"][1] > 10
    np.testing.assert_array_equal(decode(data["epochs"], (12, 5)), sampled().epochs.values)


def test_with_many_runs_fewer_curves_are_kept_and_a_note_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(page, "MOST_CURVE_VALUES", 12 * 2 * 6)
    data, _ = read(page.sweep_page(sweep(), tmp_path / "map.html"))
    assert data["notes"] == ["Error curves are those of the first 2 of 5 runs in each cell."]
    curves = decode_curves(data["curves"]["values"], (3, 4, 2, 6))
    np.testing.assert_allclose(curves, sweep().curve.transpose("momentum", ...).values[:, :, :2], rtol=1e-3)
    monkeypatch.setattr(page, "MOST_CURVE_VALUES", 12 * 3)
    data, _ = read(page.sweep_page(sweep(), tmp_path / "map.html"))
    assert data["notes"][0] == "Error curves are shown at 3 of their 6 epochs." and data["curves"]["runs"] == 1
    assert data["curves"]["epochs"] == [10, 30, 60]


def test_the_page_makes_no_network_requests_and_escapes_its_title(tmp_path):
    path = page.sweep_page(sweep(), tmp_path / "map.html", title=TITLE, lines={"</script><b>": ([1], [1])})
    _, text = read(path)
    assert "http:" not in text and "https:" not in text and "fetch(" not in text and "XMLHttpRequest" not in text
    assert re.findall(r"(?:src|href)\s*=\s*[\"']?([^\"'\s>]*)", text) == ["data:,"]
    assert "default-src 'none'" in text
    assert text.count("&lt;script&gt;alert(&quot;1 &amp; 2&quot;)&lt;/script&gt; ½ Σ (t − o)² {{data}}") == 2


@pytest.mark.parametrize(
    "change, arguments, sentence",
    [
        (lambda r: r.drop_vars(["solved", "epochs"]), {}, "the result lacks solved, epochs"),
        (lambda r: r, {"x": "rate"}, "cannot use 'rate' as `x`: the result varies learning_rate, momentum"),
        (lambda r: r, {"x": "seed"}, "cannot use 'seed' as `x`"),
        (lambda r: r, {"x": "momentum", "y": "momentum"}, "two different axes"),
        (lambda r: r.expand_dims(hidden=[2, 3]), {"y": "momentum"}, r"Select one value: `result.sel\("),
        (lambda r: r, {"y": "seed"}, r"Select one value: `result.sel\(momentum=0.0\)`"),
        (lambda r: r.assign_coords(momentum=[0.0, 0.5, 0.5]), {}, "different, finite values along `momentum`"),
        (lambda r: r.assign(error=r.error.mean("seed")), {}, "every variable over .* but error is not"),
        (lambda r: r, {"lines": {"theory": ([1, 2], [1])}}, "expected the line 'theory' as"),
        (lambda r: r, {"lines": {"theory": 3}}, "expected the line 'theory' as"),
        (lambda r: r.isel(seed=slice(0)), {}, "a result with runs"),
    ],
)
def test_bad_input_is_reported_and_leaves_no_file(change, arguments, sentence, tmp_path):
    with pytest.raises(ValueError, match=sentence):
        page.sweep_page(change(sweep()), tmp_path / "map.html", **arguments)
    assert not list(tmp_path.iterdir())


def test_the_earlier_page_stays_when_writing_fails(tmp_path, monkeypatch):
    path = page.sweep_page(sweep(), tmp_path / "map.html")
    before = path.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(ValueError, match="cannot be written .No space left on device.: choose another place"):
        page.sweep_page(sweep(), path, title="another")
    assert path.read_bytes() == before and [file.name for file in tmp_path.iterdir()] == ["map.html"]


def point_at(browser, column, row, columns, rows, click=False):
    """Move the mouse to the middle of a cell of the map, counted from the left and from below."""
    from selenium.webdriver import ActionChains

    area = browser.find_element("css selector", "#plane rect.frame")
    width, height = area.rect["width"], area.rect["height"]
    x, y = ((column + 0.5) / columns - 0.5) * width, (0.5 - (row + 0.5) / rows) * height
    mouse = ActionChains(browser, duration=50).move_to_element_with_offset(area, round(x), round(y))
    (mouse.click() if click else mouse).perform()


def expect(browser, condition):
    from selenium.webdriver.support.ui import WebDriverWait

    WebDriverWait(browser, 5, poll_frequency=0.05).until(lambda _: condition())


def curves_drawn(browser):
    """The errors of each run in the plot beside the map."""
    return [np.array(curve) for curve in browser.execute_script("return curvesOf(cell).map(curve => curve.y)")]


def test_pointing_at_a_cell_shows_its_runs(browser, tmp_path):
    from selenium.webdriver import Keys

    result = sweep()
    result.error[3] = 7.5  # all diverged
    text = opened(browser, page.sweep_page(result, tmp_path / "a page.html", lines={"2(1 + α)/λ": ([1, 9], [0, 0.9])}))
    assert text("about").startswith("60 runs: 12 cells of 5 runs each, 15 diverged")

    point_at(browser, 3, 2, 4, 3)
    expect(browser, lambda: text("cell") == "learning rate 10, momentum α < 1 0.9")
    rows = [row.text for row in browser.find_elements("css selector", "#runs tr")]
    assert rows == [f"{100 + s} diverged {result.epochs.values[3, 2, s]} 7.5" for s in range(5)]
    # Wilson for 0 of 5: from 0 to z²/(5 + z²) = 3.8415/8.8415 = 43.4 %
    assert text("summary") == (
        "5 diverged of 5 runs. Solved 0 % of runs (95 % interval 0 to 43.4); "
        "median time never, in more than half of the runs."
    )
    assert len(browser.find_elements("css selector", "#errors .curve")) == 5
    drawn = curves_drawn(browser)  # a run longer than 50, the last stored epoch, ends at its final error
    for seed in range(5):
        curve, end = result.curve.values[3, 2, seed, :5], [7.5] if result.epochs.values[3, 2, seed] > 50 else []
        np.testing.assert_allclose(drawn[seed], [*curve, *end], rtol=1e-3)

    point_at(browser, 1, 0, 4, 3, click=True)
    expect(browser, lambda: text("cell") == "learning rate 0.1, momentum α < 1 0" and "Pinned" in text("state"))
    point_at(browser, 3, 2, 4, 3)
    point_at(browser, 2, 2, 4, 3)
    assert text("cell") == "learning rate 0.1, momentum α < 1 0"

    map_ = browser.find_element("id", "map")
    map_.send_keys(Keys.ESCAPE, Keys.ARROW_RIGHT, Keys.ARROW_UP)
    expect(browser, lambda: text("cell") == "learning rate 1, momentum α < 1 0.45")

    titles = {}
    for option in browser.find_elements("css selector", "#quantity option"):
        option.click()
        titles[option.text] = browser.execute_script("return [...map.values].slice(0, 4)")
    assert list(titles) == [
        "runs that solved the task (% of runs)",
        "median epochs to the goal (epochs)",
        "runs that diverged (% of runs)",
        "median final error (½ Σ (t − o)²)",
    ]
    assert titles["runs that diverged (% of runs)"] == [0, 0, 0, 100]
    assert "2(1 + α)/λ" in text("keys") and text("answer").startswith("Fastest at learning rate")
    assert "learning rate" in browser.find_element("id", "plane").text


def test_dots_and_seeds_can_be_pointed_at(browser, tmp_path):
    from selenium.webdriver import ActionChains

    text = opened(browser, page.sweep_page(sampled(), tmp_path / "dots.html"))
    shapes = browser.execute_script(
        "return [...document.querySelectorAll('#plane .shade')].map(p => p.getAttribute('d'))"
    )
    assert sum(shape.count("Z") for shape in shapes) == 12
    places = browser.execute_script("return [plane.toX(data.x.values[0]), plane.toY(data.y.values[0])]")
    box = browser.find_element("id", "plane")
    x, y = places[0] - box.rect["width"] / 2, places[1] - box.rect["height"] / 2
    ActionChains(browser, duration=50).move_to_element_with_offset(box, round(x), round(y)).perform()
    expect(browser, lambda: text("cell") == "learning rate 0.01, momentum α < 1 0")
    result = sweep().isel(momentum=1, drop=True)
    result.seed.attrs["long_name"] = "initial weights"
    text = opened(browser, page.sweep_page(result, tmp_path / "seeds.html"))
    point_at(browser, 0, 4, 4, 5)
    expect(browser, lambda: text("cell") == "learning rate 0.01, initial weights 104")
    (row,) = browser.find_elements("css selector", "#runs tr")
    assert row.text.startswith("104 ")


def test_the_browser_requests_nothing_but_the_file(browser, tmp_path):
    browser.get_log("performance"), browser.get_log("browser")
    path = page.sweep_page(sweep(), tmp_path / "map.html", title=TITLE)
    opened(browser, path)
    assert browser.title == TITLE and browser.find_element("tag name", "h1").text == TITLE
    point_at(browser, 0, 0, 4, 3)
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    requests = [m["params"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    # Requests of Chrome's initial tab have another documentURL.
    asked = {r["request"]["url"] for r in requests if r["documentURL"] == path.as_uri()}
    assert {url for url in asked if not url.startswith(("data:", "blob:"))} == {path.as_uri()}
    assert browser.get_log("browser") == []  # no error, and nothing that the page's policy refuses
