"""Candidates for what is wrong with a gradient, fitted to its error.

With Dₖ = G(1) − G(cₖ = 0), the contribution of use k, an error is that of use k where

    g − G ≈ (α − 1) Dₖ      α = 0 path missing, −1 sign, 2 counted twice, ½ halved, 1/n mean instead of sum
"""

import itertools
import math
from typing import NamedTuple

import numpy as np

from bpjax.gradcheck.compared import Compared
from bpjax.gradcheck.dials import Dial
from bpjax.gradcheck.settings import Gradients

EXPLAINED = 1e-3
"""Share of the error, by norm, that an explanation may leave."""

CLASSICS = (0.0, -1.0, 2.0, 0.5)
STRUCTURAL = frozenset("broadcast_in_dim transpose slice concatenate copy result dynamic_slice pad carry".split())
SIMPLE = ("derivative missing", "factor missing")


class Candidate(NamedTuple):
    """An explanation that is tried."""

    dials: tuple[int, ...]  # none: the whole gradient
    alpha: float | None  # None: a wrong derivative
    change: np.ndarray  # of the gradient, weighted
    classic: bool  # a classic factor, or a wrong derivative
    left: float = math.inf  # share of the error that is left
    only: tuple[int, ...] | None = None  # the leaves in which the mistake was made, None for all that it reaches
    part: tuple[int, int] | None = None  # (entries in which the path is missing, entries)
    iterations: int = 0  # of a loop in which the mistake was made, an index of `ITERATIONS`
    field: object = None  # key of the value that is the missing factor


class Search:
    """All candidates, fitted to one wrong gradient."""

    def __init__(self, gradients: Gradients, compared: Compared):
        """Fit."""
        self.dials, self.compared = gradients.dials, compared
        right = gradients.rows[0]
        self.right = right
        self.error = compared.computed - right
        self.norm = max(float(np.linalg.norm(self.error)), 1e-300)
        self.noise = float(np.linalg.norm(compared.noise))
        self.floor = max(1e-13 * float(np.linalg.norm(compared.truth)), 0.1 * self.noise)
        self.sizes: set[int] = set().union(*(dial.sizes for dial in self.dials)) if self.dials else set()
        self.directions: dict[tuple[int, ...], np.ndarray] = {}
        self.candidates: list[Candidate] = []
        in_loops: dict[tuple[int, ...], dict[float, np.ndarray]] = {}
        for setting, row in zip(gradients.settings[1:], gradients.rows[1:], strict=True):
            members, position = tuple(k for k in setting if k >= 0), next(iter(setting.values()))
            if -1 in setting:
                if self._matters(row - right):
                    self._keep(Candidate(members, 0.0, row - right, True, iterations=int(setting[-1])))
            elif any(self.dials[k].in_loop for k in members) and self.dials[members[0]].alternative is None:
                in_loops.setdefault(members, {})[position] = row - right
            else:
                self._add(members, row - right)
        for members, changes in in_loops.items():
            self._add_in_loop(members, changes)
        for members in gradients.groups:
            if members not in self.directions and all((k,) in self.directions for k in members):
                self._add_linear(members, np.sum([self.directions[(k,)] for k in members], axis=0))
        self._add_linear((), right)

    # --- Candidates -------------------------------------------------------------------------------------------------

    def _add(self, members: tuple[int, ...], change: np.ndarray) -> None:
        if not self._matters(change):
            return
        choice = self.dials[members[0]].alternative
        if choice is None:
            self._add_linear(members, -change)
        elif not choice.scaled:
            self._keep(Candidate(members, None, change, True))
        elif (factor := float(change @ self.error / (change @ change))) < 0:
            self._keep(Candidate(members, None, factor * change, True))

    def _add_in_loop(self, members: tuple[int, ...], changes: dict[float, np.ndarray]) -> None:
        if not all(np.isfinite(change).all() for change in changes.values()) or not self._matters(changes[0.0]):
            return
        gap = np.linalg.norm(changes[2.0] + changes[0.0])
        if gap <= 1e-9 * np.linalg.norm(changes[0.0]):  # linear: each path passes the loop's dial once
            self._add_linear(members, -changes[0.0])
            return
        for position, change in changes.items():
            self._keep(Candidate(members, position, change, True))

    def _matters(self, change: np.ndarray) -> bool:
        size = float(np.linalg.norm(change))
        return math.isfinite(size) and size > self.floor

    def _add_linear(self, members: tuple[int, ...], direction: np.ndarray) -> None:
        """A dial whose position is found by least squares."""
        if self._matters(direction):
            self.directions[members] = direction
            for candidate in self._fit(members, direction, None):
                self._keep(candidate)

    def _fit(self, members: tuple[int, ...], direction: np.ndarray, only) -> list[Candidate]:
        square = float(direction @ direction)
        alpha = 1 + float(direction @ self.error) / square
        found = [Candidate(members, alpha, (alpha - 1) * direction, False, only=only)]
        nearest = self.classic(alpha, self.noise / math.sqrt(square))
        if nearest is not None:
            found.append(Candidate(members, nearest, (nearest - 1) * direction, True, only=only))
        return found

    def classic(self, alpha: float, rounding: float) -> float | None:
        """The classic factor that α is, within the rounding of the gradient."""
        classics = [*CLASSICS, *(1 / n for n in self.sizes), *(float(n) for n in self.sizes)]
        near = [c for c in classics if abs(alpha - c) <= max(1e-4 * max(abs(c), 0.1), 10 * rounding)]
        return min(near, key=lambda c: (c not in CLASSICS, abs(alpha - c)), default=None)

    def _keep(self, candidate: Candidate) -> None:
        left = float(np.linalg.norm(self.error - candidate.change)) / self.norm
        self.candidates.append(candidate._replace(left=left))

    # --- Choice -----------------------------------------------------------------------------------------------------

    def fits(self, candidate: Candidate) -> bool:
        """Whether a candidate explains the error up to rounding."""
        if candidate.left < EXPLAINED:
            return True
        rest = np.abs(self.error - candidate.change)
        return bool((rest <= 10 * self.compared.noise).all()) and candidate.left < 0.5

    def singles(self) -> list[Candidate]:
        """The candidates that explain the error, best first."""
        return self.ranked([c for c in self.candidates if self.fits(c)])

    def ranked(self, fitting: list[Candidate]) -> list[Candidate]:
        """Those that explain about as much as the best, in order of preference."""
        least = min((c.left for c in fitting), default=0.0)
        floor = 10 * self.noise / self.norm
        good = [c for c in fitting if c.left <= max(30 * least, floor, 1e-6)]
        return sorted(good, key=self.preference)

    def preference(self, c: Candidate):
        """Smaller is better: classic before fitted, simple before special, near the mistake, early in the program."""
        if not c.dials:
            return (not c.classic, 3.5, 0, 0, 0)
        dial = self.dials[c.dials[0]]
        if dial.alternative is None:
            kind = 1.5 if c.iterations else 0.0 if c.alpha in CLASSICS else 1.0
        else:
            simple = dial.alternative.mistake in SIMPLE
            kind = 0.25 if simple and dial.constant is not None else 0.5 if simple else 2.0
            kind += 0.25 * (dial.primitive == "statement")
        several = 0 if self._of_one_operation(c) else len(c.dials)
        return (not c.classic, kind, several, -self._relevance(c, dial), c.alpha not in (0.0, None), dial.order)

    def _of_one_operation(self, c: Candidate) -> bool:
        return len({(self.dials[k].equation, self.dials[k].value) for k in c.dials}) == 1

    def _relevance(self, c: Candidate, dial: Dial) -> int:
        """How much the operation invites this mistake."""
        score = 0 if dial.primitive in STRUCTURAL or not dial.place.known else 1
        score += self._of_one_operation(c) and len(c.dials) > 1
        if c.alpha == -1:
            second = dial.operand == 1 and dial.primitive in ("sub", "div")
            score += second or dial.primitive in ("neg", "cos") or (dial.constant or 0) < 0
        elif c.alpha in (2.0, 0.5):
            score += dial.primitive in ("square", "integer_pow") or dial.constant in (2.0, 0.5)
        elif c.alpha and c.alpha not in CLASSICS:
            near = [n for n in dial.sizes if math.isclose(c.alpha, n) or math.isclose(c.alpha * n, 1)]
            score += 2 * bool(near)
        return score

    # --- Mistakes in some leaves or entries --------------------------------------------------------------------------

    def wrong_leaves(self) -> list[int]:
        """The compared leaves with an error."""
        found = []
        for k, span in enumerate(self.compared.spans):
            allowed = 10 * np.linalg.norm(self.compared.noise[span]) + 1e-6 * np.linalg.norm(self.right[span])
            if np.linalg.norm(self.error[span]) > allowed:
                found.append(k)
        return found

    def restricted(self) -> list[Candidate]:
        """Mistakes that were made in the wrong leaves alone, where several leaves are computed from one value."""
        leaves = self.wrong_leaves()
        mask = np.zeros(len(self.error), bool)
        for k in leaves:
            mask[self.compared.spans[k]] = True
        if mask.all():
            return []
        only, found = tuple(self.compared.leaves[k] for k in leaves), []
        for members, direction in self.directions.items():
            if self._matters(direction * mask):
                found += self._fit(members, direction * mask, only)
        found += [
            c._replace(change=c.change * mask, only=only)
            for c in self.candidates
            if (c.alpha is None or c.iterations or c.dials not in self.directions) and self._matters(c.change * mask)
        ]
        return self.ranked([c for c in self._measured(found) if self.fits(c)])

    def partial(self) -> list[Candidate]:
        """Paths that are missing in some entries, and present in the others."""
        found = []
        for members, direction in self.directions.items():
            if not members:
                continue
            tolerance = np.maximum(10 * self.compared.noise, 1e-5 * np.abs(direction).max())
            missing = (np.abs(self.error + direction) <= tolerance) & (np.abs(direction) > tolerance)
            present = np.abs(self.error) <= tolerance
            if missing.any() and (missing | present).all() and (present & (np.abs(direction) > tolerance)).any():
                part = (int(missing.sum()), int((np.abs(direction) > tolerance).sum()))
                found.append(Candidate(members, 0.0, np.where(missing, -direction, 0), True, part=part))
        return self.ranked([c for c in self._measured(found) if self.fits(c)])

    def fields(self, values: dict) -> list[Candidate]:
        """Contributions that lack an intermediate value as a factor, or have it twice.

        Args:
            values: the intermediate values, by key.
        """
        leaves = self.wrong_leaves()
        if len(leaves) != 1:
            return []
        span, found = self.compared.spans[leaves[0]], []
        error = self.error[span]
        spread = {key: self.compared.spread(leaves[0], value) for key, value in values.items()}
        spread = {key: v for key, v in spread.items() if v is not None and np.ptp(v) > 0 and (v != 0).all()}
        for members, direction in self.directions.items():
            d = direction[span]
            if len(members) > 1 or not np.linalg.norm(d) > self.floor:
                continue
            for (key, v), twice in itertools.product(spread.items(), (False, True)):
                rest = error - d * ((v if twice else 1 / v) - 1)
                if np.linalg.norm(rest) < EXPLAINED * self.norm:
                    change = np.zeros_like(self.error)
                    change[span] = error - rest
                    found.append(
                        Candidate(
                            members, None, change, True, only=(self.compared.leaves[leaves[0]],), field=(key, twice)
                        )
                    )
        return self.ranked(self._measured(found))

    def _measured(self, candidates: list[Candidate]) -> list[Candidate]:
        return [c._replace(left=float(np.linalg.norm(self.error - c.change)) / self.norm) for c in candidates]

    # --- Pairs ------------------------------------------------------------------------------------------------------

    def pair(self) -> tuple[Candidate, Candidate, float] | None:
        """Two classic mistakes at once, and the share of the error that they leave: by the Gram matrix of all."""
        owners = [(members, True, d) for members, d in self.directions.items() if len(members) == 1]
        owners += [
            (c.dials, False, c.change)
            for c in self.candidates
            if c.alpha is None and (choice := self.dials[c.dials[0]].alternative) and choice.mistake in SIMPLE
        ]
        if len(owners) < 2:
            return None
        changes = np.array([change for _, _, change in owners])
        gram, projected = changes @ changes.T, changes @ self.error
        squares = np.diag(gram)
        with np.errstate(divide="ignore", invalid="ignore"):
            determinant = squares[:, None] * squares[None] - gram**2
            a = (projected[:, None] * squares[None] - projected[None] * gram) / determinant
            left = self.norm**2 - a * projected[:, None] - a.T * projected[None]
        usable = (determinant > 1e-9 * squares[:, None] * squares[None]) & np.triu(np.ones_like(gram, bool), 1)
        best = None
        for j, k in np.argwhere(usable & (left <= (2 * EXPLAINED * self.norm) ** 2)):
            first, second = self._step(owners[j], a[j, k]), self._step(owners[k], a[k, j])
            rest = float(np.linalg.norm(self.error - a[j, k] * changes[j] - a[k, j] * changes[k])) / self.norm
            if first is None or second is None or rest > EXPLAINED:
                continue
            rank = sorted(map(self.preference, (first, second)), reverse=True)
            if best is None or rank < best[0]:
                best = rank, (first, second, rest)
        return None if best is None else best[1]

    def _step(self, owner, step: float) -> Candidate | None:
        members, linear, change = owner
        if not linear:
            return Candidate(members, None, change, True) if abs(step - 1) < 1e-3 else None
        alpha = self.classic(1 + step, self.noise / float(np.linalg.norm(change)))
        return None if alpha is None else Candidate(members, alpha, change, True)
