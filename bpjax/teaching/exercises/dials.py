"""What the gradient check says about an answer that no table of mistakes knows."""

from collections.abc import Callable
from typing import Any

import numpy as np

from bpjax.gradcheck.check import check_gradient
from bpjax.gradcheck.mistakes import MISTAKES
from bpjax.teaching.exercises.task import Arguments, Task, Verdict


def explained(task: Task, function: Callable, arguments: Arguments) -> Verdict | None:
    """The derivative or the path that is wrong, found by the dials of the gradient check; None where they find none.

    E of the exercise is a JAX function; the answer is held against its gradient, as any hand-written gradient is.

    Args:
        task: the exercise.
        function: of the student.
        arguments: of one instance.
    """
    if task.error is None:
        return None
    given: list = [np.asarray(argument) if np.ndim(argument) else argument for argument in arguments]
    if max(task.by) == len(arguments):  # the weights, of which the gradient does not depend
        given.append(np.random.default_rng(1).normal(size=np.shape(task.answer(*arguments))))

    def gradient(*now):
        answer = function(*map(np.asarray, now[: len(arguments)]))
        found = answer if task.as_gradient is None else task.as_gradient(answer, now)
        return tuple(found) if len(task.by) > 1 else found

    argnums: Any = task.by if len(task.by) > 1 else next(iter(task.by))
    try:
        report = check_gradient(task.error, *given, gradient=gradient, argnums=argnums)
    except Exception:  # noqa: BLE001  (the check is extra help: an answer that it cannot take stays unexplained)
        return None
    found = report.explanation
    if found is None or found.mistake == "unknown":
        return None
    where = f" It is in the derivative of `{found.place.code}`." if found.place.code else ""
    what = MISTAKES[found.mistake]
    return Verdict(False, found.mistake, f"{what[0].upper()}{what[1:]}.{where}")
