"""`bp.tape` on computations worked out by hand."""

from bpjax.tape import tape


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
