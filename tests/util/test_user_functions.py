"""What is said of a user's function: its name, file and lines, whatever kind of callable it is."""

import functools

import jax
import pytest

from bpjax.util.user_functions import call_user, hashable, place


def fails(value, divisor=0):
    half = value / 2
    return half / divisor


class Callable:
    def __call__(self, value):
        return fails(value)

    def method(self, value):
        return value.missing


def line_of(function):
    return function.__code__.co_firstlineno


@pytest.mark.parametrize(
    ("function", "name", "first", "failing"),
    [
        (fails, "fails", line_of(fails), line_of(fails) + 2),
        (functools.partial(fails, divisor=0), "fails", line_of(fails), line_of(fails) + 2),
        (jax.jit(fails), "fails", line_of(fails), None),
        (Callable(), "Callable", line_of(Callable.__call__), line_of(Callable.__call__) + 1),
        (Callable().method, "Callable.method", line_of(Callable.method), line_of(Callable.method) + 1),
        (lambda value: fails(value), "<lambda>", None, None),
    ],
    ids=["function", "partial", "jit", "object", "method", "lambda"],
)
def test_every_kind_of_function_has_a_place(function, name, first, failing):
    text = place(function)
    assert text.startswith(f"`{name}` (test_user_functions.py, line ")
    assert first is None or text.endswith(f"line {first})")
    if failing is None:
        return
    with pytest.raises(ValueError, match=f"`f` called the role function `{name}` .* in line {failing}: ") as caught:
        call_user("f", "role", function, 1)
    assert type(caught.value.__cause__) in (ZeroDivisionError, AttributeError)


def test_a_function_without_python_lines_is_named():
    with pytest.raises(ValueError, match="the role function `len`, which raised TypeError: object of type 'int'"):
        call_user("f", "role", len, 1)


def test_a_message_of_many_lines_becomes_one():
    def talks(value):
        raise RuntimeError("First line.\nSecond line.")

    with pytest.raises(ValueError, match=r": First line\.$") as caught:
        call_user("f", "role", talks, 1)
    assert "Second" in str(caught.value.__cause__)


def test_an_object_without_hash_gets_one_and_keeps_its_place():
    class Unhashable(Callable):
        __hash__ = None

    function = hashable(Unhashable())
    assert len({function}) == 1
    assert place(function) == place(Callable()).replace("Callable", place(function).split("`")[1])
    assert hashable(fails) is fails
