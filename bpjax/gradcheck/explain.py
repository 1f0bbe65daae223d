"""Explain a wrong gradient: the mistake in the reverse sweep that gives it, and the line of the forward pass.

The gradient is linear in each single dial c (see `dials`). With Dₖ = G(1) − G(cₖ = 0), the contribution of use k,
a wrong gradient g is explained by use k where

    g − G ≈ (α − 1) Dₖ      α = 0 path missing, −1 sign, 2 counted twice, ½ halved, 1/n mean instead of sum

with α by least squares over all leaves and cotangents. Wrong derivatives are compared as they are.
"""

import itertools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from bpjax.gradcheck.dials import Dial, Dialed
from bpjax.gradcheck.float64 import float64_on_host
from bpjax.gradcheck.leaf_mistakes import LeafMistake, leaf_mistake
from bpjax.gradcheck.places import NOWHERE, Place, in_words
from bpjax.gradcheck.widen import widened
from bpjax.util.jaxprs import num_entries, opened

EXPLAINED = 1e-3
"""Share of the error, by norm, that an explanation may leave."""
ENTRIES = 2048
"""Entries of each leaf that are compared."""
CLASSICS = {0.0: "path missing", -1.0: "sign flipped", 2.0: "counted twice", 0.5: "halved"}
QUICK = {"xla_backend_optimization_level": 0}
"""Options of XLA for a program that runs once: compiling it takes a fifth of the time."""
LOOP_POSITIONS = (0.0, -1.0, 2.0, 0.5)


class Explanation(NamedTuple):
    """What is wrong with a gradient, and where."""

    mistake: str  # a key of `mistakes.MISTAKES`
    text: str  # one line
    place: Place  # the line of the forward pass; `NOWHERE` where the mistake belongs to no line
    lines: tuple[int, ...]  # of the same file: lines that explain it equally well, in order
    coefficient: float | None  # α, None for a wrong derivative
    before: float  # error relative to the truth, by norm
    after: float  # share of the error that is left
    runner_up: str  # the best explanation of another kind, with the share that it leaves

    def __str__(self) -> str:
        return self.text

    def to_dict(self) -> dict:
        """Plain data."""
        plain = self._asdict() | {"file": self.place.file, "line": self.place.line, "code": self.place.code}
        del plain["place"]
        return plain | {"lines": list(self.lines)}


class Candidate(NamedTuple):
    """An explanation that is tried."""

    dials: tuple[int, ...]
    alpha: float | None  # None: a wrong derivative
    change: np.ndarray  # of the gradient, weighted
    classic: bool
    left: float = math.inf  # share of the error that is left


def explain(
    subject,
    cotangents: Sequence[Sequence],
    computed: Sequence[Sequence],
    truth: Sequence[Sequence],
    noise: Sequence[Sequence] | None = None,
    *,
    arrays: Sequence | None = None,
) -> Explanation | None:
    """Explain a wrong gradient.

    Args:
        subject: what is under test, a `Subject`.
        cotangents: several sets of cotangents of the results, in float64.
        computed: for each set the cotangents of the leaves that are under test; None for a leaf without one.
        truth: the right ones.
        noise: rounding error of `computed` to expect, for each entry; zero by default.
        arrays: the leaves in float64, by default those of `subject`.

    Returns:
        the explanation; one with the mistake "unknown" names the nearest candidates; None where nothing comes near, or
        the function cannot be differentiated in reverse mode.
    """
    with float64_on_host():
        arrays = [widened(jnp.asarray(a)) for a in (subject.arrays if arrays is None else arrays)]
        names = [leaf.name for leaf in subject.leaves]
        comparison = Comparison(computed, truth, noise)
        whole = leaf_mistake(names, computed, truth, comparison.tolerance)
        found = None
        if comparison.size:
            found = _by_dials(subject.jaxpr, arrays, cotangents, comparison)
        if whole is not None and (found is None or found.mistake == "unknown"):
            return _of_leaf(whole, comparison, subject, arrays, cotangents)
        return found


class Comparison:
    """The entries that are compared, as weighted vectors over all cotangents and leaves."""

    def __init__(self, computed, truth, noise):
        """Choose entries: the most wrong ones, and others evenly spread."""
        self.leaves: list[int] = []
        self.chosen: list[np.ndarray] = []
        self.weights: list[np.ndarray] = []
        wrong, right, expected = [], [], []
        for k, first in enumerate(truth[0]):
            a = [None if c[k] is None else np.asarray(c[k]) for c in computed]
            t = [np.asarray(ct[k]) for ct in truth]
            if first is None or not t[0].size or any(x is None or x.shape != t[0].shape for x in a):
                continue
            a, t = np.stack([x.ravel() for x in a]), np.stack([x.ravel() for x in t])
            tolerance = np.zeros(t.shape) if noise is None else np.stack([np.ravel(n[k]) for n in noise])
            tolerance = np.broadcast_to(np.nan_to_num(tolerance, posinf=0), t.shape)
            usable = np.isfinite(a).all(axis=0) & np.isfinite(t).all(axis=0)
            entries = _choose(np.where(usable, np.abs(np.where(usable, a - t, 0)).max(axis=0), -1))
            if not len(entries):
                continue
            scale = max(np.abs(t[:, entries]).max(), np.abs(a[:, entries] - t[:, entries]).max(), 1e-300)
            self.leaves.append(k)
            self.chosen.append(entries)
            self.weights.append(np.full(t.shape[0] * len(entries), 1 / (scale * math.sqrt(len(entries)))))
            wrong.append(a[:, entries].ravel())
            right.append(t[:, entries].ravel())
            expected.append(tolerance[:, entries].ravel())
        self.size = sum(len(w) for w in self.weights)
        if self.size:
            self.weight = np.concatenate(self.weights)
            self.computed = np.concatenate(wrong) * self.weight
            self.truth = np.concatenate(right) * self.weight
            self.noise = np.concatenate(expected) * self.weight
            self.error = self.computed - self.truth
            self.before = float(np.linalg.norm(self.error) / max(np.linalg.norm(self.truth), 1e-300))
        else:
            self.before = math.inf

    @property
    def tolerance(self) -> float:
        """Relative error of whole leaves that counts as equal."""
        if not self.size:
            return 1e-5
        return max(1e-9, 10 * float(np.linalg.norm(self.noise) / max(np.linalg.norm(self.truth), 1e-300)))

    def vector(self, gradients: Sequence) -> np.ndarray:
        """Compared entries of leaves with a first axis of cotangents, as one weighted vector."""
        return np.concatenate([np.asarray(g).ravel() for g in gradients]) * self.weight


def _choose(error: np.ndarray) -> np.ndarray:
    """At most `ENTRIES` positions: half of them where the error is largest, the others evenly spread."""
    usable = np.flatnonzero(error >= 0)
    if len(usable) <= ENTRIES:
        return usable
    worst = usable[np.argsort(error[usable])[-ENTRIES // 2 :]]
    spread = usable[:: math.ceil(2 * len(usable) / ENTRIES)]
    return np.unique(np.concatenate([worst, spread]))


# --- The gradient at many settings of the dials -----------------------------------------------------------------------


def _evaluate(walk: Dialed, arrays, cotangents, comparison: Comparison, lanes: list[dict[int, float]]) -> np.ndarray:
    """The compared entries of the gradient for each setting, (lanes, entries), weighted."""
    entries = sum(num_entries(v) for e in opened(walk.closed).eqns for v in e.outvars) + 1
    batch = int(min(len(lanes), max(1, 4e6 // (entries * len(cotangents)))))
    rounds = math.ceil(len(lanes) / batch)
    neutral = np.array([dial.neutral for dial in walk.dials])
    table = np.tile(neutral, (rounds * batch, 1))
    for lane, setting in enumerate(lanes):
        for k, position in setting.items():
            table[lane, k] = position
    table = table.reshape(rounds, batch, -1)
    chosen = [jnp.asarray(entries) for entries in comparison.chosen]
    stacked = [jnp.stack([jnp.asarray(ct[k]) for ct in cotangents]) for k in range(len(cotangents[0]))]

    def gradient(setting, cotangents):
        outputs, vjp = jax.vjp(lambda *arrays: walk.results(setting, *arrays), *arrays)
        found = vjp([ct.astype(y.dtype) for y, ct in zip(outputs, cotangents, strict=True)])
        return [jnp.ravel(found[k])[entries] for k, entries in zip(comparison.leaves, chosen, strict=True)]

    def settings(table, stacked):
        return lax.map(lambda some: jax.vmap(lambda s: jax.vmap(lambda ct: gradient(s, ct))(stacked))(some), table)

    found = jax.jit(settings, compiler_options=QUICK)(table, stacked)
    flat = [np.asarray(g).reshape(rounds * batch, -1)[: len(lanes)] for g in found]
    return np.concatenate(flat, axis=1) * comparison.weight


def _dialed(closed, arrays, open_jax: bool) -> Dialed:
    """The function with its dials enumerated and its while loops counted."""
    walk = Dialed(closed, open_jax)

    def first_run(*arrays):
        walk.results(None, *arrays)
        return dict(walk.iterations)

    shapes = jax.eval_shape(first_run, *arrays)
    walk.iterations = {key: int(n) for key, n in jax.jit(first_run, compiler_options=QUICK)(*arrays).items()} if shapes else {}
    if shapes:  # the bodies of the loops have dials now
        jax.eval_shape(lambda *arrays: walk.results(None, *arrays), *arrays)
    return walk


def _groups(dials: list[Dial]) -> list[tuple[int, ...]]:
    """All uses of each value that has several."""
    by_value: dict[Any, list[int]] = {}
    for k, dial in enumerate(dials):
        if dial.alternative is None and dial.value is not None:
            by_value.setdefault(dial.value, []).append(k)
    groups = [tuple(members) for members in by_value.values() if len(members) > 1]
    results = tuple(k for k, dial in enumerate(dials) if dial.primitive == "result")
    return groups + ([results] if len(results) > 1 else [])


def _by_dials(closed, arrays, cotangents, comparison: Comparison) -> Explanation | None:
    for open_jax in (True, False):
        try:
            walk = _dialed(closed, arrays, open_jax)
            lanes: list[dict[int, float]] = [{}]
            groups = _groups(walk.dials)
            for k, dial in enumerate(walk.dials):
                steps = (1.0,) if dial.alternative else LOOP_POSITIONS if dial.in_loop else (0.0,)
                lanes += [{k: step} for step in steps]
            for members in groups:
                if any(walk.dials[k].in_loop for k in members):
                    lanes += [dict.fromkeys(members, step) for step in LOOP_POSITIONS]
            gradients = _evaluate(walk, arrays, cotangents, comparison, lanes)
        except (NotImplementedError, TypeError, ValueError, jax.errors.JAXTypeError):
            continue
        right = gradients[0]
        if np.linalg.norm(right - comparison.truth) <= 1e-6 * np.linalg.norm(comparison.truth) + 10 * np.linalg.norm(
            comparison.noise
        ):
            return Search(walk.dials, groups, lanes, gradients, comparison).explanation()
    return None


# --- The search -------------------------------------------------------------------------------------------------------


class Search:
    """All candidates, fitted to one wrong gradient."""

    def __init__(self, dials, groups, lanes, gradients, comparison: Comparison):
        """Fit."""
        self.dials, self.comparison = dials, comparison
        self.error = comparison.computed - gradients[0]
        self.norm = float(np.linalg.norm(self.error))
        self.noise = float(np.linalg.norm(comparison.noise))
        self.directions: dict[tuple[int, ...], np.ndarray] = {}
        self.candidates: list[Candidate] = []
        changes = gradients - gradients[0]
        for lane, change in zip(lanes[1:], changes[1:], strict=True):
            self._add(lane, change)
        for members in groups:
            if all((k,) in self.directions for k in members) and members not in self.directions:
                self._linear(members, np.sum([self.directions[(k,)] for k in members], axis=0))
        self._linear((), gradients[0])

    def _add(self, lane: dict[int, float], change: np.ndarray) -> None:
        size = float(np.linalg.norm(change))
        if not math.isfinite(size) or size <= max(1e-13 * np.linalg.norm(self.comparison.truth), 0.1 * self.noise):
            return
        members, step = tuple(lane), next(iter(lane.values()))
        dial = self.dials[members[0]]
        if dial.alternative is not None:
            if dial.alternative.scaled:
                factor = float(change @ self.error / (change @ change))
                if factor < 0:
                    self._keep(Candidate(members, None, factor * change, True))
            else:
                self._keep(Candidate(members, None, change, True))
        elif step == 0 and not dial.in_loop:
            self._linear(members, -change)
        else:
            self._keep(Candidate(members, step, change, True))

    def _linear(self, members: tuple[int, ...], direction: np.ndarray) -> None:
        """A dial whose position is found by least squares."""
        square = float(direction @ direction)
        if square == 0:
            return
        self.directions[members] = direction
        alpha = 1 + float(direction @ self.error) / square
        sizes = set().union(*(self.dials[k].sizes for k in members)) if members else self._all_sizes()
        nearest = self._classic(alpha, sizes, self.noise / math.sqrt(square))
        if nearest is not None:
            self._keep(Candidate(members, nearest, (nearest - 1) * direction, True))
        self._keep(Candidate(members, alpha, (alpha - 1) * direction, False))

    def _all_sizes(self) -> set[int]:
        return set().union(*(dial.sizes for dial in self.dials)) if self.dials else set()

    def _classic(self, alpha: float, sizes, rounding: float) -> float | None:
        """The classic factor that α is, within the rounding of the gradient."""
        classics = [*CLASSICS, *(1 / n for n in sizes), *(float(n) for n in sizes)]
        classics += [s for n in sizes for s in (math.sqrt(n), 1 / math.sqrt(n))]
        near = [c for c in classics if abs(alpha - c) <= max(1e-4 * max(abs(c), 0.1), 10 * rounding)]
        return min(near, key=lambda c: (abs(alpha - c) > rounding, c not in CLASSICS, abs(alpha - c)), default=None)

    def _keep(self, candidate: Candidate) -> None:
        left = float(np.linalg.norm(self.error - candidate.change)) / max(self.norm, 1e-300)
        self.candidates.append(candidate._replace(left=left))

    def _fits(self, candidate: Candidate) -> bool:
        rest = np.abs(self.error - candidate.change)
        return candidate.left < EXPLAINED or bool((rest <= 10 * self.comparison.noise).all()) and candidate.left < 0.5

    def explanation(self) -> Explanation | None:
        """The best candidate in words."""
        singles = [c for c in self.candidates if self._fits(c)]
        if singles:
            return self._explained(self._best(singles))
        pair = self._pair()
        return pair if pair is not None else self._nearest()

    def _best(self, fitting: list[Candidate]) -> tuple[Candidate, list[Candidate]]:
        """The candidate that is reported, and those that explain the error as well, in order of preference."""
        least = min(c.left for c in fitting)
        floor = 10 * self.noise / max(self.norm, 1e-300)
        good = [c for c in fitting if c.left <= max(30 * least, floor, 1e-6)]
        good.sort(key=self._preference)
        return good[0], good

    def _preference(self, c: Candidate):
        """Smaller is better."""
        if not c.dials:
            return (not c.classic, 3.5, 0, 0, 0)
        dial = self.dials[c.dials[0]]
        if dial.alternative is None:
            root = c.classic and not any(math.isclose(c.alpha * n, 1) or math.isclose(c.alpha, n) for n in self._all_sizes())
            kind = 0.0 if c.alpha in CLASSICS else 1.5 if root else 1.0
        else:
            known = dial.alternative.mistake in ("derivative missing", "factor missing")
            kind = 0.25 if known and dial.constant is not None else 0.5 if known else 2.0
            kind += 0.25 * (dial.primitive == "statement")
        return (not c.classic, kind, len(c.dials), -self._relevance(c, dial), dial.order)

    def _relevance(self, c: Candidate, dial: Dial) -> int:
        """How much the operation invites this mistake."""
        score = 0 if dial.primitive in STRUCTURAL or dial.place is NOWHERE else 1
        if c.alpha == -1:
            score += _is_negative(dial)
        elif c.alpha in (2.0, 0.5):
            score += dial.primitive in ("square", "integer_pow") or dial.constant in (2.0, 0.5)
        elif c.alpha is not None and c.alpha not in CLASSICS:
            near = [n for n in dial.sizes if math.isclose(c.alpha, n, rel_tol=1e-3) or math.isclose(c.alpha * n, 1, rel_tol=1e-3)]
            score += 2 * bool(near) if dial.primitive != "result" else 0
            score += dial.constant is not None and any(
                math.isclose(r, c.alpha, rel_tol=1e-3) for r in (abs(dial.constant), 1 / abs(dial.constant or 1))
            )
        return score

    def _explained(self, best: tuple[Candidate, list[Candidate]]) -> Explanation:
        chosen, good = best
        mistake, what, place = self._words(chosen)
        lines = {place.line} if place.line else set()
        for c in good:
            other = self.dials[c.dials[0]].place if c.dials else NOWHERE
            if other.file == place.file and c.classic == chosen.classic and self._words(c)[0] == mistake:
                lines.add(other.line)
        known = {id(c) for c in good}
        others = [c for c in self.candidates if id(c) not in known]
        runner_up = min(others, key=lambda c: c.left, default=None)
        return Explanation(
            mistake,
            what if place is NOWHERE else f"{place}: {what}",
            place,
            tuple(sorted(lines)),
            chosen.alpha,
            self.comparison.before,
            chosen.left,
            "" if runner_up is None else self._line(runner_up),
        )

    def _line(self, c: Candidate) -> str:
        _, what, place = self._words(c)
        return f"{'' if place is NOWHERE else f'{place}: '}{what} ({c.left:.1%} of the error left)"

    # --- Words ------------------------------------------------------------------------------------------------------

    def _words(self, c: Candidate) -> tuple[str, str, Place]:
        """(mistake, what is wrong, line) of a candidate."""
        if not c.dials:
            mistake, words = self._factor(c.alpha, whole=True, sizes=self._all_sizes())
            return mistake, f"the whole gradient is {words}", NOWHERE
        dial = self.dials[c.dials[0]]
        if dial.alternative is not None:
            return self._wrong_derivative(dial)
        whole = self._is_whole(c)
        mistake, words = self._factor(c.alpha, whole, set().union(*(self.dials[k].sizes for k in c.dials)))
        return mistake, f"{self._path(c, dial)} is {words}", dial.place

    def _wrong_derivative(self, dial: Dial) -> tuple[str, str, Place]:
        choice, place = dial.alternative, dial.place
        mistake, text = choice.mistake, choice.text
        if mistake == "factor missing":
            if dial.constant is not None:
                ratio = dial.constant if dial.primitive == "div" else 1 / (dial.constant or 1)
                mistake, words = self._factor(ratio, True, dial.sizes)
                text = f"the factor {1 / ratio:.6g} is missing: the gradient is {words}"
                return mistake, text, place
            text = f"{text} in the derivative of the {in_words(dial.primitive, place)}"
        elif dial.primitive == "statement":
            subject = place.call or (f"`{place.name}`" if place.name else "this line")
            text = f"the derivative of {subject} is missing"
        elif mistake in ("wrong operand", "factor squared", "derivative incomplete", "wrong axis") or "cotangent" in text:
            text = f"{text}, in the derivative of the {in_words(dial.primitive, place)}"
        return mistake, text, place

    def _path(self, c: Candidate, dial: Dial) -> str:
        """The path that a use belongs to, in words."""
        if dial.primitive == "result":
            return f"the cotangent of result {dial.operand}"
        if len(c.dials) > 1:
            return "the sum over all uses of a value"
        return f"the path through the {in_words(dial.primitive, dial.place)}"

    def _is_whole(self, c: Candidate) -> bool:
        """Whether a dial scales everything that it reaches."""
        direction = self.directions.get(c.dials)
        if direction is None:
            return False
        reached = np.abs(direction) > 1e-9 * np.abs(direction).max()
        truth = self.comparison.truth
        return bool(np.linalg.norm((direction - truth)[reached]) <= 1e-6 * np.linalg.norm(truth[reached]))

    def _factor(self, alpha: float, whole: bool, sizes) -> tuple[str, str]:
        """(mistake, words) of a factor."""
        close = lambda value: math.isclose(alpha, value, rel_tol=1e-3, abs_tol=1e-6)  # noqa: E731
        if close(0):
            return ("zero", "zero") if whole else ("path missing", "missing")
        if close(-1):
            return "sign flipped", "taken with the wrong sign"
        if close(2):
            return ("doubled", "twice too large") if whole else ("counted twice", "counted twice")
        if close(0.5):
            return "halved", "halved"
        for n in sorted(sizes):
            if close(1 / n):
                return "mean instead of sum", f"a mean instead of a sum (1/{n})"
            if close(n):
                return "sum instead of mean", f"a sum instead of a mean ({n} times too large)"
        for n in sorted(sizes):
            if close(math.sqrt(n)):
                return "scaled", f"scaled by {alpha:.4g} = √{n}"
            if close(1 / math.sqrt(n)):
                return "scaled", f"scaled by {alpha:.4g} = 1/√{n}"
        return "scaled", f"scaled by {alpha:.4g}"

    # --- Pairs, and what comes near ---------------------------------------------------------------------------------

    def _pair(self) -> Explanation | None:
        """Two mistakes at once, both classic: by the Gram matrix of all directions."""
        changes, owners = self._directions_of_pairs()
        if len(changes) < 2:
            return None
        gram, projected = changes @ changes.T, changes @ self.error
        best = None
        for j, k in itertools.combinations(range(len(changes)), 2):
            determinant = gram[j, j] * gram[k, k] - gram[j, k] ** 2
            if determinant <= 1e-9 * gram[j, j] * gram[k, k]:
                continue
            a = (projected[j] * gram[k, k] - projected[k] * gram[j, k]) / determinant
            b = (projected[k] * gram[j, j] - projected[j] * gram[j, k]) / determinant
            left = self.norm**2 - a * projected[j] - b * projected[k]
            pair = (owners[j].with_step(a), owners[k].with_step(b))
            if left <= (EXPLAINED * self.norm) ** 2 + 1e-14 * self.norm**2 and all(pair):
                rest = self.error - a * changes[j] - b * changes[k]
                left = float(np.linalg.norm(rest)) / self.norm
                rank = tuple(sorted(self._preference(c) for c in pair))
                if left < EXPLAINED and (best is None or rank < best[0]):
                    best = rank, pair, left
        if best is None:
            return None
        _, pair, left = best
        first, second = sorted((self._words(c) for c in pair), key=lambda w: w[2].line)
        texts = [f"{place}: {what}" for _, what, place in (first, second)]
        lines = tuple(sorted({first[2].line, second[2].line}))
        text = f"two mistakes: {texts[0]}; {texts[1]}"
        return Explanation(first[0], text, first[2], lines, None, self.comparison.before, left, "")

    def _directions_of_pairs(self):
        owners, changes = [], []
        for members, direction in self.directions.items():
            if len(members) == 1:
                owners.append(_Step(self, members, linear=True))
                changes.append(direction)
        for c in self.candidates:
            if c.alpha is None and self.dials[c.dials[0]].alternative.mistake in ("derivative missing", "factor missing"):
                owners.append(_Step(self, c.dials, linear=False))
                changes.append(c.change)
        return np.array(changes), owners

    def _nearest(self) -> Explanation | None:
        """No single mistake fits: the candidates that leave least."""
        near = sorted(self.candidates, key=lambda c: c.left)[:1]
        if not near or near[0].left > 0.3:
            return None
        text = f"fits no single known mistake; the nearest: {self._line(near[0])}"
        place = self._words(near[0])[2]
        lines = (place.line,) if place.line else ()
        return Explanation("unknown", text, place, lines, near[0].alpha, self.comparison.before, near[0].left, "")


STRUCTURAL = frozenset("broadcast_in_dim transpose slice concatenate copy result dynamic_slice pad".split())


def _is_negative(dial: Dial) -> bool:
    """Whether the derivative of an operation has a minus sign."""
    second = dial.operand == 1 and dial.primitive in ("sub", "div")
    return second or dial.primitive in ("neg", "cos", "rsqrt") or (dial.constant is not None and dial.constant < 0)


class _Step(NamedTuple):
    search: Search
    dials: tuple[int, ...]
    linear: bool

    def with_step(self, step: float) -> Candidate | None:
        """The candidate where the step is that of a classic mistake, else None."""
        if not self.linear:
            return Candidate(self.dials, None, np.zeros(0), True) if abs(step - 1) < 1e-3 else None
        direction = self.search.directions[self.dials]
        rounding = self.search.noise / float(np.linalg.norm(direction))
        sizes = set().union(*(self.search.dials[k].sizes for k in self.dials))
        alpha = self.search._classic(1 + step, sizes, rounding)
        return None if alpha is None else Candidate(self.dials, alpha, np.zeros(0), True)


def _of_leaf(found: LeafMistake, comparison: Comparison, subject, arrays, cotangents) -> Explanation:
    """A mistake that concerns a whole leaf, at the line that uses it first."""
    walk = _dialed(subject.jaxpr, arrays, True)
    variable = opened(subject.jaxpr).invars[found.leaf]
    uses = [d for d in walk.dials if d.alternative is None and d.value == ((), variable) and d.place is not NOWHERE]
    place = uses[0].place if uses else NOWHERE
    text = found.text if place is NOWHERE else f"{place}: {found.text}"
    lines = (place.line,) if place.line else ()
    return Explanation(found.mistake, text, place, lines, None, comparison.before, found.left, "")
