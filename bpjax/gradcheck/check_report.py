"""The result of `check_gradient`, as data and as text."""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from bpjax.gradcheck.blocks import block_in_words
from bpjax.gradcheck.explain import Explanation
from bpjax.gradcheck.judge import RIGHT, UNSURE, WRONG, Entries
from bpjax.gradcheck.laws import Law
from bpjax.gradcheck.report import to_plain_data
from bpjax.gradcheck.widen import Opened
from bpjax.util.text_table import table

VERDICTS = ("right", "cannot tell", "wrong")


class LeafReport(NamedTuple):
    """The gradient by one array."""

    name: str
    shape: tuple[int, ...]
    entries: Entries
    nonfinite: str | None  # "NaN" or "infinity" in the gradient

    @property
    def verdict(self) -> str:
        """The worst verdict of an entry."""
        return VERDICTS[int(self.entries.states.max(initial=RIGHT))]

    @property
    def worst(self) -> tuple[int, ...]:
        """The index of the entry with the largest difference among those with the worst verdict."""
        states, gap = self.entries.states, np.nan_to_num(self.entries.difference, nan=np.inf, posinf=np.inf)
        if not states.size:
            return ()
        ranked = np.where(states == states.max(), gap, -1.0)
        return tuple(int(i) for i in np.unravel_index(ranked.argmax(), states.shape))

    @property
    def error(self) -> float:
        """The largest difference, relative to the largest entry of the true gradient."""
        finite = np.abs(self.entries.truth)[np.isfinite(self.entries.truth)]
        largest = finite.max() if finite.size else 0.0
        gap = float(self.entries.difference[self.worst]) if self.entries.states.size else 0.0
        return gap / largest if largest > 0 else (0.0 if gap == 0 or self.verdict == "right" else np.inf)

    def count(self, state: int) -> int:
        """How many entries have this verdict."""
        return int(np.sum(self.entries.states == state))


@dataclass(frozen=True, repr=False)
class CheckReport:
    """A gradient held against the truth: `verdict` is "right", "wrong" or "cannot tell"."""

    name: str  # of the function
    by_rule: bool  # the rule of the function was checked; otherwise a separate gradient
    dtype: str  # the least precise dtype in the function
    leaves: tuple[LeafReport, ...]
    laws: tuple[Law, ...]
    skipped: tuple[tuple[str, str], ...]  # (name, reason): arguments that are not differentiated
    missing: tuple[str, ...]  # arguments that the gradient leaves out
    opened: Opened  # custom rules that were taken off for the reference
    reason: str | None  # why there is no reverse mode of the function itself
    explanation: Explanation | None = None  # where in the forward pass the mistake is
    note: str | None = None  # what a rule does that is another gradient on purpose

    @property
    def verdict(self) -> str:
        """The worst verdict of a leaf, or "wrong" where a law is broken."""
        if any(not law.holds for law in self.laws):
            return "wrong"
        return VERDICTS[max((VERDICTS.index(leaf.verdict) for leaf in self.leaves), default=0)]

    @property
    def ok(self) -> bool:
        """Whether the verdict is "right"."""
        return self.verdict == "right"

    @property
    def findings(self) -> tuple[str, ...]:
        """One line for everything that is not right."""
        lines = []
        for leaf in self.leaves:
            if leaf.verdict == "wrong":
                lines.append(_wrong_line(leaf))
            if leaf.count(UNSURE):
                lines.append(_unsure_line(leaf))
        lines += [law.text.rstrip(".") + "." for law in self.laws if not law.holds]
        return tuple(lines)

    def raise_if_wrong(self) -> None:
        """Raise an `AssertionError` with the report unless the gradient is right: one line in a test."""
        if not self.ok:
            raise AssertionError(str(self))

    def with_second_order(self, second: "CheckReport") -> "CheckReport":
        """The report together with that of the derivative of the gradient."""
        return replace(
            self,
            leaves=self.leaves + tuple(leaf._replace(name=f"second order, {leaf.name}") for leaf in second.leaves),
            laws=self.laws + second.laws,
        )

    def to_dict(self) -> dict:
        """Plain data, ready for JSON."""
        leaves = [
            {
                "name": leaf.name,
                "shape": leaf.shape,
                "verdict": leaf.verdict,
                "error": leaf.error,
                "wrong": leaf.count(WRONG),
                "cannot_tell": leaf.count(UNSURE),
                "worst": leaf.worst,
            }
            for leaf in self.leaves
        ]
        data = {
            "name": self.name,
            "verdict": self.verdict,
            "ok": self.ok,
            "dtype": self.dtype,
            "leaves": leaves,
            "laws": [law._asdict() for law in self.laws],
            "findings": self.findings,
            "skipped": [list(pair) for pair in self.skipped],
            "missing": self.missing,
            "opened": self.opened._asdict(),
            "reason": self.reason,
            "note": self.note,
            "explanation": None if self.explanation is None else self.explanation.to_dict(),
        }
        return {key: to_plain_data(value) for key, value in data.items()}

    def __repr__(self) -> str:
        return f"CheckReport({self.name}: {self.verdict})"

    def __str__(self) -> str:
        subject = f"the rule of `{self.name}`" if self.by_rule else f"the gradient of `{self.name}`"
        lines = [f"{subject} · {self.dtype} · {self._reference()}", ""]
        lines += table(HEADER, [_cells(leaf) for leaf in self.leaves]) if self.leaves else []
        lines += [f"{name}: not differentiated ({reason})" for name, reason in self.skipped]
        lines += [f"{name}: the gradient leaves it out" for name in self.missing]
        lines += [line for line in self.findings if line not in self.sentence]
        return "\n".join([*lines, *([""] if lines[-1] else []), self.sentence])

    def _reference(self) -> str:
        opened = self.opened.custom_rules
        without = (
            f" without {len(opened)} custom rule{'s' * (len(opened) != 1)} ({', '.join(opened)})" if opened else ""
        )
        if self.reason is not None:
            return f"held against finite differences alone, for the function has no reverse mode ({self.reason})"
        return f"held against reverse mode{without} and finite differences in float64"

    @property
    def sentence(self) -> str:
        """The verdict in one sentence."""
        held = [law.name for law in self.laws if law.holds]
        if self.verdict == "right":
            worst = max((leaf.error for leaf in self.leaves), default=0.0)
            count = len(self.leaves)
            arrays = (
                "the gradient by its one array agrees" if count == 1 else f"the gradients by all {count} arrays agree"
            )
            return f"right: {arrays}, the largest relative error is {worst:.1e}" + (
                f"; {', '.join(held)} hold too." if held else "."
            )
        first = self.findings[0]
        if self.verdict == "cannot tell":
            return f"cannot tell: {first}"
        if self.note is not None:
            return f"WRONG: {first} On purpose? {self.note[0].upper()}{self.note[1:]}."
        return f"WRONG: {first if self.explanation is None else self.explanation}"


HEADER = ("by", "shape", "error", "wrong entries", "cannot tell", "worst entry", "")


def _cells(leaf: LeafReport) -> tuple[str, ...]:
    return (
        leaf.name,
        "×".join(map(str, leaf.shape)) or "scalar",
        _error_cell(leaf),
        str(leaf.count(WRONG)),
        str(leaf.count(UNSURE)),
        ",".join(map(str, leaf.worst)),
        {"right": "ok", "wrong": "WRONG", "cannot tell": "?"}[leaf.verdict],
    )


def _error_cell(leaf: LeafReport) -> str:
    """The relative error; a word where the gradient is not finite, or the right one is zero or unknown."""
    if np.isfinite(leaf.error):
        return f"{leaf.error:.1e}"
    if leaf.nonfinite and leaf.entries.states.size and not np.isfinite(leaf.entries.difference[leaf.worst]):
        return {"NaN": "NaN"}.get(leaf.nonfinite, "infinite")
    return "not zero" if not np.any(leaf.entries.truth) else "unknown"


def _wrong_line(leaf: LeafReport) -> str:
    place = block_in_words(leaf.name, leaf.entries.states == WRONG)
    place = place[0].upper() + place[1:]
    worst = f"entry [{', '.join(map(str, leaf.worst))}]" if leaf.shape and leaf.entries.states.size > 1 else "the entry"
    reason = leaf.entries.reasons.get(leaf.worst)
    detail = f"; {reason}" if reason else ""
    if leaf.nonfinite and not np.isfinite(leaf.entries.difference[leaf.worst]):
        return f"{place}: wrong, {leaf.nonfinite} in the gradient at {worst}."
    if leaf.entries.truth.size and not np.any(leaf.entries.truth):
        return f"{place}: wrong, {worst} is {float(leaf.entries.difference[leaf.worst]):.1e} in size where 0 is right."
    return (
        f"{place}: wrong, {worst} by {float(leaf.entries.difference[leaf.worst]):.1e} where "
        f"{float(leaf.entries.tolerance[leaf.worst]):.1e} is tolerated{detail}."
    )


def _unsure_line(leaf: LeafReport) -> str:
    positions = [tuple(int(i) for i in p) for p in np.argwhere(leaf.entries.states == UNSURE)]
    named = [p for p in positions if p in leaf.entries.reasons]
    reason = leaf.entries.reasons[named[0]] if named else "the error is below the noise of rounding, which exceeds 1 %"
    shown = ", ".join(f"[{','.join(map(str, p))}]" for p in positions[:4])
    more = f" and {len(positions) - 4} more" if len(positions) > 4 else ""
    where = f" at {shown}{more}" if leaf.shape else ""
    return f"{leaf.name}: cannot tell{where}: {reason}."
