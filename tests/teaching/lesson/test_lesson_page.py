"""The lesson in a browser: its own arithmetic repeats the run, and keyboard, live part and formulas work."""

import jax
import numpy as np
import pytest
from browser import opened

import bpjax as bp
from bpjax.teaching import LessonRun

pytestmark = pytest.mark.thorough

LINEAR_OUTPUT = {
    "activations": (bp.tanh, bp.layers.identity),
    "loss": bp.mean_squared_error,
    "optimizer": bp.momentum(0.08, 0.9, "nesterov"),
}
XOR, ENCODER = bp.xor().present(), bp.encoder(4).present()


def write(path, sizes=(2, 2, 1), optimizer=None, **options):
    """A page of a training from seed 0, and what made it."""
    loss = options.pop("loss", bp.squared_error)
    hidden, output = options.pop("activations", (bp.sigmoid, bp.sigmoid))
    network = bp.mlp(sizes, hidden, output, weights=bp.uniform(1.0), biases=bp.uniform(1.0))
    params, _ = network.init(jax.random.key(0), sizes[:1])
    batch = options.pop("batch", XOR if sizes[0] == 2 else ENCODER)
    optimizer = optimizer or bp.momentum(0.5, 0.9)
    bp.lesson(network, loss, params, batch, optimizer, options.pop("steps", 500), path, **options)
    return network, loss, params, batch, optimizer


def repeated(browser):
    """The largest difference of a number between the run and the arithmetic of the page."""
    return browser.execute_script("return largestDifference(runs[0])")


def trained(network, loss, params, batch, optimizer, steps):
    """The error and the weights after some steps, by the training step of the library."""
    step = jax.jit(bp.make_train_step(bp.backprop(network, loss), optimizer))
    state = bp.training.TrainState(params, optimizer.init(params), ())
    for _ in range(steps):
        state, _ = step(state, batch)
    return float(step(state, batch)[1].value), state.params


@pytest.mark.parametrize(
    ("sizes", "options"),
    [
        ((2, 2, 1), {}),
        ((4, 2, 4), {"optimizer": bp.momentum(2.0, 0.8, "convex")}),
        ((2, 3, 2, 1), LINEAR_OUTPUT),
        (
            (4, 3, 4),
            {"activations": (bp.relu, None), "loss": bp.softmax_cross_entropy, "optimizer": bp.momentum(0.1, 0)},
        ),
        ((2, 3, 1), {"activations": (bp.tanh, None), "loss": bp.binary_cross_entropy}),
    ],
    ids=lambda value: "-".join(map(str, value)) if isinstance(value, tuple) else "",
)
def test_the_page_repeats_500_steps_to_a_millionth(browser, tmp_path, sizes, options):
    made = write(tmp_path / "page.html", sizes, **options)
    opened(browser, tmp_path / "page.html")
    assert browser.execute_script("return examples.count * data.steps.length") == 4 * 501
    assert repeated(browser) < 1e-6
    error, params = trained(*made, steps=500)
    ours = browser.execute_script(
        "const state = trainedTo(runs[0], 500); return [liveFrame(state).error, state.weights.map(w => Array.from(w))]"
    )
    np.testing.assert_allclose(ours[0], error, rtol=1e-6, atol=1e-12)
    for flat, layer in zip(ours[1], [p for p in params if p != ()], strict=True):
        np.testing.assert_allclose(flat, np.concatenate([layer.w, layer.b[None]]).ravel(), rtol=1e-6)
    assert browser.get_log("browser") == []


def test_the_difference_is_seen(browser, tmp_path):
    """A page with another arithmetic does not repeat the run."""
    write(tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    (tmp_path / "wrong.html").write_text(
        text.replace("o => o * (1 - o)", "o => o * (1 - 0.9999 * o)"), encoding="utf-8"
    )
    opened(browser, tmp_path / "wrong.html")
    assert repeated(browser) > 1e-3


@pytest.mark.parametrize("activation", [bp.relu, bp.tanh, bp.layers.softplus], ids=repr)
def test_dead_and_saturated_units_are_those_of_the_library(browser, tmp_path, activation):
    network, _, params, batch, _ = write(
        tmp_path / "page.html", (2, 8, 1), bp.momentum(0.5, 0.9), steps=40, activations=(activation, bp.sigmoid)
    )
    opened(browser, tmp_path / "page.html")
    found = browser.execute_script(
        "const frame = recordedFrame(runs[0], 40); return [Array.from(frame.layers[0].a),"
        " examples.shown.map((_, n) => Array.from({length: 8}, (_, h) => conditionOf(frame, 0, h, n)))]"
    )
    states = bp.analysis.unit_states(activation, np.reshape(found[0], (4, 8)))
    expected = np.where(states.dead, "off", np.where(states.saturated, "saturated", "none"))
    expected[:, np.asarray(states.dead).all(axis=0)] = "dead"
    assert [[word or "none" for word in row] for row in found[1]] == expected.tolist()
    assert activation is bp.tanh or (expected != "none").any()


def test_keys_choose_units_and_connections_and_formulas_follow(browser, tmp_path):
    from selenium.webdriver import Keys

    network, loss, params, batch, _ = write(tmp_path / "page.html")
    text = opened(browser, tmp_path / "page.html")
    first, second = bp.signals(network, loss)(params, batch)
    browser.execute_script("state.n = 2; state.phase = 'back'; digits = 7; render()")
    drawing = browser.find_element("css selector", "svg.network")
    drawing.send_keys(Keys.ARROW_DOWN)
    formulas = text("formulas").splitlines()
    assert formulas[0] == "Hidden unit h2"
    o, delta = float(first.output[2, 1]), float(second.error_signal[2, 0])
    slope, w = o * (1 - o), float(params[2].w[1, 0])
    shown = [
        float(part.replace("−", "-"))
        for part in formulas[-1].split("δ = ")[1].replace("(", "").replace(")", "").replace("=", "×").split(" × ")
    ]
    np.testing.assert_allclose(shown, [slope, w, delta, float(first.error_signal[2, 1])], rtol=1e-6)
    assert text("spoken").startswith("Hidden unit h2")
    drawing.send_keys(Keys.ARROW_RIGHT)
    assert text("formulas").startswith("Connection h2 → y1")
    drawing.send_keys(Keys.ARROW_RIGHT)
    assert text("formulas").startswith("Output unit y1")
    for control, value in (("phase", "5 of 5: change the weights"), ("step", "1 of 500")):
        browser.find_element("id", control).send_keys(Keys.ARROW_RIGHT)
        assert text(f"{control}-value") == value
        assert browser.find_element("id", control).get_attribute("aria-valuetext").startswith(value)
    assert (
        browser.execute_script(
            "return [...document.querySelectorAll('input, select')].filter(e => !e.labels.length).length"
        )
        == 0
    )


def test_the_reader_changes_a_weight_and_the_rate_and_the_run_goes_on(browser, tmp_path):
    from selenium.webdriver import Keys

    made = write(tmp_path / "page.html", optimizer=bp.momentum(0.5, 0.9))
    network, loss, params, batch, _ = made
    text = opened(browser, tmp_path / "page.html")
    browser.execute_script("""
        select({kind: "edge", layer: 0, d: 1, h: 0});
        const put = (id, value) => { element(id).value = value; element(id).dispatchEvent(new Event("change")); };
        put("weight", "0.25"); put("rate", "0.7");
    """)
    browser.find_element("css selector", "[data-steps='10']").click()
    changed = (params[0]._replace(w=params[0].w.at[1, 0].set(0.25)), *params[1:])
    error, _ = trained(network, loss, changed, batch, bp.momentum(0.7, 0.9), 10)
    np.testing.assert_allclose(browser.execute_script("return state.live.whole.error"), error, rtol=1e-9)
    field = browser.find_element("id", "momentum")
    field.send_keys(Keys.CONTROL + "a", "2", Keys.ENTER)
    assert field.get_attribute("value") == "0.9"  # refused
    assert text("live-state").startswith("Live: step 10, left the recording at step 0.")
    browser.find_element("id", "recorded").click()
    assert browser.execute_script("return state.live") is None


def test_two_runs_stand_side_by_side(browser, tmp_path):
    network = bp.mlp((2, 2, 1), bp.sigmoid, bp.sigmoid)
    loss, (params, _) = bp.squared_error, network.init(jax.random.key(0), (2,))
    other = LessonRun(bp.momentum(0.5, 0.9), bp.feedback_alignment(network, loss), jax.random.key(1), "feedback")
    bp.lesson(network, loss, params, XOR, bp.momentum(0.5, 0.9), 50, tmp_path / "two.html", beside=other, language="de")
    text = opened(browser, tmp_path / "two.html")
    names = [caption.text for caption in browser.find_elements("css selector", "#networks figcaption")]
    assert names == ["backprop, momentum(0.5, 0.9)", "feedback"]
    browser.execute_script("dispatchEvent(new Event('beforeprint'))")
    captions = [caption.text for caption in browser.find_elements("css selector", "#tables caption")]
    assert captions == [f"{kind} ({name})" for name in names for kind in ("Einheiten, Beispiel 1", "Verbindungen")]
    assert "Σ b δ" in text("formulas") and "Verdeckte Einheit h1 (feedback)" in text("formulas")
    assert browser.find_element("tag name", "html").get_attribute("lang") == "de"
    assert browser.get_log("browser") == []


def test_a_run_that_is_not_finite_says_so(browser, tmp_path):
    linear = (bp.layers.identity, bp.layers.identity)
    write(tmp_path / "page.html", optimizer=bp.momentum(50.0, 0.9), steps=200, activations=linear)
    text = opened(browser, tmp_path / "page.html")
    assert "numbers are not finite" in text("warning")
    browser.execute_script("showStep(200)")
    assert "∞" in browser.find_element("css selector", "figure.run p").text or "NaN" in text("formulas")
    assert browser.get_log("browser") == []


@pytest.mark.parametrize("width", [375, 1440])
def test_nothing_is_wider_than_the_window(browser, tmp_path, width):
    write(tmp_path / "page.html", (4, 2, 4), steps=20)
    size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    opened(browser, tmp_path / "page.html")
    browser.execute_script("element('numbers').open = true")
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
