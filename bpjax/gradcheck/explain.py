"""Explain a wrong gradient: the mistake that gives it, and the line of the forward pass whose derivative is wrong."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from bpjax.gradcheck.compared import Compared
from bpjax.gradcheck.dials import ITERATIONS, Dial, Dialed
from bpjax.gradcheck.leaf_mistakes import LeafMistake, leaf_mistake
from bpjax.gradcheck.places import NOWHERE, Place, in_words
from bpjax.gradcheck.search import Candidate, Search
from bpjax.gradcheck.settings import enumerate_dials, find_gradients, intermediate_values
from bpjax.gradcheck.widen import widened
from bpjax.util.float64 import float64_on_host
from bpjax.util.jaxprs import opened


class Explanation(NamedTuple):
    """What is wrong with a gradient, and where."""

    mistake: str  # a key of `mistakes.MISTAKES`
    text: str  # one line
    place: Place  # the line of the forward pass; `NOWHERE` where the mistake belongs to no line
    lines: tuple[int, ...]  # of the same file: lines that explain it equally well, in order
    coefficient: float | None  # the factor of a path, None for a wrong derivative
    before: float  # error relative to the truth, by norm
    after: float  # share of the error that is left
    runner_up: str  # the best explanation of another kind, with the share that it leaves

    def __str__(self) -> str:
        return self.text

    def to_dict(self) -> dict:
        """Plain data."""
        place = {"file": self.place.file, "line": self.place.line, "code": self.place.code}
        return {**self._asdict(), "place": place, "lines": list(self.lines)}


def explain(
    subject,
    cotangents: Sequence[Sequence],
    computed: Sequence[Sequence],
    truth: Sequence[Sequence],
    noise: Sequence[Sequence] | None = None,
) -> Explanation | None:
    """Explain a wrong gradient.

    Args:
        subject: what is under test, a `Subject`.
        cotangents: several sets of cotangents of the results, in float64.
        computed: for each set the cotangents of the leaves that are under test; None for a leaf without one.
        truth: the right ones.
        noise: rounding error of `computed` to expect, for each entry; zero by default.

    Returns:
        the explanation; one with the mistake "unknown" names the nearest candidate; None where nothing comes near, or
        the function cannot be differentiated in reverse mode.
    """
    with float64_on_host():
        arrays = [widened(jnp.asarray(a)) for a in subject.arrays]
        names = [leaf.name for leaf in subject.leaves]
        compared = Compared(computed, truth, noise)
        moved = leaf_mistake(names, computed, truth, compared.tolerance)
        case = _Case.of(subject, arrays, cotangents, truth, compared)
        if case is None:
            return None if moved is None else _of_leaf(moved, compared, None, subject)
        found = case.single() if compared.size else None
        if found is None and moved is not None:
            return _of_leaf(moved, compared, case.walk, subject)
        return found or (case.several() if compared.size else None)


def _of_leaf(found: LeafMistake, compared: Compared, walk: Dialed | None, subject) -> Explanation:
    """A mistake that concerns a whole leaf, at the line that uses it first."""
    variable = opened(subject.jaxpr).invars[found.leaf]
    dials = [] if walk is None else walk.dials
    uses = [d.place for d in dials if d.alternative is None and d.value == ((), variable) and d.place.known]
    place = uses[0] if uses else NOWHERE
    text = found.text if not place.known else f"{place}: {found.text}"
    lines = tuple(sorted({p.line for p in uses if p.file == place.file}))
    return Explanation(found.mistake, text, place, lines, None, compared.before, found.left, "")


class _Case:
    """One wrong gradient, with the gradient at all settings of the dials."""

    def __init__(self, walk: Dialed, search: Search, arrays, names: list[str]):
        self.walk, self.search, self.arrays, self.names = walk, search, arrays, names
        self.dials = walk.dials

    @classmethod
    def of(cls, subject, arrays, cotangents, truth, compared: Compared) -> "_Case | None":
        """The rules of JAX are opened where that does not change the gradient; None without reverse mode."""
        names = [leaf.name for leaf in subject.leaves]
        for open_jax in (True, False):
            try:
                walk = enumerate_dials(subject.jaxpr, names, arrays, open_jax)
                if not compared.size:
                    return cls(walk, None, arrays, names)  # type: ignore[arg-type]
                gradients = find_gradients(walk, arrays, cotangents, truth, compared)
            except Exception:  # noqa: BLE001, S112  (any primitive of any library may refuse reverse mode)
                continue
            gap = np.linalg.norm(gradients.rows[0] - compared.truth)
            if gap <= 1e-6 * np.linalg.norm(compared.truth) + 10 * np.linalg.norm(compared.noise):
                return cls(walk, Search(gradients, compared), arrays, names)
        return None

    def single(self) -> Explanation | None:
        """One mistake that explains the gradient in all leaves."""
        found = self.search.singles()
        return self._explanation(found) if found else None

    def several(self) -> Explanation | None:
        """A mistake in some leaves or entries, a missing factor, two mistakes, or what comes nearest."""
        restricted = self.search.restricted()
        if restricted and restricted[0].classic:
            return self._explanation(restricted)
        fields = self.search.fields(intermediate_values(self.walk, self.arrays))
        found = fields or self.search.partial()
        if found:
            return self._explanation(found)
        pair = self.search.pair()
        if pair is not None:
            return self._pair(*pair)
        return self._explanation(restricted) if restricted else self._nearest()

    def _explanation(self, good: list[Candidate]) -> Explanation:
        chosen = good[0]
        mistake, what, place = self.words(chosen)
        others = [self.words(c) for c in good if c.classic == chosen.classic]
        lines = {p.line for name, _, p in others if p.file == place.file and name == mistake and p.line}
        lines |= {line for file, line in place.callers if file == place.file}
        known = {id(c) for c in good}
        rest = [c for c in self.search.candidates if id(c) not in known and c.dials != chosen.dials]
        runner_up = min(rest, key=lambda c: c.left, default=None)
        return Explanation(
            mistake,
            what if not place.known else f"{place}: {what}",
            place,
            tuple(sorted(lines)),
            chosen.alpha,
            self.search.compared.before,
            chosen.left,
            "" if runner_up is None else self._line(runner_up),
        )

    def _pair(self, first: Candidate, second: Candidate, left: float) -> Explanation:
        words = sorted((self.words(c) for c in (first, second)), key=lambda w: w[2].line)
        text = "two mistakes: " + "; ".join(f"{place}: {what}" for _, what, place in words)
        mistake, _, place = words[0]
        lines = tuple(sorted({w[2].line for w in words}))
        return Explanation(mistake, text, place, lines, None, self.search.compared.before, left, "")

    def _nearest(self) -> Explanation | None:
        nearest = min(self.search.candidates, key=lambda c: c.left, default=None)
        if nearest is None or nearest.left > 0.3:
            return None
        place = self.words(nearest)[2]
        text = f"fits no single known mistake; the nearest: {self._line(nearest)}"
        lines = (place.line,) if place.line else ()
        before = self.search.compared.before
        return Explanation("unknown", text, place, lines, nearest.alpha, before, nearest.left, "")

    def _line(self, c: Candidate) -> str:
        _, what, place = self.words(c)
        return f"{'' if not place.known else f'{place}: '}{what} ({c.left:.1%} of the error left)"

    # --- Words ------------------------------------------------------------------------------------------------------

    def words(self, c: Candidate) -> tuple[str, str, Place]:
        """(mistake, what is wrong, line) of a candidate."""
        mistake, what, place = self._words(c)
        if c.iterations:
            what += f" in {ITERATIONS[c.iterations]}"
            if c.iterations > 2 and c.dials in self.search.directions:  # a value that no iteration changes
                mistake = "one row instead of the sum"
        if c.only is not None:
            what += f", in the gradient by {' and '.join(f'`{self.names[k]}`' for k in c.only)} alone"
        if c.part is not None:
            what += f" in {c.part[0]} of {c.part[1]} entries"
        return mistake, what, place

    def _words(self, c: Candidate) -> tuple[str, str, Place]:
        if c.field is not None:
            return self._field(c)
        if not c.dials:
            mistake, words = self._factor(c.alpha, whole=True)
            return mistake, f"the whole gradient is {words}", NOWHERE
        dial = self.dials[c.dials[0]]
        if dial.alternative is not None:
            return self._wrong_derivative(dial)
        mistake, words = self._factor(c.alpha, self._is_whole(c))
        return mistake, f"{self._path(c, dial)} is {words}", dial.place

    def _field(self, c: Candidate) -> tuple[str, str, Place]:
        key, twice = c.field  # type: ignore[misc]
        uses = [d for d in self.dials if d.value == key and d.alternative is None and d.place.known]
        uses.sort(key=lambda d: d.primitive not in ("mul", "div"))
        origin, leaf = self.walk.origin(key), self.walk.leaf(key)
        place = uses[0].place if uses else origin
        name = f"`{origin.name}`" if origin.name and origin.line != place.line else "another value"
        name = name if leaf is None else f"`{self.names[leaf]}`"
        return (
            ("factor squared" if twice else "factor missing"),
            f"the factor {name} is {'there twice' if twice else 'missing'}",
            place,
        )

    def _wrong_derivative(self, dial: Dial) -> tuple[str, str, Place]:
        choice, place = dial.alternative, dial.place
        assert choice is not None
        mistake, text = choice.mistake, choice.text
        if dial.primitive == "statement":
            name = place.call or (f"`{place.name}`" if place.name else "this line")
            return mistake, f"in the derivative of {name}: {text}", place
        if mistake == "factor missing" and dial.constant:
            factor = 1 / dial.constant if dial.primitive == "div" else dial.constant
            named, words = self._factor(1 / factor, True)
            mistake = mistake if named == "scaled" else named
            return mistake, f"the factor {factor:.6g} is missing: the path is {words}", place
        if mistake in ("derivative missing", "derivative of the wrong quantity", "updated before propagated"):
            return mistake, text, place
        return mistake, f"{text}, in the derivative of the {in_words(dial.primitive, place)}", place

    def _path(self, c: Candidate, dial: Dial) -> str:
        """The path that a use belongs to, in words."""
        if dial.primitive == "result":
            return f"the cotangent of result {dial.operand}" if len(c.dials) == 1 else "the whole gradient"
        if dial.primitive == "carry":
            return "the path from one iteration to the next"
        name = dial.origin.name if dial.origin.line != dial.place.line else ""
        if len({self.dials[k].equation for k in c.dials}) > 1:
            return f"the sum over all uses of {f'`{name}`' if name else self._argument(dial) or 'a value'}"
        source = f" from `{name}`" if name else ""
        return f"the path{source} through the {in_words(dial.primitive, dial.place)}"

    def _argument(self, dial: Dial) -> str:
        leaf = self.walk.leaf(dial.value)
        return "" if leaf is None else f"`{self.names[leaf]}`"

    def _is_whole(self, c: Candidate) -> bool:
        """Whether a path is all of the gradient that it reaches."""
        direction = self.search.directions.get(c.dials)
        if direction is None:
            return False
        reached = np.abs(direction) > 1e-9 * np.abs(direction).max()
        right = self.search.right
        return bool(np.linalg.norm((direction - right)[reached]) <= 1e-6 * np.linalg.norm(right[reached]))

    def _factor(self, alpha: float | None, whole: bool) -> tuple[str, str]:
        """(mistake, words) of a factor."""
        alpha = 1.0 if alpha is None else alpha

        def near(value: float) -> bool:
            return math.isclose(alpha, value, rel_tol=1e-3, abs_tol=1e-6)

        if near(0):
            return ("zero", "zero") if whole else ("path missing", "missing")
        if near(-1):
            return "sign flipped", "taken with the wrong sign"
        if near(2):
            return ("doubled", "twice too large") if whole else ("counted twice", "counted twice")
        if near(0.5):
            return "halved", "halved"
        for n in sorted(self.search.sizes):
            if near(1 / n):
                return "mean instead of sum", f"a mean instead of a sum (1/{n})"
            if near(n):
                return "sum instead of mean", f"a sum instead of a mean ({n} times too large)"
        for n in sorted(self.search.sizes):
            if near(math.sqrt(n)) or near(1 / math.sqrt(n)):
                return "scaled", f"scaled by {alpha:.4g} = {'' if alpha > 1 else '1/'}√{n}"
        return "scaled", f"scaled by {alpha:.4g}"
