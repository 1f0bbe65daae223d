"""The printed tape, and the tape as data."""

import io
import json
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bpjax.tape import tape
from bpjax.tape.symbols import number_text


def example(a, b):
    c = a + b
    d = a * b
    return c * d


FIRST = example.__code__.co_firstlineno

TABLE = f"""\
example(a, b) = 30, 3 operations

#  line  source        operation   value  adjoint
─────────────────────────────────────────────────
                       a           2      21
                       b           3      16
0    {FIRST + 1}  c = a + b     c = a + b   5      6
1    {FIRST + 2}  d = a * b     d = a · b   6      5
2    {FIRST + 3}  return c * d  v2 = c · d  30     1"""


def test_the_table_of_a_small_function():
    """y = (a + b) a b: c = 5, d = 6, y = 30; c̄ = d = 6, d̄ = c = 5; ā = 6 + 5 · 3 = 21, b̄ = 6 + 5 · 2 = 16."""
    assert str(tape(example, 2.0, 3.0)) == TABLE


def test_ascii_where_the_terminal_has_nothing_else(monkeypatch):
    t = tape(lambda x: jnp.sum(jnp.sqrt(x) ** 2 - x) <= x[0], jnp.array([4.0, 9.0]))
    text = t.table(ascii=True)
    assert text.isascii() and "?" not in text and "sum v2" in text and "sqrt x" in text and "|9.849| 4 9" in text
    assert "Σ v2" in str(t)
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
    assert str(t) == text
    print(t)


def loop(xs, w):
    def step(c, x):
        h = jnp.tanh(c * x + w)
        return h, h * 2

    c, ys = jax.lax.scan(step, 1.0, xs)
    return jax.lax.cond(c > 0, lambda c: c + jnp.sum(ys), lambda c: c, c)


def test_long_loops_show_the_first_two_iterations_and_the_last():
    text = tape(loop, jnp.linspace(0.0, 1.0, 20), 0.3).table()
    lines = [line.strip() for line in text.splitlines()]
    assert lines.count("… 17 more iterations") == 1 and "scan step, 20 iterations" in lines
    assert [line for line in lines if line.startswith("iteration")] == ["iteration 0", "iteration 1", "iteration 19"]
    full = tape(loop, jnp.linspace(0.0, 1.0, 20), 0.3).table(every_iteration=True)
    assert full.count("iteration ") == 20 and "more iterations" not in full
    short = tape(loop, jnp.linspace(0.0, 1.0, 4), 0.3).table()
    assert short.count("    iteration ") == 4 and "more iterations" not in short


@pytest.mark.parametrize("width", [80, 100, 120])
def test_the_table_fits_the_terminal(width):
    t = tape(loop, jnp.linspace(0.0, 1.0, 20), 0.3)
    assert width - 30 < max(map(len, t.table(width).splitlines())) <= width
    assert max(map(len, t.table().splitlines())) <= 120


def test_numbers():
    assert [number_text(x) for x in (1 / 3, -0.0, 1e-30, 123456789.0, np.inf, -np.inf, np.nan)] == [
        "0.333333", "0", "1e-30", "1.23457e+08", "inf", "-inf", "nan"
    ]  # fmt: skip
    assert [number_text(x) for x in (2**40, np.uint8(7), True)] == ["1099511627776", "7", "True"]
    assert [number_text(x) for x in (1 + 2j, -0.5 - 1e-9j)] == ["1+2j", "-0.5-1e-09j"]
    assert (
        number_text(jnp.array(1.5, jnp.bfloat16)) == "1.5" and number_text(jnp.array(0.1, jnp.float16)) == "0.0999756"
    )


def test_infinite_and_undefined_values_are_shown():
    text = str(tape(lambda x: jnp.sum(jnp.log(x) * x), jnp.array([0.0, 1.0])))
    assert "(2,) ‖inf‖ -inf 0" in text and "(2,) ‖nan‖ nan 0" in text and ") = nan, 3 operations" in text


def everything(x, z, key, n, m):
    y = x @ x.T + x[0, :2].reshape(2, 1)
    y = jnp.where(y > 0, jnp.concatenate([y[:1], y[1:]]), -y) ** 3
    noise = jax.random.normal(key, (2,))
    return jnp.sum(y, axis=0) @ noise + jnp.real(z * z) + jax.nn.relu(m[n]) + jnp.max(x).astype(jnp.float32)


def everything_arguments():
    x = jnp.arange(6.0).reshape(2, 3)
    return x, jnp.array(1 + 2j), jax.random.key(0), np.int32(1), np.array([1.0, 2.0])


def test_symbols():
    t = tape(everything, *everything_arguments())
    symbols = [entry.symbol for entry in t]
    for wanted in ("xᵀ", "x @ v0", "x[0:1, 0:2]", "Σ y over axis 0", "z · z", "relu v", "max x", "as float32", "³"):
        assert any(wanted in symbol for symbol in symbols), (wanted, symbols)
    assert tape(lambda c, p, q: jnp.where(c, p, q), np.array(True), 1.0, 2.0)[0].symbol == "p if c else q"
    assert tape(lambda c, p, q: jnp.where(c, p, q), np.array(True), 1.0, 2.0).value == 1


def test_plain_data():
    t = tape(everything, *everything_arguments())
    data = t.to_dict()
    assert json.loads(json.dumps(data)) == data
    assert data["function"] == "everything" and data["value"] == [float(t.value)]
    assert [a["name"] for a in data["arguments"]] == ["x", "z", "key", "n", "m"]
    by_name = {a["name"]: a for a in data["arguments"]}
    assert by_name["z"]["value"] == [1.0, 2.0] and by_name["n"]["adjoint"] is None
    assert by_name["x"]["adjoint"] == t.gradient["x"].tolist()
    assert by_name["key"]["value"] == [0, 0]
    assert type(by_name["n"]["value"]) is int and type(by_name["m"]["value"][0]) is float
    product = data["entries"][1]
    assert product["inputs"] == [{"argument": "x"}, {"entry": 0}] and product["source"]["function"] == "everything"
    assert len(data["entries"]) == len(t)
    complex_product = next(e for e in data["entries"] if e["symbol"] == "z · z")
    assert complex_product["value"] == [-3.0, 4.0]


def test_pandas():
    frame = tape(example, 2.0, 3.0).to_pandas()
    assert frame["value"].tolist() == [5, 6, 30] and frame["adjoint"].tolist() == [6, 5, 1]
    assert frame["line"].tolist() == [FIRST + 1, FIRST + 2, FIRST + 3] and frame.index.name == "number"
    assert frame.loc[1, "name"] == "d" and frame.loc[1, "symbol"] == "a · b"
    empty = tape(lambda x: x, 2.0).to_pandas()
    assert len(empty) == 0 and "symbol" in empty.columns


def test_html():
    text = tape(lambda a, b: jnp.where(a < b, a, b), 1.0, 2.0)._repr_html_()
    assert text.startswith("<table>") and text.endswith("</table>") and "a &lt; b" in text
    assert text.count("<tr>") == text.count("</tr>") == 5
