"""Variables and lines of the user's source on the tape."""

import functools
import linecache
import sysconfig

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bpjax.tape import tape
from bpjax.tape.source import is_hidden

HERE = __file__


def line_of(text: str) -> int:
    """The line of this file that starts with a text."""
    lines = linecache.getlines(HERE)
    return next(k for k, line in enumerate(lines, 1) if line.strip().startswith(text))


def layer(w, x):
    h = jnp.tanh(w * x)
    return h + 1


def test_two_calls_and_a_loop_give_several_values():
    def f(w, x):
        once = layer(w, x); twice = layer(w, once)  # fmt: skip  # noqa: E702
        for _ in range(3):
            twice = jnp.sin(twice)
        for k in range(2):
            twice = k + layer(w, twice)
        return twice

    t = tape(f, 0.5, 2.0)
    h = np.tanh(0.5 * 2.0)
    assert float(t["once"].value) == h + 1 and float(t["h"][0].value) == h
    twice = [np.tanh(0.5 * (h + 1)) + 1]
    for _ in range(3):
        twice.append(np.sin(twice[-1]))
    for k in range(2):
        twice.append(k + np.tanh(0.5 * twice[-1]) + 1)
    np.testing.assert_allclose([variable.value for variable in t["twice"]], twice, rtol=1e-15)
    assert len(t["h"]) == 4
    with pytest.raises(ValueError, match=r"`h` has 4 values on this tape: choose one, for example \[0\].value"):
        _ = t["h"].value
    with pytest.raises(ValueError, match=r"\[0\].adjoint"):
        _ = t["h"].adjoint
    with pytest.raises(KeyError, match="No variable 'g' on this tape; it has w, x, h, once, twice"):
        t["g"]


def test_what_a_statement_assigns():
    def f(a, b):
        u, v = a + b, a * b
        (p, q), r = (u / 2, v / 2), u - v
        s = t = p * q
        s += r
        typed: object = s * t
        pair = [jnp.sin(typed), jnp.cos(typed)]
        total = sum(jnp.exp(e) for e in pair)
        helper = lambda z: z * 7  # noqa: E731
        long = helper(total) + \
            a  # fmt: skip
        if (walrus := long * 2) is not None:
            walrus = walrus - 1
        return walrus

    t = tape(f, 2.0, 3.0)
    u, v, p, q, r = 5, 6, 2.5, 3, -1
    expected = {"u": u, "v": v, "p": p, "q": q, "r": r, "t": p * q, "typed": (p * q + r) * p * q}
    assert {name: float(t[name].value) for name in expected} == expected
    assert [float(s.value) for s in t["s"]] == [p * q, p * q + r]
    total = np.exp(np.sin(expected["typed"])) + np.exp(np.cos(expected["typed"]))
    long = 7 * total + 2
    found = [float(t["total"].value), float(t["long"].value), *(float(w.value) for w in t["walrus"])]
    np.testing.assert_allclose(found, [total, long, 2 * long, 2 * long - 1], rtol=1e-14)
    for name in ("pair", "helper"):  # lists and functions are no values
        with pytest.raises(KeyError):
            t[name]


def test_names_inside_loops_and_calls():
    @jax.jit
    def inner(z):
        doubled = z * 2
        return doubled, z + 1

    def f(xs, w):
        def pair(pair, _):
            return {"a": pair["b"] * w, "b": pair["a"]}, pair["a"] * 3

        state_of_two, outputs = jax.lax.scan(pair, {"a": w, "b": w}, None, length=2)
        _, (left, right) = jax.lax.scan(lambda c, e: (c, (e * w, e + w)), state_of_two["a"], outputs)

        def step(carry, x):
            state = carry * x + w
            return state, state * 2

        last, ys = jax.lax.scan(step, 1.0, xs)
        first, second = inner(last)
        counted = jax.lax.fori_loop(0, 2, lambda k, v: v * w, first)
        return counted + second + jnp.sum(ys) + 0 * jnp.sum(left + right)

    t = tape(f, jnp.array([1.0, 2.0, 3.0]), 0.5)
    states = [1.5, 3.5, 11.0]
    assert [float(s.value) for s in t["state"]] == states
    assert [float(x.value) for x in t["x"]] == [1.0, 2.0, 3.0]
    assert t["ys"].value.tolist() == [3.0, 7.0, 22.0]
    found = [float(t[name].value) for name in ("last", "doubled", "first", "second", "counted")]
    assert found == [11.0, 22.0, 22.0, 12.0, 5.5]
    assert t["last"].entry.name == "state" and t["state"][1].entry.path == ("scan step, iteration 1",)
    # `state` of iteration 0 has this name until the next one is computed
    number = t["state"][1].entry.number
    assert t[number].symbol == f"v{number - 1} + w" and t[number - 1].symbol == "state · x"
    assert t["left"].value.tolist() == [0.75, 0.375] and t["right"].value.tolist() == [2.0, 1.25]
    assert t["outputs"].value.tolist() == [1.5, 0.75]
    with pytest.raises(KeyError):
        t["state_of_two"]  # two arrays: no single value


def alone(x):
    s = jnp.sin(x)
    return s


def test_calls_in_a_comprehension_and_iterations_that_differ():
    def f(w, x):
        total = sum([layer(w, e) for e in (x, x + 1)])
        total = total + sum(alone(e) for e in (x, 2 * x, 3 * x))
        for factor in (2.0, jnp.ones(2), jnp.ones(2)):  # the second iteration repeats `g` to two entries
            g = jnp.tanh(total) * factor
            total = g + 1
        for factor in (2.0, jnp.ones(2), jnp.ones(2)):
            total = jnp.tanh(total[0] if total.shape else total) * factor
        return jnp.sum(total)

    t = tape(f, 0.5, 1.0)
    np.testing.assert_allclose([h.value for h in t["h"]], np.tanh([0.5, 1.0]), rtol=1e-15)
    np.testing.assert_allclose([s.value for s in t["s"]], np.sin([1.0, 2.0, 3.0]), rtol=1e-15)
    assert [g.value.shape for g in t["g"]] == [(), (2,), (2,)]
    assert [total.value.shape for total in t["total"]] == [(), (), (), (2,), (2,), (), (2,), (2,)]


def deep(x):
    for _ in range(3):
        x = jnp.tanh(x * 2)
    return x


def test_a_loop_in_the_function_that_a_loop_calls():
    """The three iterations inside are one execution of `y = deep(y)`."""

    def f(y):
        total = 0
        for _ in range(2):
            y = deep(y)
            total = total + y
        return total

    t = tape(f, 0.1)
    np.testing.assert_allclose([y.value for y in t["y"]], [0.1, deep(0.1), deep(deep(0.1))], rtol=1e-15)
    assert len(t["x"]) == 6 and len(t["total"]) == 2


def test_an_older_value_of_a_name_is_called_by_its_number():
    def f(x):
        y = x * 2
        old = y
        y = jnp.sin(y)
        return old * y

    assert [entry.symbol for entry in tape(f, 1.0)] == ["x · 2", "sin y", "v0 · y"]


def test_lines_of_the_source():
    def f(x):
        y = layer(x, 2.0)  # the call
        return y * x

    t = tape(f, 1.0)
    call, tanh = line_of("y = layer(x, 2.0)  # the call"), line_of("h = jnp.tanh(w * x)")
    assert [entry.operation for entry in t.line(call)] == ["mul", "tanh", "add"]
    assert [entry.operation for entry in t.line(tanh)] == ["mul", "tanh"]
    source = t["h"].entry.source
    assert (source.file, source.line, source.function, source.code) == (HERE, tanh, "layer", "h = jnp.tanh(w * x)")
    assert [s.line for s in t["h"].entry.lines] == [tanh, call]
    assert t.line(call, file="test_names.py") and t.line(call, file="other.py") == () and t.line(10**6) == ()


def test_a_jitted_function_is_traced_once_and_its_lines_are_those_of_each_call():
    def first(x):
        return jax.nn.silu(x) + jax.jit(layer)(x, x)

    def second(x):
        return jax.nn.silu(x) * jax.jit(layer)(x, x)

    for f, start in ((first, "return jax.nn.silu(x) + "), (second, "return jax.nn.silu(x) * ")):
        t = tape(f, 1.0)
        assert {source.function for entry in t for source in entry.lines} == {f.__name__, "layer"}
        assert all(entry.lines[-1].line == line_of(start) for entry in t)


def test_frames_of_jax_and_of_the_standard_library_are_not_shown():
    packages = sysconfig.get_path("stdlib") + "/site-packages/"
    assert all(
        map(is_hidden, (jax.__file__, np.__file__, functools.__file__, tape.__code__.co_filename, "<frozen abc>"))
    )
    assert not any(map(is_hidden, (HERE, packages + "flax/linen/linear.py", "<stdin>", "/home/me/jax_model.py")))


SOURCE = """
def f(x):
    y = x * 3
    return jnp.sin(y)
"""


def defined(name: str, known: bool):
    """`f` from a text, as in a notebook (its source is known) or by `exec` (it is not)."""
    if known:
        linecache.cache[name] = (len(SOURCE), None, SOURCE.splitlines(keepends=True), name)
    space = {"jnp": jnp}
    exec(compile(SOURCE, name, "exec"), space)
    return space["f"]


def test_notebooks_and_functions_without_source():
    notebook = tape(defined("<ipython-input-7-cell>", known=True), 2.0)
    del linecache.cache["<ipython-input-7-cell>"]
    assert float(notebook[0].value) == 6 and notebook[0].source.line == 3
    notebook = tape(defined("<ipython-input-7-cell>", known=True), 2.0)
    assert float(notebook["y"].value) == 6 and notebook[0].source.code == "y = x * 3"
    assert [entry.symbol for entry in notebook] == ["x · 3", "sin y"]
    without = tape(defined("<string>", known=False), 2.0)
    assert [entry.symbol for entry in without] == ["x · 3", "sin v0"] and without[0].source.code == ""
    assert without[0].source.line == 3 and "sin v0" in str(without)
    with pytest.raises(KeyError, match="it has x"):
        without["y"]
    lines = str(tape(lambda z: z + 1, 2.0)).splitlines()
    assert "z + 1" in lines[-1]
    library = tape(jnp.sin, 1.0)
    assert library[0].source is None and library[0].lines == () and str(library).splitlines()[-1].startswith("0")
