"""The problems of 1986: what the classifiers count, and the command from flags to table."""

import csv
import itertools
import json

import jax
import numpy as np
import pytest
import xarray as xr

import bpjax as bp
from experiments.common import mirror_weights
from experiments.common.gradients import gradient_agreement
from experiments.common.networks import sigmoid_network
from experiments.internal_representations import (
    addition,
    encoders,
    experiment,
    negation,
    networks,
    problems,
    trainings,
    xor,
)


@pytest.mark.parametrize(
    ("tables", "solution"),
    [
        (([0, 1, 1, 1], [0, 0, 0, 1]), "OR and AND"),
        (([1, 0, 0, 0], [0, 0, 0, 1]), "OR and AND"),  # NOR
        (([1, 1, 1, 0], [0, 1, 1, 1]), "OR and AND"),  # NAND first
        (([0, 1, 0, 0], [0, 0, 1, 0]), "the differences"),
        (([1, 1, 0, 1], [0, 1, 0, 0]), "the differences"),
        (([0, 0, 1, 1], [0, 0, 0, 1]), "codes near ½"),  # a unit that copies an input
        (([0, 0, 0, 1], [0, 0, 0, 1]), "codes near ½"),
        (([0, 0, 0, 0], [0, 0, 0, 1]), "codes near ½"),
    ],
)
def test_the_solutions_of_xor_are_told_apart(tables, solution):
    hidden = 0.1 + 0.8 * np.array(tables).T
    assert xor.solution_of(hidden) == solution == xor.solution_of(hidden[:, ::-1])


def test_undecided_outputs_are_counted():
    assert xor.undecided(np.array([[[0.1], [0.5], [0.6], [0.9]], [[0.0], [1.0], [0.2], [0.3]]])).tolist() == [2, 1]


# --- Trained networks ------------------------------------------------------------------------------------------------


def sweep_of(weights):
    """A sweep over (seed,) with these weights."""
    arrays = {name: np.stack([own[name] for own in weights]) for name in weights[0]}
    return xr.Dataset({
        name: (("seed", *(f"{name}_{axis}" for axis in range(array.ndim - 1))), array) for name, array in arrays.items()
    })  # fmt: skip


@pytest.mark.parametrize("direct", [False, True])
def test_unit_outputs_are_those_of_the_network(direct):
    network = networks.direct_network((1, 2), 3) if direct else sigmoid_network((4, 3, 3))
    x, _ = bp.tasks.binary_addition(2).present()
    starts = [network.init(jax.random.key(i), (4,))[0] for i in range(2)]
    sweep = sweep_of([trainings.named_weights(params) for params in starts])
    *hidden, output = trainings.unit_outputs(sweep, x, direct)
    assert [own.shape[-1] for own in hidden] == ([1, 2] if direct else [3])
    for params, own in zip(starts, output, strict=True):
        np.testing.assert_allclose(own, network.forward(params, x)[0], atol=1e-6)


def test_a_wrong_gradient_is_not_trained():
    network, (x, t) = sigmoid_network((2, 2, 1)), bp.xor().present()
    params, _ = network.init(jax.random.key(0), (2,))
    assert gradient_agreement(network, bp.squared_error, params, (x, t)).startswith("right")
    wrong = bp.sigmoid._replace(backward=lambda params, residuals, dy: ((), 0.9 * dy))
    with pytest.raises(ValueError, match=r"differs from jax.grad by \d"):
        gradient_agreement(sigmoid_network((2, 2, 1), unit=wrong), bp.squared_error, params, (x, t))


def test_the_end_of_a_run_of_xor():
    steep = [  # OR, AND and the output; no weights; one unit that copies an input, so that 10 and 11 look the same
        {"w1": [[20, 20], [20, 20]], "b1": [-10, -30], "w2": [[20], [-20]], "b2": [-10]},
        {"w1": np.zeros((2, 2)), "b1": np.zeros(2), "w2": np.zeros((2, 1)), "b2": np.zeros(1)},
        {"w1": [[20, 0], [0, 0]], "b1": [-10, -20], "w2": [[5], [0]], "b2": [-5]},
    ]
    sweep = sweep_of([{name: np.array(array, float) for name, array in own.items()} for own in steep])
    sweep["solved"] = ("seed", np.array([True, False, False]))
    assert xor.kinds_of(sweep).tolist() == ["OR and AND", "plateau", "local minimum"]


# --- Symmetry --------------------------------------------------------------------------------------------------------


def mirrored(*example):
    w = np.array([*example, *(-a for a in reversed(example))], float)
    return np.stack([3 * w, -3.1 * w], axis=1)


def test_weight_ratios_are_told_apart():
    w = np.stack([mirrored(1, 2, 4), mirrored(4, 1, 2), mirrored(1, 1.5, 2), mirrored(1, 1, 1), mirrored(1, 2.4, 4)])
    assert mirror_weights.weight_ratios(w) == ["1:2:4", "1:2:4", "2:3:4", "others", "others"]
    np.testing.assert_allclose(mirror_weights.asymmetry(w), 0)
    w[0, 0, 1] += 2  # of weights up to 12.4 in the second unit
    assert mirror_weights.asymmetry(w)[0] == pytest.approx(2 / 12.4)


@pytest.mark.parametrize("ratio", mirror_weights.RATIOS.values(), ids=mirror_weights.RATIOS)
def test_both_ratios_give_only_palindromes_the_sum_0(ratio):
    strings = np.array(list(itertools.product((0, 1), repeat=6)))
    sums = strings @ mirrored(*ratio)[:, 0]
    np.testing.assert_array_equal(sums == 0, (strings == strings[:, ::-1]).all(axis=1))
    assert (strings @ mirrored(1, 2, 3)[:, 0] == 0).sum() > 8  # 1 + 2 − 3 = 0: not every ratio will do


# --- Encoders --------------------------------------------------------------------------------------------------------


def test_codes_do_not_depend_on_order_or_sign():
    hidden = np.array([[0.0, 0.1], [0.1, 0.9], [1.0, 0.5], [0.9, 0.95]])  # 00 01 1½ 11
    code = encoders.code_of(hidden)
    # the least of the eight variants of {00, 01, 1½, 11}, with ½ after 0: complement of the second unit, or not, …
    assert code == ("00", "0½", "10", "11")
    for variant in (hidden[::-1], hidden[:, ::-1], 1 - hidden, np.abs(hidden - np.array([0, 1]))):
        assert encoders.code_of(variant) == code
    corners = np.array(list(itertools.product((0.05, 0.95), repeat=3)))
    assert encoders.code_of(corners) == ("000", "001", "010", "011", "100", "101", "110", "111")


def test_the_single_unit_or_its_complement():
    values = encoders.oriented(np.array([[0.6, 0.0, 1.0, 0.2], [0.0, 0.4, 0.8, 1.0]]))
    np.testing.assert_allclose(values, [[0.0, 0.2, 0.6, 1.0]] * 2)


# --- Negation and addition -------------------------------------------------------------------------------------------


def test_roles_in_negation():
    x = np.asarray(bp.tasks.negation(3).present()[0])
    bit, flag = x[:, 0], x[:, 3]
    hidden = np.stack([bit * flag, 1 - bit * (1 - flag), (1 - x[:, 2]) * flag, bit, x[:, 0] * x[:, 1]], axis=1)
    assert negation.roles(hidden) == ["bit 1, flag 1", "bit 1, flag 0", "bit 3, flag 1", "", ""]


def test_the_cascade_adds_with_weights_set_by_hand():
    """PDP: the low carry feeds the high one, and both correct the sums of the direct links."""
    network, (x, t) = networks.direct_network((1, 1), 3), bp.tasks.binary_addition(2).present()
    low = bp.layers.Affine(np.array([[0.0], [1], [0], [1]]), np.array([-1.5]))
    high = bp.layers.Affine(np.array([[1.0], [0], [1], [0], [1]]), np.array([-1.5]))
    sums = np.array([[0, 0, 0, 0, 0, 1], [1, 0, 1, 0, 1, -2], [0, 1, 0, 1, -2, 0]], float).T
    last = bp.layers.Affine(sums, np.array([-0.5, -0.5, -0.5]))
    params, _ = network.init(jax.random.key(0), (4,))
    leaves = [30 * array for layer in (low, high, last) for array in layer]
    params = jax.tree.unflatten(jax.tree.structure(params), leaves)
    y, _ = network.forward(params, x)
    np.testing.assert_allclose(y, t, atol=1e-5)
    sweep = sweep_of([trainings.named_weights(params)])
    (hidden,) = addition.hidden_of({"cascade 1→1": sweep}, "cascade 1→1")
    assert addition.carries_of(hidden) == ("low", "high")


def test_units_without_a_carry():
    x = np.asarray(bp.tasks.binary_addition(2).present()[0])
    a, b = 2 * x[:, 0] + x[:, 1], 2 * x[:, 2] + x[:, 3]
    tables = {"high": a + b >= 4, "": x[:, 0] > 0, "low": x[:, 1] > x[:, 3]}
    assert addition.carries_of(np.stack(list(tables.values()), axis=1)) == tuple(tables)
    assert addition.carries_of((a > b)[:, None]) == ("high",)  # the borrow of a difference


def test_more_often_by_hand():
    # Wilson's intervals of 20/100 and 50/100 are 0.1334 to 0.2888 and 0.4038 to 0.5962; Newcombe 1998, method 10
    row = addition.more_often("a", "q", (20, 100), (50, 100))
    low, high = 0.3 - np.hypot(0.5 - 0.4038, 0.2888 - 0.2), 0.3 + np.hypot(0.5962 - 0.5, 0.2 - 0.1334)
    assert (row.ours, row.difference) == ("+30 %", f"{100 * low:+.0f} to {100 * high:+.0f} %") and row.agrees
    assert not addition.more_often("a", "q", (50, 100), (50, 100)).agrees


# --- The whole -------------------------------------------------------------------------------------------------------


def test_names_are_distinct():
    names = [problem.name for problem in problems.PROBLEMS]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("name", ["XOR", "symmetry", "encoders", "negation", "addition"])
def test_from_flags_to_table(name, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    out = tmp_path / "result"
    assert experiment.main(["--only", name, "--seeds", "30", "--out", str(out)]) == 0
    assert "published numbers agree" in capsys.readouterr().out
    rows = list(csv.DictReader((out / "internal_representations.csv").read_text().splitlines()))
    verdicts = {row["topic"] + ": " + row["quantity"]: row["verdict"] for row in rows}
    (problem,) = (problem for problem in problems.PROBLEMS if problem.name == name)
    assert (out / f"{problem.figure}.png").stat().st_size > 10_000
    record = json.loads((out / "record.json").read_text())
    assert record["receipts"] and all("right" in receipt for receipt in record["receipts"].values())
    for row in PUBLISHED.get(name, ()):
        assert verdicts[row] == "agrees", row


PUBLISHED = {
    "XOR": ["XOR, 2-1-1 direct, η 0.5: sweeps to success"],
    "symmetry": [f"symmetry, 6-2-1, η 0.1: {row}" for row in (
        "sweeps until every output is right", "solved in 3,500 sweeps", "trained longer: weights 1:2:4",
        "max |w + mirror image| / max |w|, median",
    )],
    "encoders": ["encoder, 8-3-8, η 0.1: of the solved: a code with values near ½"],
    "negation": ["negation, 4-3-3, η 0.5: solved in 6,000 sweeps", "negation, 4-6-3, η 0.5: solved in 6,000 sweeps"],
    "addition": ["addition, 4-3-3, η 0.5: solved in 6,000 sweeps",
                 "addition, remedies, η 0.1: one more unit solves it"],
}  # fmt: skip
"""Rows that agree with the source within the intervals of 30 starts."""


def test_a_quick_run_uses_few_starts():
    config = experiment.Config(quick=True)
    assert config.starts() == 20 and config.starts(5) == 5 and config.starts(50, quick=3) == 3
    assert 0 < len(config.problems) < len(problems.PROBLEMS) == len(experiment.Config().problems)
    assert [problem.name for problem in experiment.Config(quick=True, only="negation").problems] == ["negation"]
    assert experiment.Config().starts() == 200 and experiment.Config(seeds=7).starts(50) == 7


def test_a_wrong_name_gets_a_sentence(tmp_path, capsys):
    assert experiment.main(["--only", "chess", "--out", str(tmp_path / "x")]) == 2
    assert "part of one of XOR" in capsys.readouterr().err
