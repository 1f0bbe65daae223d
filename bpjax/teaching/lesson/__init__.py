"""A lesson: one HTML page made from a recorded training, with every quantity of the textbook and its formula."""

from bpjax.teaching.lesson.document import LessonRun, lesson

__all__ = ["LessonRun", "lesson"]
