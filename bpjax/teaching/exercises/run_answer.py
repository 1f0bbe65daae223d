"""Call a student's function on one instance, and say in a sentence what cannot be compared."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from bpjax.teaching.exercises.task import Task, Verdict
from bpjax.util.call_text import shown
from bpjax.util.user_functions import failing_line


class Outcome(NamedTuple):
    """What the function made of one instance."""

    arguments: tuple[Any, ...]
    truth: np.ndarray
    value: np.ndarray | None  # None where there is nothing to compare
    problem: Verdict | None


def run_answer(task: Task, function: Callable, arguments: tuple[Any, ...]) -> Outcome:
    """Call the function with copies of the arguments; whatever it raises becomes a sentence."""
    truth = np.asarray(task.answer(*arguments), float)
    given = [argument.copy() if isinstance(argument, np.ndarray) else argument for argument in arguments]
    try:
        with np.errstate(all="ignore"):
            result = function(*given)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001  (anything that a student's function raises, sys.exit included)
        return Outcome(arguments, truth, None, _raised(task, function, arguments, error))
    for name, before, after in zip(task.arguments, arguments, given, strict=True):
        if isinstance(before, np.ndarray) and not np.array_equal(before, after):
            sentence = (
                f"The function changes its argument `{name}` in place: compute a new array, `y = {name} + 1` in "
                f"place of `{name} += 1`, or copy it first."
            )
            return Outcome(arguments, truth, None, Verdict(False, "changes its argument", sentence))
    value, problem = _as_array(result, truth)
    return Outcome(arguments, truth, value, problem)


def _raised(task: Task, function: Callable, arguments, error: BaseException) -> Verdict:
    if isinstance(error, SystemExit):
        return Verdict(False, "exits", "The function calls `exit`: let it return its result.")
    line = failing_line(function, error)
    message = next(iter(str(error).splitlines()), "") or "no message"
    shapes = [f"{n} {np.shape(a)}" for n, a in zip(task.arguments, arguments, strict=True) if np.ndim(a)]
    where = f" in line {line}" if line else ""
    sentence = f"The function raises {type(error).__name__}{where} for {', '.join(shapes)}: {message.rstrip('.')}."
    return Verdict(False, "raises", sentence)


def _as_array(result, truth: np.ndarray) -> tuple[np.ndarray | None, Verdict | None]:
    """The result as an array, or what is wrong with its kind."""
    if result is None:
        return None, Verdict(False, "returns None", "The function returns None: end it with `return` and the result.")
    try:
        value = np.asarray(result)
        numeric = value.dtype.kind in "biufc" or value.dtype.name == "bfloat16"
    except Exception:  # noqa: BLE001  (nested lists of unequal lengths, objects that refuse)
        numeric, value = False, np.asarray(0)
    if not numeric:
        sentence = f"The function returns {shown(result)}, which is no array of numbers of one shape."
        return None, Verdict(False, "no array", sentence)
    if value.dtype.kind in "biu":
        sentence = (
            f"The function returns {'booleans' if value.dtype.kind == 'b' else 'integers'}: the results are real "
            "numbers. Look for `//`, `int(...)`, a comparison, or an array that was made with an integer dtype."
        )
        return None, Verdict(False, "integers", sentence)
    if value.dtype.kind == "c":
        return None, Verdict(False, "complex", "The function returns complex numbers; the results are real.")
    return value.astype(float), None


def same(value: np.ndarray | None, expected: np.ndarray, tolerance: float = 1e-4) -> bool:
    """Whether two arrays agree, to what single precision leaves."""
    if value is None or value.shape != expected.shape or not np.isfinite(value).all():
        return False
    return bool(np.linalg.norm(value - expected) <= tolerance * np.linalg.norm(expected) + 1e-12)
