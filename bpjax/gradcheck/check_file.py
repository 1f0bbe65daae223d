"""Check the gradients that a Python file defines: `function`, a function by name, or every custom rule."""

import time
from pathlib import Path
from typing import Any, NamedTuple

from bpjax.gradcheck.check import CheckReport, check_gradient
from bpjax.gradcheck.targets import Target, targets_of
from bpjax.gradcheck.user_file import FileError, errors_of, last_own_line, running, split_reference

VERDICTS = ("right", "cannot tell", "wrong")
"""From the best to the worst."""


class FileReport(NamedTuple):
    """The reports of all functions of a file that were checked."""

    file: str
    reports: tuple[tuple[str, CheckReport], ...]  # (name, report)
    unchecked: tuple[tuple[str, str], ...]  # (name, reason)
    seconds: float | None  # of all checks; None if they are not timed

    @property
    def verdict(self) -> str:
        """The worst verdict."""
        return max((report.verdict for _, report in self.reports), key=VERDICTS.index)

    def to_dict(self) -> dict:
        """Plain data, ready for JSON."""
        return {
            "file": self.file,
            "ok": self.verdict == "right",
            "verdict": self.verdict,
            "seconds": self.seconds,
            "checks": [{"name": name, **report.to_dict()} for name, report in self.reports],
            "unchecked": [{"name": name, "reason": reason} for name, reason in self.unchecked],
        }

    def __str__(self) -> str:
        several = len(self.reports) > 1
        parts = [f"{name}\n{report}" if several else str(report) for name, report in self.reports]
        if self.unchecked:
            parts.append("\n".join(f"not checked: {name} ({reason})" for name, reason in self.unchecked))
        if several:
            counts = [sum(r.verdict == verdict for _, r in self.reports) for verdict in reversed(VERDICTS)]
            wrong, cannot_tell, right = counts
            parts.append(f"{right} right, {wrong} wrong, {cannot_tell} cannot tell, {len(self.unchecked)} not checked.")
        if self.seconds is not None:
            parts[-1] += f"\nChecked in {self.seconds:.1f} s."
        return "\n\n".join(parts)


def check_file(reference: str, timed: bool = True, **options: Any) -> FileReport:
    """Check what a file defines.

    Args:
        reference: `FILE`, or `FILE::NAME` for one function; NAME may be `Class.method`.
        timed: report the seconds.
        options: passed to `check_gradient`: tolerance, order, seed.

    Raises:
        FileError: the file, or a function in it, cannot be used.
    """
    start = time.perf_counter()
    file, name = split_reference(reference)
    with running(file) as module:
        with errors_of(file):
            targets = targets_of(module, name)
        reports = tuple((target.name, _check(target, file, options)) for target in targets.checked)
    seconds = time.perf_counter() - start if timed else None
    return FileReport(str(file), reports, targets.unchecked, seconds)


def _check(target: Target, file: Path, options: dict) -> CheckReport:
    more = {} if target.argnums is None else {"argnums": target.argnums}
    try:
        return check_gradient(
            target.function, *target.arguments, gradient=target.gradient, **more, **options, **target.keywords
        )
    except (KeyboardInterrupt, FileError):
        raise
    except BaseException as error:  # noqa: BLE001  (code under test may raise anything, or exit)
        raise FileError(_sentence(error, target, file)) from error


def _sentence(error: BaseException, target: Target, file: Path) -> str:
    """What went wrong in one sentence, with the user's line where it was their code."""
    message = " ".join(str(error).split("\n\n")[0].split())
    own = last_own_line(error, file.resolve().parent)
    if own is None and isinstance(error, ValueError):
        return f"{file}: {message}"
    where = f"{own[0]}, line {own[1]}, in {own[2]}" if own else f"{file}, {target.name}"
    return f"{where}: {type(error).__name__}: {message[:300]}"
