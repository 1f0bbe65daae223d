"""`bp.tape` on computations worked out by hand: values, adjoints, arguments, results."""

import functools
import gc
import weakref
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import relative_error

from bpjax.tape import Tape, tape
from bpjax.tape.derivatives import DERIVATIVES


def diamond(a, b):
    c = a + b
    d = a * b
    e = c + d
    f = c * d
    return e + f


def test_the_diamond():
    """a = 2, b = 3: c = 5, d = 6, e = 11, f = 30, y = 41.

    ē = f̄ = 1;  c̄ = ē + f̄ d = 7;  d̄ = ē + f̄ c = 6;  ā = c̄ + d̄ b = 25;  b̄ = c̄ + d̄ a = 19.
    """
    t = tape(diamond, 2.0, 3.0)
    assert [entry.operation for entry in t] == ["add", "mul", "add", "mul", "add"]
    assert [float(entry.value) for entry in t] == [5, 6, 11, 30, 41]
    assert [float(entry.adjoint) for entry in t] == [7, 6, 1, 1, 1]
    assert {name: float(g) for name, g in t.gradient.items()} == {"a": 25, "b": 19}
    assert [[i.argument if i.entry is None else i.entry for i in entry.inputs] for entry in t] == [
        ["a", "b"], ["a", "b"], [0, 1], [0, 1], [2, 3]
    ]  # fmt: skip
    assert t.value == 41 and t.fallbacks == () and len(t) == 5
    assert [entry.symbol for entry in t] == ["a + b", "a · b", "c + d", "c · d", "e + f"]
    assert [entry.by for entry in t] == ["table"] * 5


def net(params, x, target):
    a = params["W"] @ x + params["b"]
    h = jax.nn.sigmoid(a)
    y = jax.nn.sigmoid(params["w"] @ h + params["c"])
    return 0.5 * (y - target) ** 2


def net_params():
    return {
        "W": jnp.array([[1.0, -1.0], [-0.5, 0.25]]),
        "b": np.array([0.1, -0.2]),
        "w": jnp.array([2.0, -1]),
        "c": 0.3,
    }


def test_a_net_of_2_2_1_neurons():
    """The error signals of the textbook: δ = (o − t) o (1 − o), δₕ = w δ h (1 − h), dW = δₕ xᵀ."""
    params, x, target = net_params(), np.array([1.0, 0.0]), 1.0
    t = tape(net, params, x, target)
    h = 1 / (1 + np.exp(-(np.asarray(params["W"]) @ x + params["b"])))
    o = 1 / (1 + np.exp(-(np.asarray(params["w"]) @ h + 0.3)))
    delta = (o - target) * o * (1 - o)
    delta_h = np.asarray(params["w"]) * delta * h * (1 - h)
    found = [t["a"].value, t["h"].value, t["y"].value, t["a"].adjoint, t["y"].adjoint]
    assert relative_error(found, [np.asarray(params["W"]) @ x + params["b"], h, o, delta_h, o - target]) < 1e-14
    gradient = {"W": np.outer(delta_h, x), "b": delta_h, "w": delta * h, "c": np.asarray(delta)}
    assert relative_error(t.gradient["params"], gradient) < 1e-14
    assert t["params['W']"].value.shape == (2, 2) and t["h"].entry.source.code == "h = jax.nn.sigmoid(a)"


class Pair(NamedTuple):
    u: float
    v: object


def options(pair, *rest, mode="twice", key, scale=1, table, act=jnp.tanh, nothing=None):
    x = act(pair.u * rest[0]["x"][0] + table[0].astype(float)) * scale
    noise = jax.random.normal(key, ()) * rest[1]
    return (2 * x if mode == "twice" else x) + noise + (0 if nothing is None else 1)


def test_arguments_of_every_kind():
    """Pytrees, keys, integer arrays, and constants: strings, functions, None, Python integers."""
    key, table = jax.random.key(1), np.array([1, 2])
    args = Pair(0.5, "a name"), {"x": [np.float64(0.3)]}, 0.25
    t = tape(options, *args, key=key, scale=3, table=table)
    names = [argument.name for argument in t.arguments]
    assert names == ["pair.u", "rest[0]['x'][0]", "rest[1]", "key", "table"]
    assert list(t.gradient) == ["pair", "rest", "key", "scale", "table"]

    def oracle(u, x, r):
        return options(Pair(u, None), {"x": [x]}, r, key=key, scale=3, table=jnp.asarray(table))

    value, expected = jax.value_and_grad(oracle, (0, 1, 2))(0.5, 0.3, 0.25)
    gradient = t.gradient
    found = gradient["pair"].u, gradient["rest"][0]["x"][0], gradient["rest"][1]
    assert relative_error((t.value, found), (value, expected)) < 1e-14
    assert gradient["table"].dtype == gradient["key"].dtype == jax.dtypes.float0
    assert gradient["table"].shape == (2,) and gradient["pair"].v is None and gradient["scale"] is None
    assert all(entry.adjoint is None for entry in t if entry.operation.startswith("random"))
    assert all(entry.by is None for entry in t if entry.adjoint is None)


def test_other_results_are_swept_by_a_cotangent():
    def f(x):
        return {"y": jnp.sin(x), "n": jnp.argmax(x), "z": x[0] * 2}

    x, d_y = jnp.array([0.1, 0.7]), jnp.array([2.0, -1.0])
    t = tape(f, x)
    assert all(entry.adjoint is None for entry in t)
    with pytest.raises(ValueError, match=r"`tape.sweep\(cotangent\).gradient`"):
        _ = t.gradient
    swept = t.sweep({"y": d_y, "n": np.zeros((), jax.dtypes.float0), "z": 1.0})
    expected = d_y * jnp.cos(x) + jnp.array([2.0, 0.0])
    assert relative_error(swept.gradient["x"], expected) < 1e-14
    again = t.sweep({"y": 0 * d_y, "n": np.zeros((), jax.dtypes.float0), "z": 1.0})
    assert again.gradient["x"].tolist() == [2.0, 0.0] and relative_error(swept.gradient["x"], expected) < 1e-14
    with pytest.raises(ValueError, match="structure and shapes of the result"):
        t.sweep(d_y)
    with pytest.raises(ValueError, match="structure and shapes of the result"):
        t.sweep({"y": 1.0, "n": np.zeros((), jax.dtypes.float0), "z": 1.0})


def test_no_operations():
    t = tape(lambda x: x, 3.0)
    assert len(t) == 0 and t.value == 3 and float(t.gradient["x"]) == 1 and t.entries == ()
    assert str(t).splitlines()[-1].split() == ["x", "3", "1"]
    constant = tape(lambda x: 2.0, 3.0)
    assert constant.value == 2 and float(constant.gradient["x"]) == 0


class NoSignature:
    __signature__ = "none"

    def __call__(self, *args, **kwargs):
        return diamond(*args, **kwargs)


def test_low_precision_empty_arrays_and_functions_without_signature():
    for dtype in (jnp.float16, jnp.bfloat16, jnp.float32):
        t = tape(lambda x: jnp.sum(x * x), jnp.ones(3, dtype))
        assert t.gradient["x"].dtype == t[0].value.dtype == dtype and "3" in str(t)
    empty = tape(lambda x: jnp.sum(x * 2), jnp.zeros((0, 2)))
    assert empty.gradient["x"].shape == (0, 2) and "(0, 2)" in str(empty)
    assert float(tape(functools.partial(diamond, 2.0), 3.0).gradient["b"]) == 19
    without = tape(NoSignature(), 2.0, b=3.0)
    assert {name: float(g) for name, g in without.gradient.items()} == {"arg0": 25, "b": 19}


def test_a_tracer_is_refused():
    def outer(x):
        return tape(lambda x: x * 2, x).value

    for transformed in (jax.jit, jax.grad, lambda f: lambda x: jax.vmap(f)(jnp.ones(2))):
        with pytest.raises(TypeError, match="for the argument `x`.*use `bp.reverse`"):
            transformed(outer)(1.0)
    with pytest.raises(TypeError, match="closes over.*use `bp.reverse`"):
        jax.grad(lambda y: tape(lambda x: x * y, 2.0).value)(1.0)
    with pytest.raises(TypeError, match="which traces the function that calls `tape`"):
        jax.jit(lambda: tape(lambda x: x * 2, 2.0).value)()


def test_custom_rules_are_used_or_opened():
    @jax.custom_vjp
    def double(x):
        return jnp.sin(x)

    double.defvjp(lambda x: (jnp.sin(x), None), lambda _, g: (2 * g,))  # a wrong rule, on purpose

    def f(x):
        return double(x) + jax.nn.relu(x)

    used = tape(f, 0.5)
    assert float(used.gradient["x"]) == 3 and used[0].by == used[1].by == "custom rule" and used.fallbacks == ()
    assert used[0].symbol == "double x" and used[1].symbol == "relu x"
    opened = Tape.record(f, (0.5,), custom_rules="open")
    assert abs(float(opened.gradient["x"]) - np.cos(0.5) - 1) < 1e-15
    assert opened[0].operation == "sin" and opened[0].path == ("custom_vjp double",) and opened[1].symbol == "relu x"
    everything = Tape.record(f, (0.5,), custom_rules="open_all")
    assert [entry.operation for entry in everything] == ["sin", "max", "add"]
    assert relative_error(everything.gradient, opened.gradient) < 1e-15


def test_a_primitive_without_an_entry_falls_back_to_jax_and_is_named(monkeypatch):
    monkeypatch.delitem(DERIVATIVES, "sin")
    t = tape(lambda x: jnp.sin(x) * x, 0.5)
    assert t.fallbacks == ("sin",) and [entry.by for entry in t] == ["jax.vjp", "table"]
    assert str(t).splitlines()[-1] == "differentiated by jax.vjp: sin"
    assert abs(float(t.gradient["x"]) - (np.sin(0.5) + 0.5 * np.cos(0.5))) < 1e-15


def test_nothing_stays_after_a_call():
    """The values of a tape go with the tape: no cycle and no cache holds them."""
    gc.collect()
    gc.disable()
    try:
        x = jnp.arange(4.0)
        t = tape(lambda x: jnp.sum(jnp.tanh(x) ** 2), x)
        str(t)
        watched = [weakref.ref(x), weakref.ref(t[0].value), weakref.ref(t[0].adjoint)]
        del x, t
        assert [reference() for reference in watched] == [None] * 3
    finally:
        gc.enable()


def test_access_by_number():
    t = tape(diamond, 2.0, 3.0)
    assert t[-1].number == 4 and [entry.number for entry in t[1:3]] == [1, 2] and t.entries[3].number == 3
    with pytest.raises(IndexError):
        t[5]
    assert repr(t) == "<tape of diamond(a, b) = 41, 5 operations>"
    assert repr(t[3]) == "<3: f = c · d, value 30.0>"
