"""The derivation of a network: numbers by hand and by jax.grad, formulas evaluated, places read from the files."""

import math
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bpjax as bp
from bpjax.teaching.derivation.formulas import ACTIVATIONS, loss_formula
from bpjax.teaching.derivation.latex import to_latex

ROOT = Path(__file__).parents[2]
PARAMS = (
    bp.layers.Affine(jnp.asarray([[0.5, -0.3], [0.2, 0.8]]), jnp.asarray([0.1, -0.1])),
    (),
    bp.layers.Affine(jnp.asarray([[0.7], [-0.4]]), jnp.asarray([0.05])),
    (),
)
NETWORK = bp.mlp((2, 2, 1), bp.sigmoid, output=bp.sigmoid)


def numbers_of(text):
    """{left side: the number after the last "="} of the lines that end in a number."""
    rows = re.findall(r"^ +(\S+)(?: of \S+)? = (?:.* = )?(−?[\d.]+(?:e[−+]?\d+)?)$", text, re.MULTILINE)
    return {name: float(value.replace("−", "-")) for name, value in rows}


def test_two_two_one_by_hand():
    """x = (1, 0), t = 1 in plain Python."""
    batch = jnp.asarray([[1.0, 0.0]]), jnp.asarray([[1.0]])
    text = str(bp.derivation(NETWORK, bp.squared_error, PARAMS, batch, learning_rate=0.5))
    sigma = lambda a: 1 / (1 + math.exp(-a))
    h1, h2 = sigma(0.5 + 0.1), sigma(-0.3 - 0.1)
    o = sigma(0.7 * h1 - 0.4 * h2 + 0.05)
    delta = o * (1 - o) * (o - 1)
    d1, d2 = h1 * (1 - h1) * 0.7 * delta, h2 * (1 - h2) * -0.4 * delta
    expected = {
        "a⁽¹⁾₁": 0.6, "a⁽¹⁾₂": -0.4, "o⁽¹⁾₁": h1, "o⁽¹⁾₂": h2, "o₁": o, "∂E/∂o₁": o - 1, "δ⁽²⁾₁": delta,
        "δ⁽¹⁾₁": d1, "δ⁽¹⁾₂": d2, "Δw⁽²⁾₁₁": -0.5 * delta * h1, "Δw⁽²⁾₂₁": -0.5 * delta * h2, "Δb⁽²⁾₁": -0.5 * delta,
        "Δw⁽¹⁾₁₁": -0.5 * d1, "Δw⁽¹⁾₁₂": -0.5 * d2, "Δw⁽¹⁾₂₁": 0.0, "Δb⁽¹⁾₂": -0.5 * d2,
    }  # fmt: skip
    found = numbers_of(text)
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=1e-5, abs=1e-9), name
    assert f"      δ⁽²⁾₁ = {o * (1 - o):.6g} · (−{1 - o:.6g}) = −{-delta:.6g}" in text.splitlines()
    assert "δ⁽¹⁾ = φ′(a⁽¹⁾) ⊙ ((φ′(a⁽²⁾) ⊙ (o − t)) W⁽²⁾ᵀ)" in text
    assert "ΔW⁽¹⁾ = −η xᵀ (φ′(a⁽¹⁾) ⊙ ((φ′(a⁽²⁾) ⊙ (o − t)) W⁽²⁾ᵀ))" in text


@pytest.mark.parametrize(
    ("sizes", "activation", "output", "loss"),
    [
        ((3, 4, 4, 3, 2), bp.tanh, None, bp.softmax_cross_entropy),
        ((2, 3, 2), bp.layers.elu(), bp.softmax, bp.squared_error),
        ((2, 1), bp.relu, None, bp.losses.batch_mean(bp.binary_cross_entropy)),
    ],
    ids=["deep, cross entropy", "softmax layer", "one layer"],
)
def test_the_changes_of_the_weights_are_those_of_jax_grad(keys, sizes, activation, output, loss):
    network = bp.mlp(sizes, activation, output=output)
    params, _ = network.init(next(keys), sizes[:1])
    x = jax.random.normal(next(keys), (3, sizes[0]))
    target = jax.nn.softmax(jax.random.normal(next(keys), (3, sizes[-1])))
    text = str(bp.derivation(network, loss, params, (x, target), learning_rate=0.1))
    grads = jax.jit(jax.grad(lambda params: loss.value(network.forward(params, x)[0], target)))(params)
    found = numbers_of(text)
    for number, layer in enumerate([layer for layer in grads if layer], 1):
        mark = "⁽" + str(number).translate(str.maketrans("12345", "¹²³⁴⁵")) + "⁾"
        for (i, j), g in np.ndenumerate(layer.w):
            name = f"Δw{mark}{i + 1}{j + 1}".translate(str.maketrans("12345", "₁₂₃₄₅"))
            assert found[name] == pytest.approx(-0.1 * g, rel=1e-5, abs=1e-9), name


def test_softmax_with_cross_entropy_is_output_minus_target():
    text = str(bp.derivation(bp.mlp((3, 2)), bp.softmax_cross_entropy))
    assert "δ⁽¹⁾ = p − t" in text and "p = softmax(o)" in text and "δ = o − t" in " ".join(text.split())
    labels = jnp.zeros((1, 3)), jnp.asarray([1])
    params = bp.layers.Affine(jnp.zeros((3, 2)), jnp.asarray([0.0, math.log(3.0)]))
    text = str(bp.derivation(bp.mlp((3, 2)), bp.softmax_cross_entropy, (params,), labels))  # p = ¼, ¾; t = 0, 1
    assert "∂E/∂o₁ = 0.25 − 0 = 0.25" in text and "∂E/∂o₂ = 0.75 − 1 = −0.25" in text


def test_every_place_is_the_line_of_the_code():
    steps = bp.derivation(NETWORK, bp.losses.huber(0.5)).steps
    places = {place for step in steps for line in step.lines for place in line.code}
    assert {place.name for place in places} >= {"dense.forward", "dense.backward", "sigmoid: φ′", "huber(0.5): value"}
    for name, file, line in places:
        code = (ROOT / file).read_text().splitlines()[line - 1]
        word = name.split(" of ")[0].split(".")[-1] if "." in name.split(" of ")[0] else "lambda"
        assert f"def {word}(" in code or "lambda" in code or "def value(" in code or "def gradient(" in code, (
            name,
            code,
        )


def test_a_layer_that_is_not_expanded_shows_its_docstring(keys):
    network = bp.chain(bp.layer_norm(), bp.dense(2), bp.layers.reshape((1, 2)), bp.flatten)
    text = str(bp.derivation(network, bp.squared_error))
    assert "Its equations are not expanded here; its docstring says:" in text
    assert "backward   dx = dy in the shape of x" in text
    assert "Δθ⁽¹⁾ = −η ∂E/∂θ⁽¹⁾" in text and "(layers" not in text
    params, _ = network.init(next(keys), (3,))
    text = str(bp.derivation(network, bp.squared_error, params, (jnp.ones((2, 3)), jnp.ones((2, 2)))))
    assert "o⁽³⁾ of shape (2, 1, 2) from (2, 2)" in text and "Δθ⁽³⁾" not in text and "Δθ⁽¹⁾" in text


def test_a_function_is_shown_as_its_tape():
    made = bp.derivation(lambda a, b: (a + b) * a, 2.0, 3.0)
    assert "v0 · a" in str(made) and made.tape is not None
    assert dict(made.tape.gradient) == {"a": 7.0, "b": 2.0}
    assert "<table" in made._repr_html_() and "array" in made._repr_latex_() and "v0 · a" in made.to_markdown()


def test_all_forms_hold_all_equations():
    batch = jnp.asarray([[1.0, 0.0]]), jnp.asarray([[1.0]])
    made = bp.derivation(NETWORK, bp.squared_error, PARAMS, batch)
    equations = [equation for step in made.steps for line in step.lines for equation in line.equations]
    for equation in equations:
        assert equation in made.to_text() and equation in made.to_html()
        assert to_latex(equation) in made.to_markdown()
    assert made._repr_latex_().startswith("$$") and made.to_latex().count(r"\varphi") > 5
    assert repr(made).startswith("<derivation of Backpropagation in chain(dense(2), sigmoid")


@pytest.mark.thorough
def test_latex_is_valid_mathematics():
    """Matplotlib parses every equation; it lacks \\tfrac, \\operatorname and \\text."""
    mathtext = pytest.importorskip("matplotlib.mathtext").MathTextParser("path")
    networks = [(NETWORK, bp.squared_error), (bp.mlp((2, 2), output=bp.softmax), bp.losses.hyper_error)]
    networks += [
        (bp.chain(activation, bp.dense(1), activation), bp.softmax_cross_entropy) for activation in CHOSEN.values()
    ]
    for network, loss in networks:
        for step in bp.derivation(network, loss).steps:
            for line in step.lines:
                for equation in line.equations:
                    text = to_latex(equation).replace(r"\tfrac", r"\frac").replace(r"\operatorname", r"\mathrm")
                    mathtext.parse(f"${text.replace(chr(92) + 'text{', chr(92) + 'mathrm{')}$")


CHOSEN = {
    "identity": bp.layers.identity, "sigmoid": bp.sigmoid, "scaled sigmoid": bp.layers.scaled_sigmoid(-0.5, 1.5),
    "tanh": bp.tanh, "relu": bp.relu, "leaky relu": bp.layers.leaky_relu(0.2), "elu": bp.layers.elu(0.7),
    "softplus": bp.layers.softplus, "gelu": bp.gelu, "gelu tanh": bp.layers.gelu_tanh, "silu": bp.layers.silu,
    "mish": bp.layers.mish, "log sigmoid": bp.layers.log_sigmoid, "softsign": bp.layers.softsign,
    "tanhshrink": bp.layers.tanhshrink, "celu": bp.layers.celu(0.7), "selu": bp.layers.selu, "relu6": bp.layers.relu6,
    "hardtanh": bp.layers.hardtanh(-0.5, 1.5), "hardsigmoid": bp.layers.hardsigmoid, "hardswish": bp.layers.hardswish,
    "softshrink": bp.layers.softshrink(0.4), "hardshrink": bp.layers.hardshrink(0.4),
    "threshold": bp.layers.threshold(0.5, -2.0),
}  # fmt: skip


@pytest.mark.thorough
def test_the_formulas_of_activations_are_those_of_the_layers():
    assert set(CHOSEN) == set(ACTIVATIONS)
    a = np.asarray([-3.5, -2.0, -0.7, 0.3, 1.9, 7.0])
    pairs = [jax.jit(jax.vmap(jax.value_and_grad(lambda a, l=l: l.forward((), a)[0])))(a) for l in CHOSEN.values()]
    for (name, (phi, derivative, _)), (y, slope) in zip(ACTIVATIONS.items(), pairs, strict=True):
        known = constants(CHOSEN[name]) | {"a": a, "o": np.asarray(y)}
        np.testing.assert_allclose(evaluated(phi, known), y, rtol=1e-6, err_msg=name)
        np.testing.assert_allclose(evaluated(derivative, known), slope, rtol=1e-6, err_msg=name)


LETTERS = {"leaky relu": "s", "elu": "c", "celu": "c", "scaled sigmoid": "lh", "hardtanh": "lh", "threshold": "tv"}
LETTERS |= {"softshrink": "t", "hardshrink": "t"}


def constants(layer):
    """The constants of a formula, from the arguments of the activation."""
    values = [float(value) for value in re.findall(r"[\d.-]+", layer.arguments or "")]
    selu = {"s": 1.0507009873554805, "c": 1.6732632423543772} if layer.name == "selu" else {}
    return dict(zip(LETTERS.get(layer.name, ""), values, strict=False)) | selu


def evaluated(formula, known):
    """The value of a formula, which is read as people read it: juxtaposition multiplies."""
    if " where " in formula:
        first, rest = formula.split(" where ", 1)
        condition, second = rest.split(", else ", 1)
        parts = condition.replace("−", "-").replace("|a|", "abs(a)").split(" < ")
        holds = " < ".join(parts[:2]) if len(parts) < 3 else f"({parts[0]} < {parts[1]}) & ({parts[1]} < {parts[2]})"
        return np.where(eval(holds, {}, known), evaluated(first, known), evaluated(second, known))
    a = known["a"]
    sigma, u = 1 / (1 + np.exp(-a)), math.sqrt(2 / math.pi) * (a + 0.044715 * a**3)
    known = known | {
        "u": u, "W": math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * a * a), "S": sigma, "E": np.exp(a), "R": np.exp(-a),
        "F": 0.5 * (1 + np.vectorize(math.erf)(a / math.sqrt(2))), "T": np.tanh(a), "U": np.tanh(u), "A": np.abs(a),
        "G": np.exp(-a * a / 2) / math.sqrt(2 * math.pi), "C": np.exp(a / known.get("c", 1.0)),
        "p": np.tanh(np.log1p(np.exp(a))), "ln": np.log, "min": np.minimum, "max": np.maximum,
    }  # fmt: skip
    for sign, letter in {
        "e^(−a²/2) / √(2π)": "G", "e^(a/c)": "C", "e⁻ᵃ": "R", "eᵃ": "E", "Φ(a)": "F", "σ(a)": "S", "tanh² u": "U U",
        "tanh² a": "T T", "tanh u": "U", "tanh a": "T", "u′": "W", "o²": "o o", "p²": "p p", "|a|": "A", ")²": ")**2",
        "−": "-", "½": "0.5",
    }.items():  # fmt: skip
        formula = formula.replace(sign, letter)
    return eval(re.sub(r"(?<=[\w).]) (?=[\w(])", " * ", formula), {}, known) + 0 * a


def test_the_formulas_of_losses_are_those_of_the_losses():
    losses = [bp.squared_error, bp.mean_squared_error, bp.binary_cross_entropy, bp.softmax_cross_entropy]
    losses += [bp.losses.hyper_error, bp.losses.absolute_error, bp.losses.huber(0.3)]
    losses += [bp.losses.batch_mean(bp.squared_error), bp.losses.batch_mean(bp.losses.huber(0.3))]
    o, t = np.asarray([[0.2, 0.9], [0.6, -0.3], [0.1, 0.4]]), np.asarray([[0.3, 0.7], [0.0, 1.0], [0.5, 0.5]])
    t = np.where(abs(t - o) < 0.9, t, 0.5)
    for loss in losses:
        formula = loss_formula(loss)
        p = 1 / (1 + np.exp(-o)) if formula.probabilities == "sigmoid" else np.exp(o) / np.exp(o).sum(1, keepdims=True)
        total = t.sum(axis=1, keepdims=True) if formula.probabilities == "softmax" else 1.0
        known = {
            "o": o,
            "t": t,
            "p": total * p,
            "N": 3,
            "K": 2,
            "c": 0.3,
            "clip": np.clip,
            "sign": np.sign,
            "ln": np.log,
        }
        text = re.sub(r"(?<=[\w).]) (?=[\w(])", " * ", formula.gradient.replace("−", "-"))
        np.testing.assert_allclose(eval(text, {}, known), loss.gradient(o, t), rtol=1e-12, err_msg=repr(loss))


def test_wrong_arguments():
    with pytest.raises(ValueError, match="`derivation` expected a loss, or a loss, params and a batch"):
        bp.derivation(NETWORK)
    with pytest.raises(ValueError, match="`derivation` expected a Loss as second argument"):
        bp.derivation(NETWORK, bp.squared_error.value)
    with pytest.raises(ValueError, match="`derivation` expected `network` to be a function"):
        bp.derivation(3)
    batch = jnp.ones((2, 2)), jnp.ones((2, 1))
    with pytest.raises(ValueError, match="`derivation` expected `example` to be an integer ≥ 0 and ≤ 1, got 2"):
        bp.derivation(NETWORK, bp.squared_error, PARAMS, batch, example=2)
