"""The lesson: the recorded numbers against NumPy and `jax.grad`, the page's data, and what is refused."""

import base64
import functools
import json
import re
from pathlib import Path

import jax
import numpy as np
import optax
import pytest

import bpjax as bp
from bpjax import cli
from bpjax.teaching.lesson import document, live, words
from bpjax.teaching.lesson.units import drawn_layers

NETWORK = bp.mlp((2, 2, 1), bp.sigmoid, bp.sigmoid, weights=bp.uniform(1.0), biases=bp.uniform(1.0))
PARAMS, _ = NETWORK.init(jax.random.key(0), (2,))
XOR = bp.xor().present()
MOMENTUM = bp.momentum(0.5, 0.9)


def recorded(optimizer=MOMENTUM, rule=None, steps=20, params=PARAMS, network=NETWORK, loss=bp.squared_error, batch=XOR):
    """A `Recorded` of a run, as `lesson` makes it."""
    run = document.LessonRun(optimizer, rule, jax.random.key(1))
    layers = drawn_layers(network, params, batch[0])
    return document._recorded(run, document._rule_of(run, network, loss), layers, params, batch, steps)


@functools.cache
def xor_run():
    """500 steps of XOR."""
    return recorded(steps=500)


def page_data(path):
    """The data of a page."""
    text = Path(path).read_text(encoding="utf-8")
    return json.loads(re.search(r'<script id="data" type="application/json">(.*?)</script>', text)[1])


def decoded(packed):
    types = {"Float32Array": "<f4", "Float64Array": "<f8"}
    return np.frombuffer(base64.b64decode(packed["data"]), types[packed["type"]])


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def by_hand(steps, rate, alpha):
    """Batch learning of XOR by a 2-2-1 network, unit by unit, as in the encyclopedia article on backpropagation."""
    w1, w2 = np.array(PARAMS[0].w), np.array(PARAMS[2].w)[:, 0]
    b1, b2 = np.array(PARAMS[0].b), np.array(PARAMS[2].b)[0]
    v = [np.zeros_like(w1), np.zeros_like(b1), np.zeros_like(w2), 0.0]
    frames = []
    for _ in range(steps):
        g, rows, error = [np.zeros_like(w1), np.zeros_like(b1), np.zeros_like(w2), 0.0], [], 0.0
        for x, (t,) in zip(*map(np.asarray, XOR), strict=True):
            a_h = np.array([sum(x[i] * w1[i, h] for i in range(2)) + b1[h] for h in range(2)])
            o_h = sigmoid(a_h)
            o = sigmoid(sum(o_h[h] * w2[h] for h in range(2)) + b2)
            delta = o * (1 - o) * (o - t)
            delta_h = np.array([o_h[h] * (1 - o_h[h]) * w2[h] * delta for h in range(2)])
            g = [g[0] + np.outer(x, delta_h), g[1] + delta_h, g[2] + o_h * delta, g[3] + delta]
            rows.append([*a_h, *o_h, o, delta, *delta_h])
            error += 0.5 * (t - o) ** 2
        v = [alpha * old - rate * new for old, new in zip(v, g, strict=True)]
        frames.append((error, np.array(rows), g, v, (w1, b1, w2, b2)))
        w1, b1, w2, b2 = w1 + v[0], b1 + v[1], w2 + v[2], b2 + v[3]
    return frames


def test_every_number_is_that_of_the_textbook():
    frames = xor_run().frames
    for s, (error, rows, g, v, (w1, b1, w2, b2)) in enumerate(by_hand(21, 0.5, 0.9)):
        ours = np.concatenate(
            [array[s] for array in (frames.net_input[0], *frames.output, *frames.error_signal[::-1])],
            axis=1,
        )
        np.testing.assert_allclose(ours, rows, rtol=1e-11, atol=1e-15)
        np.testing.assert_allclose(frames.error[s], error, rtol=1e-12)
        np.testing.assert_allclose(frames.weights[0][s], [*w1, b1], rtol=1e-12)
        np.testing.assert_allclose(frames.weights[1][s][:, 0], [*w2, b2], rtol=1e-12)
        np.testing.assert_allclose(frames.gradient[0][s], [*g[0], g[1]], rtol=1e-10)
        np.testing.assert_allclose(frames.gradient[1][s][:, 0], [*g[2], g[3]], rtol=1e-10)
        np.testing.assert_allclose(frames.change[0][s], [*v[0], v[1]], rtol=1e-10, atol=1e-15)
        np.testing.assert_allclose(frames.change[1][s][:, 0], [*v[2], v[3]], rtol=1e-10, atol=1e-15)


@pytest.mark.thorough
@pytest.mark.parametrize("loss", [bp.mean_squared_error, bp.losses.huber(0.1)], ids=repr)
def test_gradients_slopes_and_errors_are_those_of_autodiff(loss, keys):
    network = bp.chain(bp.dense(3), bp.gelu, bp.dense(2), bp.tanh)
    params, _ = network.init(next(keys), (3,))
    x = jax.random.normal(next(keys), (5, 3))
    target = jax.nn.one_hot(np.arange(5) % 2, 2)
    frames = recorded(optax.adam(0.1), None, 2, params, network, loss, (x, target)).frames
    here = jax.tree.map(lambda w: w, params)
    value, grads = jax.value_and_grad(lambda p: loss.value(network.forward(p, x)[0], target))(here)
    np.testing.assert_allclose(frames.error[0], value, rtol=1e-12)
    np.testing.assert_allclose(frames.errors[0].sum(), value, rtol=1e-12)
    np.testing.assert_allclose(frames.gradient[0][0], [*grads[0].w, grads[0].b], rtol=1e-9, atol=1e-14)
    slopes = jax.vmap(jax.vmap(jax.grad(lambda a: jax.nn.gelu(a, approximate=False))))(frames.net_input[0][0])
    np.testing.assert_allclose(frames.slope[0][0], slopes, rtol=1e-9)


@pytest.mark.thorough
@pytest.mark.parametrize("form", ["heavy_ball", "convex", "velocity", "nesterov"])
def test_the_optimizer_is_recognized_by_its_changes(form):
    same = "heavy_ball" if form == "velocity" else form  # the same steps while η is constant
    assert recorded(bp.momentum(0.4, 0.8, form)).descent == live.Descent(0.4, 0.8, same)


@pytest.mark.thorough
def test_other_optimizers_are_recognized_or_not():
    rate, momentum, form = recorded(optax.sgd(0.3, momentum=0.7)).descent
    assert (rate, momentum) == pytest.approx((0.3, 0.7), rel=1e-6) and form == "heavy_ball"
    for other in (optax.adam(0.1), bp.momentum(lambda step: 0.1 / (1 + step), 0.5)):
        assert recorded(other).descent is None


@pytest.mark.thorough
def test_what_a_rule_sends_back_is_found_out():
    loss = bp.squared_error
    found = {
        name: recorded(rule=rule, steps=3)
        for name, rule in {
            "autodiff": bp.autodiff(NETWORK, loss),
            "feedback": bp.feedback_alignment(NETWORK, loss),
            "signs": bp.rules.sign_symmetry(NETWORK, loss, "uSF", 0.3),
            "perturbation": bp.rules.weight_perturbation(NETWORK, loss, 0.01),
        }.items()
    }
    assert {name: (run.signals, run.back, run.exact) for name, run in found.items()} == {
        "autodiff": (True, "weights", True),
        "feedback": (True, "feedback", False),
        "signs": (True, None, False),
        "perturbation": (False, None, False),
    }
    np.testing.assert_allclose(
        found["autodiff"].frames.error_signal[0], recorded(steps=3).frames.error_signal[0], rtol=1e-9, atol=1e-16
    )


@pytest.mark.parametrize("sizes", [(2, 2, 1), pytest.param((4, 2, 4), marks=pytest.mark.thorough)])
def test_the_page_holds_the_run_and_stays_below_a_megabyte(sizes, tmp_path):
    network, params, batch = NETWORK, PARAMS, XOR
    if sizes[0] == 4:
        network, batch = bp.mlp(sizes, bp.sigmoid, bp.sigmoid), bp.encoder(4).present()
        params, _ = network.init(jax.random.key(0), sizes[:1])
    second = bp.teaching.LessonRun(
        bp.momentum(0.5), bp.feedback_alignment(network, bp.squared_error), jax.random.key(2)
    )
    path = bp.lesson(
        network, bp.squared_error, params, batch, MOMENTUM, 500, tmp_path / "two.html", beside=second, language="de"
    )
    assert path.stat().st_size <= 1_000_000
    data = page_data(path)
    run = xor_run() if network is NETWORK else recorded(steps=500, params=params, network=network, batch=batch)
    frames = run.frames
    assert data["about"]["all_shown"] and data["steps"] == list(range(501))
    first, other = data["runs"]
    for l in range(2):
        for name, arrays in {"w": frames.weights, "delta": frames.error_signal, "change": frames.change}.items():
            np.testing.assert_array_equal(decoded(first["layers"][l][name]), arrays[l].astype("<f4").ravel())
        np.testing.assert_array_equal(decoded(first["start"][l]), frames.weights[l][0].ravel())
    assert first["descent"] == {"learning_rate": 0.5, "momentum": 0.9, "form": "heavy_ball"}
    assert other["descent"] == first["descent"] and other["back"] == "feedback"
    assert first["not_live"] is None and other["not_live"] == "live_not_rule"


@pytest.mark.thorough
def test_a_large_run_is_thinned(tmp_path):
    task = bp.parity(5)
    network = bp.mlp((5, 12, 6, 1), bp.tanh, bp.sigmoid)
    params, _ = network.init(jax.random.key(0), (5,))
    path = bp.lesson(network, bp.squared_error, params, task.present(), optax.adam(0.1), 1500, tmp_path / "a.html")
    assert 500_000 < path.stat().st_size <= 1_000_000
    data = page_data(path)
    assert len(data["examples"]["shown"]) == 4 and len(data["steps"]) < 1501 and data["steps"][-1] == 1500
    assert len(decoded(data["runs"][0]["error"])) == 1501 and not data["about"]["all_shown"]


@pytest.mark.thorough
def test_a_run_that_diverges_is_shown(tmp_path):
    network = bp.mlp((2, 2, 1), bp.layers.identity)
    params, _ = network.init(jax.random.key(0), (2,))
    path = bp.lesson(network, bp.squared_error, params, XOR, bp.momentum(50.0, 0.9), 200, tmp_path / "diverged.html")
    (run,) = page_data(path)["runs"]
    assert 1 < run["not_finite_from"] < 200 and np.isinf(decoded(run["error"])).any()


def test_the_page_is_self_contained_and_escapes_texts(tmp_path):
    title = """<script>alert("1 & 2")</script> {{data}}"""
    path = bp.lesson(NETWORK, bp.squared_error, PARAMS, XOR, MOMENTUM, 2, tmp_path / "page.html", title=title)
    text = path.read_text(encoding="utf-8")
    assert "fetch(" not in text and "XMLHttpRequest" not in text and "import(" not in text
    assert re.findall(r"https?:[^\"' ]*", text) == ["http://www.w3.org/2000/svg"]
    assert re.findall(r"(?:src|href)\s*=\s*[\"']?([^\"'\s>]*)", text) == ["data:,"]
    assert text.count("&lt;script&gt;alert(&quot;1 &amp; 2&quot;)&lt;/script&gt; {{data}}") == 2


def test_only_unchanged_pages_are_replaced(tmp_path):
    write = lambda path, steps: bp.lesson(NETWORK, bp.squared_error, PARAMS, XOR, MOMENTUM, steps, path)
    path = write(tmp_path / "page.html", 1)
    assert page_data(write(path, 2))["about"]["steps"] == 2
    path.write_text(path.read_text(encoding="utf-8").replace("<h1>", "<h1>My "), encoding="utf-8")
    for other in (path, tmp_path / "notes.html"):
        if other != path:
            other.write_text("mine")
        before = other.read_bytes()
        with pytest.raises(ValueError, match="a page that it has written, got .* Choose another name"):
            write(other, 1)
        assert other.read_bytes() == before
    with pytest.raises(ValueError, match="got the folder .* name a file in it"):
        write(tmp_path, 1)


RAMP, SERIES = np.ones((501, 1)), np.ones((2, 3, 2))
MANY = np.tile(XOR[0], (100, 1)), np.tile(XOR[1], (100, 1))
SKIP = bp.residual(bp.dense(2))
WIDE = bp.mlp((2, 41, 1))
ELMAN = bp.unroll(bp.layers.elman(2))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"network": WIDE, "params": WIDE.init(jax.random.key(0), (2,))[0]}, "got 2 layers of up to 41 units"),
        (
            {"network": ELMAN, "params": ELMAN.init(jax.random.key(0), (3, 2))[0], "batch": (SERIES, SERIES)},
            r"got examples of shape \(2, 3, 2\), which are not \(N, D\)",
        ),
        (
            {"network": SKIP, "params": SKIP.init(jax.random.key(0), (2,))[0], "batch": (XOR[0], XOR[0])},
            r"got residual\(dense\(2\)\)",
        ),
        ({"steps": 20_001}, "integer ≥ 1 and ≤ 20000"),
        ({"language": "fr"}, "`language` to be one of de, en, got 'fr'"),
        ({"optimizer": 0.1}, "`optimizer` to be a GradientTransformation"),
        ({"rule": bp.backprop(WIDE, bp.squared_error)}, "rule of the lesson's own network and loss"),
        ({"rule": bp.feedback_alignment(NETWORK, bp.squared_error)}, "a key for the state of the rule 'feedback align"),
        ({"beside": MOMENTUM}, "`beside` to be a LessonRun"),
        ({"batch": (np.ones((501, 2)), RAMP)}, "at most 500 examples, got 501"),
        ({"batch": MANY, "steps": 20_000}, "at most 20,000,000 numbers"),
    ],
)  # fmt: skip
def test_what_cannot_be_shown_is_refused_in_a_sentence(change, sentence, tmp_path):
    arguments = {
        "network": NETWORK,
        "loss": bp.squared_error,
        "params": PARAMS,
        "batch": XOR,
        "optimizer": MOMENTUM,
        "steps": 3,
        "path": tmp_path / "page.html",
    }
    with pytest.raises(ValueError, match=sentence):
        bp.lesson(**(arguments | change))
    assert not list(tmp_path.iterdir())


def test_all_languages_have_the_same_texts():
    tables = {language: words.words(language) for language in words.languages()}
    assert {"de", "en"} <= set(tables)
    fields = lambda text: sorted(re.findall(r"\{\w+\}", text))
    for table in tables.values():
        assert list(table) == list(tables["en"])
        assert {key: fields(text) for key, text in table.items()} == {key: fields(t) for key, t in tables["en"].items()}


@pytest.mark.thorough
def test_the_command_writes_a_page(tmp_path, capsys):
    path = tmp_path / "encoder.html"
    arguments = "lesson 4-2-4 --steps 5 --language de --beside-rule sign_symmetry_usf --output".split()
    assert cli.main([*arguments, str(path)]) == 0
    assert "kB. Open it in a browser." in capsys.readouterr().out
    data = page_data(path)
    assert data["about"]["network"] == "4-2-4 (sigmoid, sigmoid)" and data["words"]["step"] == "Schritt"
    assert [run["rule"] for run in data["runs"]] == ["backprop", "sign symmetry, uSF"]
    for wrong in (["xorr"], ["digits"], ["t_c"], ["xor", "--rule", "magic"], ["xor", "--output", str(tmp_path)]):
        assert cli.main(["lesson", *wrong]) == 2
        assert capsys.readouterr().err.startswith("bpjax lesson: ")


def test_the_start_of_a_record_is_the_given_state():
    frames = xor_run().frames
    np.testing.assert_array_equal(frames.weights[0][0], [*PARAMS[0].w, PARAMS[0].b])
    np.testing.assert_allclose(frames.weights[0][1], frames.weights[0][0] + frames.change[0][0], rtol=1e-15)
