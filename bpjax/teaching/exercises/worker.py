"""A process that checks the functions of one file: whatever the file does ends with it.

    python -m bpjax.teaching.exercises.worker FILE RESULTS SECONDS NAME…

One JSON object per line is appended to RESULTS as soon as an exercise is checked; the first line is empty and says that
the process has started.
"""

import contextlib
import json
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from bpjax.gradcheck.user_file import FileError, running
from bpjax.teaching.exercises.check import check_answer
from bpjax.teaching.exercises.registry import TASKS
from bpjax.teaching.exercises.task import Verdict

TOO_LONG = "The function takes longer than {:g} s: look for a loop that does not end."


class TooLong(KeyboardInterrupt):
    """Raised in the student's code after its time; like Ctrl-C it passes `except Exception` and ends the check."""


@contextlib.contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Interrupt Python code after a time, where the system has timers; elsewhere the caller ends the process."""
    if not hasattr(signal, "setitimer"):
        yield
        return

    def interrupt(number, frame):
        raise TooLong

    signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def judge(module, name: str, seconds: float) -> Verdict:
    """The verdict on one function of a module."""
    function = getattr(module, name, None)
    if not callable(function):
        return Verdict(False, "missing", f"The file has no function `{name}`.")
    try:
        with limited(seconds):
            return check_answer(TASKS[name], function)
    except TooLong:
        return Verdict(False, "too long", TOO_LONG.format(seconds))


def main(arguments: list[str]) -> None:
    """Check a file; see the head of this file."""
    file, results, seconds, *names = arguments
    limit = float(seconds)

    def report(name: str, verdict: Verdict, took: float) -> None:
        with open(results, "a", encoding="utf-8") as out:
            out.write(json.dumps(verdict._asdict() | {"exercise": name, "seconds": round(took, 3)}) + "\n")

    Path(results).write_text("{}\n", encoding="utf-8")  # from here on it is the file that ends the process
    try:
        with contextlib.ExitStack() as stack:
            with limited(limit):
                module = stack.enter_context(running(Path(file)))
            for name in names:
                start = time.perf_counter()
                report(name, judge(module, name, limit), time.perf_counter() - start)
    except TooLong:
        for name in names:
            report(name, Verdict(False, "too long", f"Reading the file takes longer than {limit:g} s."), limit)
    except FileError as error:
        cause = str(getattr(error, "shown", "")).strip().splitlines()[-1:]
        sentence = " ".join([f"The file cannot be read: {str(error).replace(file, Path(file).name)}", *cause])
        for name in names:
            report(name, Verdict(False, "file", sentence), 0.0)


if __name__ == "__main__":
    main(sys.argv[1:])
