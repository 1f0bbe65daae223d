"""The binomial schedule of checkpointing: which states to store so that the fewest steps are computed again.

A sweep of l steps is reversed from its last step to its first, and step k can only be reversed from state k. With room
for s states at a time, the initial state included, the other states are computed again from the latest stored one.
Griewank & Walther (2000, Algorithm 799, "revolve") choose the stored states so that the number of repeated steps is the
least possible:

    t(l, s) = r l − C(s + r, s + 1),      r the least integer with C(s + r, s) ≥ l

No step is repeated more than r times. For a fixed s, r grows as (s! l)^(1/s); with s = r both are about log₄ l. With
s ≥ l − 1 every state is stored, and each step but the last is computed once more, for its residuals: t = l − 1.
"""

import math
from collections.abc import Iterator
from typing import Literal, NamedTuple

from bpjax.util.checks import check_count


class Action(NamedTuple):
    """One action of a schedule. State k is the state before step k."""

    kind: Literal["snapshot", "advance", "restore", "reverse"]
    """"snapshot": store state `step` in `slot`. "advance": compute state `step` + 1 from state `step`.
    "restore": go back to state `step`, which is in `slot`. "reverse": compute step `step` once more with its residuals,
    and go through it backwards."""
    step: int
    slot: int = -1
    """Of a "snapshot" or a "restore"."""


def repeated_steps(steps: int, snapshots: int) -> int:
    """The least number of steps that are computed again to reverse a sweep, t = r l − C(s + r, s + 1).

    r is the least integer with C(s + r, s) ≥ l (Griewank & Walther 2000). A sweep and its reversal compute l + t steps.

    Args:
        steps: l, the number of steps.
        snapshots: s, the number of states that are stored at the same time, the initial state included.

    Raises:
        ValueError: `steps` or `snapshots` is not a positive integer.
    """
    steps = check_count("repeated_steps", "steps", steps)
    snapshots = check_count("repeated_steps", "snapshots", snapshots)
    r = _repetitions(steps, snapshots)
    return r * steps - math.comb(snapshots + r, snapshots + 1)


def binomial_schedule(steps: int, snapshots: int) -> list[Action]:
    """The actions that reverse a sweep with the least number of repeated steps.

    >>> [(action.kind, action.step) for action in binomial_schedule(steps=3, snapshots=1)]
    [('snapshot', 0), ('advance', 0), ('advance', 1), ('reverse', 2), ('restore', 0), ('advance', 0), ('reverse', 1),
    ('restore', 0), ('reverse', 0)]

    The actions before the first "reverse" are the forward sweep; that reversal belongs to it, since step l − 1 has just
    been reached. What follows computes `repeated_steps(steps, snapshots)` steps, as advances or for reversals. The
    snapshots are a stack: slot i holds an earlier state than slot i + 1.

    Args:
        steps: l, the number of steps.
        snapshots: s, the number of states that are stored at the same time, the initial state included.

    Raises:
        ValueError: `steps` or `snapshots` is not a positive integer.
    """
    steps = check_count("binomial_schedule", "steps", steps)
    snapshots = check_count("binomial_schedule", "snapshots", snapshots)
    first = [Action("snapshot", 0, 0)] if steps > 1 else []
    return first + list(_reversal(0, steps, 0, snapshots))


def _reversal(begin: int, end: int, slot: int, snapshots: int) -> Iterator[Action]:
    """Reverse the steps `begin` … `end` − 1, in state `begin`, which is in `slot`; `snapshots` counts that slot."""
    while end - begin > 1:
        middle = begin + _first_part(end - begin, snapshots)
        yield from (Action("advance", step) for step in range(begin, middle))
        if middle < end - 1:
            yield Action("snapshot", middle, slot + 1)
        yield from _reversal(middle, end, slot + 1, snapshots - 1)
        yield Action("restore", begin, slot)
        end = middle
    yield Action("reverse", begin)


def _first_part(steps: int, snapshots: int) -> int:
    """After how many of the steps the next snapshot is best taken.

    The first part, with s snapshots, is then reversed with at most r − 1 repetitions, the second, with s − 1, with r.
    """
    if snapshots == 1:
        return steps - 1
    r = _repetitions(steps, snapshots)
    return min(math.comb(snapshots + r - 1, snapshots), steps - math.comb(snapshots + r - 2, snapshots - 1))


def _repetitions(steps: int, snapshots: int) -> int:
    """r, the least integer with C(s + r, s) ≥ l."""
    if snapshots == 1:
        return steps - 1
    r = 0
    while math.comb(snapshots + r, snapshots) < steps:
        r += 1
    return r
