"""The optimizers against trajectories computed without them: `golden.py` and its tables, and values worked out by hand.

Wrong optimizers learn too, so the tests compare every single step, not only the decrease of the error.
"""

import functools

import golden
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from passes import quick_jit

import bpjax as bp

RULES = {
    "momentum": bp.momentum,
    "bold_driver": bp.optimizers.bold_driver,
    "traingda": bp.optimizers.traingda,
    "traingdx": bp.optimizers.traingdx,
    "silva_almeida": bp.optimizers.silva_almeida,
    "delta_bar_delta": bp.optimizers.delta_bar_delta,
    "supersab": bp.optimizers.supersab,
    "quickprop": bp.quickprop,
    "rprop": bp.rprop,
}
CASES = {case.id: case for case in golden.CASES}
PROGRAMS: dict[str, list] = {}  # the cases of one form or variant, which share a compiled step
for one in golden.CASES:
    PROGRAMS.setdefault(" ".join([one.rule, *map(str, one.only_rule.values())]), []).append(one)


def as_params(problem, w):
    """The flat weights as the user has them: the linear unit's are a layer's, a matrix and its biases."""
    w = jnp.asarray(w)
    return bp.layers.Affine(w[:3, None], w[3:]) if problem is golden.UNIT else w


def as_flat(params):
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(params)])


@functools.cache
def step_of(optimizer):
    """(compiled step, a list that grows when it is traced), shared by optimizers that differ in hyperparameters."""
    traces = []

    def step(grads, state, params, value):
        traces.append(None)
        updates, state = optimizer.update(grads, state, params, value=value)
        return optax.apply_updates(params, updates), state

    return quick_jit(step), traces


def follow(optimizer, problem):
    """The weights of row 0, 1, 2 …, and the states of rows 1, 2 …, through optax's interface, compiled once."""
    step, traces = step_of(bp.optimizers.static_part(optimizer))
    before = len(traces)
    params = as_params(problem, problem.start)
    state = optimizer.init(params)
    path, states = [as_flat(params)], []
    for k in range(problem.steps):
        E, g = problem.measure(k, path[-1])
        params, state = step(as_params(problem, g), state, params, jnp.asarray(E))
        path.append(as_flat(params))
        states.append(state)
    assert len(traces) - before <= 1
    return np.array(path), states


def columns(rule, case, name):
    """The columns `name`, `name1`, `name2` … of a case in the committed table."""
    head, *rows = golden.read(rule)
    picked = [i for i, column in enumerate(head) if column.rstrip("0123456789") == name]
    rows = [row for row in rows if row[:2] == [case.variant, case.problem.name]]
    return np.array([[float(row[i]) for i in picked if row[i]] for row in rows])


def test_every_rule_has_a_table_and_every_table_a_rule():
    assert {path.stem for path in golden.TABLES.iterdir()} == set(RULES) == {case.rule for case in golden.CASES}
    assert len(CASES) == len(golden.CASES)
    assert all(6 <= case.problem.steps <= 10 for case in golden.CASES)


@pytest.mark.parametrize("rule", RULES)
def test_committed_table_is_what_the_reference_computes(rule):
    committed, computed = golden.read(rule), golden.table(rule)
    assert committed[0] == computed[0]
    assert [row[:3] for row in committed] == [row[:3] for row in computed]
    assert [[not cell for cell in row] for row in committed] == [[not cell for cell in row] for row in computed]
    numbers = [[float(cell or 0) for row in rows[1:] for cell in row[3:]] for rows in (committed, computed)]
    np.testing.assert_allclose(*numbers, rtol=1e-15, atol=0)


@pytest.mark.parametrize("cases", PROGRAMS.values(), ids=PROGRAMS)
def test_rule_follows_the_table(cases):
    """The gradients are measured at the optimizer's own weights, so that an error in a step changes the later ones."""
    for case in cases:
        path, states = follow(RULES[case.rule](**case.settings, **case.only_rule), case.problem)
        expected = columns(case.rule, case, "w")
        assert path.shape == expected.shape == (case.problem.steps + 1, len(case.problem.start)), case.id
        np.testing.assert_allclose(path, expected, rtol=1e-12, atol=1e-12 * np.abs(expected).max(), err_msg=case.id)
        if case.rule not in ("momentum", "quickprop"):  # their rate does not change
            rates = [as_flat(state.step_size if case.rule == "rprop" else state.learning_rate) for state in states]
            np.testing.assert_allclose(rates, columns(case.rule, case, "rate")[1:], rtol=1e-12, err_msg=case.id)


# --- By hand --------------------------------------------------------------------------------------------------------
# Changes of the weight, one weight, from g and E alone.

FLIP = golden.script("flip, E rises", (5, 1), (4, 1), (3, 1), (6, -1), (5, 1))
FLIP_FALLING = golden.script("flip, E falls", (5, 1), (4, 1), (3, 1), (2, -1), (1, 1))
SLOPE = golden.script("slope", (5, 1), (4, 1), (3, 1))
REJECTED = golden.script("rejected", (1, 1), (0.9, 1), (2, 5), (0.8, 1))

BY_HAND = {
    # Δ: 0.1, 0.12, 0.144, halved to 0.072, and, as −1·1 < 0 again, to 0.036; always a move
    "rprop-": ("rprop", {"variant": "rprop-"}, FLIP, [-0.1, -0.12, -0.144, 0.072, -0.036]),
    # undone, forgotten, and then 0.072 with the sign of the gradient
    "rprop+": ("rprop", {"variant": "rprop+"}, FLIP, [-0.1, -0.12, -0.144, 0.144, -0.072]),
    # no move at the change of sign, forgotten, and then 0.072
    "irprop-": ("rprop", {"variant": "irprop-"}, FLIP, [-0.1, -0.12, -0.144, 0.0, -0.072]),
    # 3 → 6: undone; 3 → 2: not undone
    "irprop+ rises": ("rprop", {"variant": "irprop+"}, FLIP, [-0.1, -0.12, -0.144, 0.144, -0.072]),
    "irprop+ falls": ("rprop", {"variant": "irprop+"}, FLIP_FALLING, [-0.1, -0.12, -0.144, 0.0, -0.072]),
    # η = 0.1, α = ½, g = 1.  v: −0.1, −0.05 − 0.1 = −0.15, −0.075 − 0.1 = −0.175
    "heavy_ball": ("momentum", {"learning_rate": 0.1, "momentum": 0.5}, SLOPE, [-0.1, -0.15, -0.175]),
    # half of it, for 1 − α = ½
    "convex": ("momentum", {"learning_rate": 0.1, "momentum": 0.5, "form": "convex"}, SLOPE, [-0.05, -0.075, -0.0875]),
    # v: 1, 1.5, 1.75, times −0.1
    "velocity": ("momentum", {"learning_rate": 0.1, "momentum": 0.5, "form": "velocity"}, SLOPE, [-0.1, -0.15, -0.175]),
    # v as heavy_ball; ½v − 0.1: −0.05 − 0.1, −0.075 − 0.1, −0.0875 − 0.1
    "nesterov": (
        "momentum",
        {"learning_rate": 0.1, "momentum": 0.5, "form": "nesterov"},
        SLOPE,
        [-0.15, -0.175, -0.1875],
    ),
    # η = 0.1. E falls: 0.105, −0.105 + ½(−0.1) = −0.155. Rejected: 0.0735, back by 0.155 and on by −0.0735.
    # Accepted, E 0.9 → 0.8: 0.077175, and the momentum is half of −0.0735
    "bold_driver": (
        "bold_driver",
        {"learning_rate": 0.1, "momentum": 0.5},
        REJECTED,
        [-0.1, -0.155, 0.155 - 0.0735, -0.077175 - 0.03675],
    ),
    # the same without momentum
    "traingda": ("traingda", {"learning_rate": 0.1}, REJECTED, [-0.1, -0.105, 0.105 - 0.0735, -0.077175]),
    # mc = 0.9. dX: −0.09 − 0.01 = −0.1; lr 0.105: −0.09 − 0.0105 = −0.1005; rejected, lr 0.0735: −0.0735, plain;
    # accepted, lr 0.077175: 0.9(−0.0735) − 0.1(0.077175) = −0.0738675
    "traingdx": ("traingdx", {"learning_rate": 0.1}, REJECTED, [-0.1, -0.1005, 0.1005 - 0.0735, -0.0738675]),
    # η: 0.1, 0.12, rejected: halved to 0.06, accepted, sign kept: 0.072
    "silva_almeida": ("silva_almeida", {"learning_rate": 0.1}, REJECTED, [-0.1, -0.12, 0.12 - 0.06, -0.072]),
    # ε: 0.1, δ̄ = 0.3: 0.135, δ̄ = 0.51: 0.17, δ̄ = 0.657, −0.657 < 0: 0.17 · 0.667 = 0.11339,
    # δ̄ = 0.3(−1) + 0.7 · 0.657 = 0.1599 > 0: 0.14839
    "delta_bar_delta": (
        "delta_bar_delta",
        {"learning_rate": 0.1},
        FLIP,
        [-0.1, -0.135, -0.17, 0.11339, -0.14839],
    ),
    # η: 0.1, 0.105, 0.11025; α = ½: −0.105 − 0.05 = −0.155, −0.11025 − 0.0775 = −0.18775; undone; 0.055125, from rest
    "supersab": (
        "supersab",
        {"learning_rate": 0.1, "momentum": 0.5},
        FLIP,
        [-0.1, -0.155, -0.18775, 0.18775, -0.055125],
    ),
    # ε = ½, S = 1, 0.9, 0.3, −0.6: ½; 0.45 + 1.75 · ½; 0.15 + 1.325 · 0.3/0.6; 0.8125 · (−0.6)/0.9
    "quickprop": (
        "quickprop",
        {"learning_rate": 0.5},
        golden.script("slopes", (1, -1), (1, -0.9), (1, -0.3), (1, 0.6)),
        [0.5, 1.325, 0.8125, -0.8125 * 2 / 3],
    ),
}


@pytest.mark.parametrize(("rule", "settings", "problem", "changes"), BY_HAND.values(), ids=BY_HAND)
def test_rule_makes_the_changes_worked_out_by_hand(rule, settings, problem, changes):
    path, _ = follow(RULES[rule](**settings), problem)
    np.testing.assert_allclose(np.diff(path[:, 0]), changes, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize(("rule", "settings", "problem", "changes"), BY_HAND.values(), ids=BY_HAND)
def test_reference_makes_the_changes_worked_out_by_hand(rule, settings, problem, changes):
    """Check `golden.py` itself, from which the tables are computed."""
    settings = dict(settings)
    named = golden.FORMS | golden.RPROPS
    form = settings.pop("variant", None) or settings.pop("form", None) or ("heavy_ball" if rule == "momentum" else rule)
    case = golden.Case(rule, "by hand", problem, named.get(form) or getattr(golden, form), settings)
    path = golden.trajectory(case).w
    np.testing.assert_allclose(np.diff(path[:, 0]), changes, rtol=1e-12, atol=1e-15)


def test_tables_contain_the_special_cases():
    """Both growth limits, consecutive rejected steps, undone and accepted steps occur in the tables."""
    for variant in golden.RPROPS:
        rates = {
            problem.name + own: columns("rprop", CASES[f"rprop {variant}{own} {problem.name}"], "rate")
            for problem, own in ((golden.SIGNS, " own constants"), (golden.CLIMB, ""), (golden.ZIGZAG, ""))
        }
        assert rates["climb"].max() == 50.0 and rates["zigzag"].min() == 1e-6
        assert rates["signs own constants"].max() == 0.15 and rates["signs own constants"].min() == 0.02
    assert columns("supersab", CASES["supersab own constants signs"], "rate").max() == 0.15
    for rule, problem in (("bold_driver", "parabola"), ("traingda", "valley"), ("traingdx", "valley")):
        rate = columns(rule, CASES[f"{rule} fast {problem}"], "rate")[:, 0]
        assert (rate[1:] < rate[:-1]).any() and (rate[1:] > rate[:-1]).any()


# --- optax's own rprop ----------------------------------------------------------------------------------------------


def test_optax_rprop_is_one_step_late():
    """g = +, +, +, −, +: it returns the change of the previous step, and never the one before a change of sign."""

    def changes(optimizer):
        return np.diff(follow(optax.with_extra_args_support(optimizer), FLIP)[0][:, 0])

    theirs = changes(optax.rprop(0.1))
    np.testing.assert_allclose(theirs, [0.0, -0.1, -0.12, 0.0, 0.0], atol=1e-15)
    for variant, ours in (
        ("rprop-", [-0.1, -0.12, -0.144, 0.072, -0.036]),
        ("rprop+", [-0.1, -0.12, -0.144, 0.144, -0.072]),
        ("irprop-", [-0.1, -0.12, -0.144, 0.0, -0.072]),
        ("irprop+", [-0.1, -0.12, -0.144, 0.144, -0.072]),
    ):
        found = changes(bp.rprop(0.1, variant=variant))
        np.testing.assert_allclose(found, ours, atol=1e-15)
        assert np.abs(found - theirs).max() > 0.07
