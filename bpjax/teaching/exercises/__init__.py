"""Ten exercises from the statements of the encyclopedia article on backpropagation."""

from bpjax.teaching.exercises.exercise import EXERCISES, Exercise, exercise
from bpjax.teaching.exercises.task import Verdict

__all__ = ["EXERCISES", "Exercise", "Verdict", "exercise"]
