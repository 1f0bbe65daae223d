"""Lessons, derivations and exercises from real networks and their numbers."""

from bpjax.teaching.anatomy import Anatomy, anatomy
from bpjax.teaching.derivation import Derivation, derivation
from bpjax.teaching.exercises import EXERCISES, Exercise, Verdict, exercise
from bpjax.teaching.lesson import LessonRun, lesson

__all__ = [
    "Anatomy",
    "Derivation",
    "EXERCISES",
    "Exercise",
    "LessonRun",
    "Verdict",
    "anatomy",
    "derivation",
    "exercise",
    "lesson",
]
