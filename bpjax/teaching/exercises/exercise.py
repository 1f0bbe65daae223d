"""`bp.exercise`: a statement of the article as a function to write, with a check that says why an answer is wrong."""

from collections.abc import Callable

from bpjax.teaching.exercises.check import check_answer
from bpjax.teaching.exercises.registry import TASKS
from bpjax.teaching.exercises.task import Task, Verdict
from bpjax.util.checks import check_choice, check_count, check_function

EXERCISES = tuple(TASKS)
"""The names of the exercises, in the order of the encyclopedia article."""


class Exercise:
    """One exercise: prints its statement; `check` judges a function, `hint` gives the next hint."""

    def __init__(self, task: Task):
        """See `exercise`."""
        self._task = task
        self._hints = 0

    @property
    def name(self) -> str:
        """Of the exercise, and of the function in a file of answers."""
        return self._task.name

    @property
    def title(self) -> str:
        """A few words."""
        return self._task.title

    @property
    def statement(self) -> str:
        """The task, as Markdown."""
        return self._task.statement

    def check(self, function: Callable, seed: int = 0) -> Verdict:
        """Judge a function, in NumPy or JAX, on random instances of random shapes.

        The verdict says whether it is right and, if not, which mistake gives the same values; it never says the
        solution.

        Args:
            function: called with NumPy arrays and floats.
            seed: of the instances.

        Raises:
            ValueError: `function` cannot be called, or `seed` is no integer ≥ 0.
        """
        check_function("check", "function", function)
        return check_answer(self._task, function, check_count("check", "seed", seed, least=0))

    def hint(self) -> str:
        """The next hint; after the last one it stays."""
        hints = self._task.hints
        self._hints = min(self._hints + 1, len(hints))
        return f"Hint {self._hints} of {len(hints)}: {hints[self._hints - 1]}"

    def __str__(self) -> str:
        return f"{self.title}\n{'─' * len(self.title)}\n{self.statement}"

    def __repr__(self) -> str:
        return f"exercise({self.name!r})"

    def _repr_markdown_(self) -> str:
        return f"### {self.title}\n\n{self.statement}"


def exercise(name: str) -> Exercise:
    """An exercise from the statements of the encyclopedia article on backpropagation.

        e = bp.exercise("output_delta")
        print(e)
        def output_delta(net_input, target): ...
        print(e.check(output_delta))
        print(e.hint())

    Args:
        name: one of `bp.teaching.EXERCISES`: net_input, output_delta, hidden_delta, weight_change, momentum_term,
            bias_change, batch_sum, softmax_delta, weight_sharing, through_time.

    Raises:
        ValueError: there is no such exercise.
    """
    check_choice("exercise", "name", name, EXERCISES)
    return Exercise(TASKS[name])
