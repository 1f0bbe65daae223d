"""The gradient at many settings of the dials, by one compiled program."""

import math
from collections.abc import Hashable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from bpjax.gradcheck.compared import Compared, real_pairs
from bpjax.gradcheck.dials import ITERATIONS, Dial, Dialed
from bpjax.util.compilation import FAST_COMPILATION
from bpjax.util.jaxprs import num_entries, opened

LOOP_POSITIONS = (0.0, -1.0, 2.0, 0.5)
"""Positions of a dial in a loop: the gradient is a polynomial in it."""

MOST_DIALS = 500
"""Functions with more dials get those of the most common mistakes only: compiling takes 8 ms for each."""

COMMON = (None, frozenset(["derivative missing", "factor missing", "not transposed"]), frozenset())
"""Mistakes in single derivatives: all, the most common, none. Paths always have a dial."""

MEMORY = 4e6
"""Entries that are computed at the same time."""


class Gradients(NamedTuple):
    """The gradient at settings of the dials."""

    dials: list[Dial]
    groups: list[tuple[int, ...]]  # dials of the uses of one value
    settings: list[dict[int, float]]  # the position of dials that are not neutral; the first setting is {}; −1 is the
    # place of the iterations
    rows: np.ndarray  # (settings, entries), weighted


def enumerate_dials(closed, names: list[str], arrays, open_jax: bool) -> Dialed:
    """The function with its dials known and its while loops counted."""
    walks = (Dialed(closed, names, open_jax, kinds) for kinds in COMMON)
    walk = next(walks)
    _enumerate(walk, arrays)
    for fewer in walks:
        if len(walk.dials) > MOST_DIALS:
            walk = fewer
            _enumerate(walk, arrays)
    return walk


def _enumerate(walk: Dialed, arrays) -> None:
    def first_run(*arrays):
        walk.results(None, None, *arrays)
        return dict(enumerate(walk.counts.values()))

    shapes = jax.eval_shape(first_run, *arrays)
    if shapes:
        keys = list(walk.counts)
        counts = jax.jit(first_run, compiler_options=FAST_COMPILATION)(*arrays)
        walk.counts = {key: int(counts[k]) for k, key in enumerate(keys)}
        jax.eval_shape(lambda *arrays: walk.results(None, None, *arrays), *arrays)  # the dials in their bodies


def find_gradients(walk: Dialed, arrays, cotangents, truth, compared: Compared) -> Gradients:
    """Evaluate the gradient at every setting that is tried.

    Args:
        walk: the function with dials.
        arrays: its arguments.
        cotangents: of its results, several sets.
        truth: for each set, the right gradient.
        compared: the entries that are wanted.
    """
    groups = _groups(walk.dials)
    settings: list[dict[int, float]] = [{}]
    for k, dial in enumerate(walk.dials):
        positions = (1.0,) if dial.alternative else LOOP_POSITIONS if dial.in_loop else (0.0,)
        settings += [{k: position} for position in positions]
        if dial.in_loop and dial.alternative is None and dial.primitive != "carry":
            settings += [{k: 0.0, -1: place} for place in range(1, len(ITERATIONS))]
    for members in groups:
        if any(walk.dials[k].in_loop for k in members):
            settings += [dict.fromkeys(members, position) for position in LOOP_POSITIONS]
    return Gradients(walk.dials, groups, settings, _evaluate(walk, arrays, cotangents, truth, compared, settings))


def _groups(dials: list[Dial]) -> list[tuple[int, ...]]:
    """All uses of each value that has several, those by one operation, and all results."""
    by_value: dict[Hashable, list[int]] = {}
    by_operation: dict[Hashable, list[int]] = {}
    for k, dial in enumerate(dials):
        if dial.alternative is None and dial.primitive not in ("result", "carry"):
            by_value.setdefault(dial.value, []).append(k)
            by_operation.setdefault((dial.value, dial.equation), []).append(k)
    results = tuple(k for k, dial in enumerate(dials) if dial.primitive == "result")
    groups = [tuple(members) for members in (*by_value.values(), *by_operation.values(), results)]
    return [members for members in dict.fromkeys(groups) if len(members) > 1]


def _evaluate(walk: Dialed, arrays, cotangents, truth, compared: Compared, settings) -> np.ndarray:
    """(settings, entries), weighted."""
    entries = sum(num_entries(v) for e in opened(walk.closed).eqns for v in e.outvars) + 1
    batch = int(min(len(settings), max(1, MEMORY // (entries * len(cotangents)))))
    rounds = math.ceil(len(settings) / batch)
    table = np.tile([*(dial.neutral for dial in walk.dials), 0.0], (rounds * batch, 1))
    for row, setting in zip(table, settings, strict=False):
        row[list(setting)] = list(setting.values())
    table = table.reshape(rounds, batch, -1)
    stacked = [jnp.stack([jnp.asarray(row[k]) for row in cotangents]) for k in range(len(cotangents[0]))]
    right = [jnp.stack([jnp.asarray(row[k]) for row in truth]) for k in range(len(truth[0]))]
    chosen = [jnp.asarray(positions) for positions in compared.chosen]

    def gradient(setting, cotangents, right, arrays) -> list:
        outputs, vjp = jax.vjp(lambda *arrays: walk.results(list(setting), right, *arrays), *arrays)
        found = vjp([ct.astype(y.dtype) for y, ct in zip(outputs, cotangents, strict=True)])
        return [jnp.ravel(found[k])[positions] for k, positions in zip(compared.leaves, chosen, strict=True)]

    def program(table, stacked, right, arrays):  # the arrays are arguments: XLA would evaluate constants slowly
        of_cotangents = jax.vmap(gradient, in_axes=(None, 0, 0, None))
        of_settings = jax.vmap(lambda setting: of_cotangents(setting, stacked, right, arrays))
        return lax.map(of_settings, table)

    found = jax.jit(program, compiler_options=FAST_COMPILATION)(table, stacked, right, arrays)
    flat = [np.asarray(g).reshape(rounds * batch, -1)[: len(settings)] for g in found]
    pairs = [real_pairs(rows) if np.iscomplexobj(rows) else rows for rows in flat]
    return np.concatenate(pairs, axis=1) * compared.weight


def intermediate_values(walk: Dialed, arrays) -> dict[Any, np.ndarray]:
    """The values that the function computes outside loops, by key."""
    keys: list = []

    def run(*arrays):
        found = walk.values(*arrays)
        keys[:] = list(found)
        return list(found.values())

    found = jax.jit(run, compiler_options=FAST_COMPILATION)(*arrays)
    return dict(zip(keys, map(np.asarray, found), strict=True))
