"""Comparisons: identical choices do not differ, known answers, no seed tuned and tested on, sentences for bad input."""

import functools

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
import optax
import pytest

import bpjax as bp
from bpjax.sweeps.tuning import split_seeds

matplotlib.use("Agg")
KEY = jax.random.key(3)
LINEAR = bp.chain(bp.dense(1, use_bias=False))
RULE = bp.backprop(LINEAR, bp.squared_error)
# squared_error is ½ Σ (t − o)²: E = ½ (w₁² + 100 w₂²), eigenvalues 1 and 100 of the Hessian
DATA = (jnp.diag(jnp.array([1.0, 10.0])), jnp.zeros((2, 1)))


def quadratic(key, optimizer):
    params, _ = LINEAR.init(key, (2,))
    return bp.trial(RULE, optimizer, params, DATA, key=key, epochs=150, stops=bp.error_below(1e-6))


def heavy_ball(rate):
    return bp.momentum(rate, (9 / 11) ** 2)


OPTIMIZERS = {
    "descent": optax.sgd,
    "heavy ball": heavy_ball,
    "same": lambda rate: bp.momentum(rate, (9 / 11) ** 2),
}
# Polyak 1964: at the best rate (2/(√1 + √100))² = 4/121 and momentum ((√100 − √1)/(√100 + √1))² = (9/11)²
RATES = [4 / 121 / 2, 4 / 121, 4 / 121 * 2]


@functools.cache
def compared():
    return bp.compare_optimizers(quadratic, OPTIMIZERS, RATES, 24, key=KEY)


def test_identical_optimizers_are_identical_bit_for_bit_and_do_not_differ():
    test = compared().test
    one, other = (test.sel(optimizer=name).drop_vars("optimizer") for name in ("heavy ball", "same"))
    assert one.identical(other)
    contrast = next(c for c in compared().contrasts if (c.first, c.second) == ("heavy ball", "same"))
    assert contrast.success_p == contrast.time_p == 1.0
    assert contrast.time.ratio == (1.0, 1.0, 1.0) and contrast.success.difference.value == 0


def test_momentum_wins_on_a_quadratic_at_polyaks_rate():
    """Descent is stable below 2/100, and there it needs more than ln(700)/0.02 = 330 epochs."""
    found = compared()
    assert found.selected["heavy ball"] == pytest.approx(4 / 121)
    by_name = {one.name: one for one in found.summaries}
    assert by_name["heavy ball"].successes == 18 and by_name["descent"].successes == 0
    assert by_name["descent"].median.value == np.inf and by_name["heavy ball"].median.value < 70
    contrast = found.contrasts[0]
    assert (contrast.success.second_only, contrast.time.second_faster) == (18, 18)
    # 2 · ½¹⁸, the smallest of six p-values but for its three equals: Holm multiplies by 6
    assert contrast.success_p == pytest.approx(6 * 2 / 2**18)


def test_every_choice_has_the_same_budget_and_no_seed_is_tuned_and_tested_on():
    found = compared()
    assert found.tuning.solved.shape == (3, 3, 6) and found.test.solved.shape == (3, 18)
    assert not set(found.tuning.seed.values) & set(found.test.seed.values)
    assert sorted({*found.tuning.seed.values, *found.test.seed.values}) == list(range(24))
    alone = bp.sweep(
        lambda key, learning_rate: quadratic(key, heavy_ball(learning_rate)),
        {"learning_rate": [found.selected["heavy ball"]], "seed": found.test.seed.values}, key=KEY,
    )  # fmt: skip
    np.testing.assert_array_equal(found.test.epochs.sel(optimizer="heavy ball"), alone.epochs[0])


def test_more_seeds_keep_their_parts():
    """Seeds that were for the test stay so when seeds are added, so that a stored comparison grows."""
    few, many = (split_seeds("compare", count, None) for count in (10, 23))
    assert set(few[0]) <= set(many[0]) and set(few[1]) <= set(many[1])


def test_a_stored_comparison_continues_and_is_opened(tmp_path):
    seen = []
    kwargs = {"key": KEY, "store": tmp_path / "store"}
    first = bp.compare_optimizers(quadratic, OPTIMIZERS, RATES, 12, **kwargs, progress=seen.append)
    assert {state.runs for state in seen} == {3 * 3 * 3 + 3 * 9} and seen[-1].done == seen[-1].runs
    again = bp.compare_optimizers(quadratic, OPTIMIZERS, RATES, 12, **kwargs, progress=seen.append)
    assert seen[-1].epochs == 0 and str(again) == str(first)
    opened = bp.open_sweep(tmp_path / "store")
    assert opened.solved.dims == ("phase", "optimizer", "learning_rate", "seed")


def test_the_table_is_readable_in_100_columns():
    text = str(compared())
    assert max(map(len, text.splitlines())) <= 100 and text.isascii()
    assert "3 optimizers on 18 test seeds, each at the best of 3 learning rates on 6 tuning seeds" in text
    assert "descent: no success at any rate" in text and "adjusted by Holm for 6 tests" in text


def test_the_figure_shows_what_the_table_says():
    figure = compared().figure()
    success, survival, differences, ratios = figure.axes
    assert success.get_legend_handles_labels()[1] == ["descent", "heavy ball", "same"]
    assert success.get_xscale() == "log" and survival.get_xlim()[1] == compared().horizon
    assert [label.get_text() for label in differences.get_yticklabels()][0] == "descent : heavy ball"
    assert ratios.get_xlim()[0] < 1 < ratios.get_xlim()[1]
    figure.canvas.draw()  # fails if something cannot be drawn


def test_a_function_that_makes_trials():
    """`make_trial(optimizer) -> trial(key)` means the same as `trial(key, optimizer)`."""
    made = bp.compare_optimizers(
        lambda optimizer: lambda key: quadratic(key, optimizer), OPTIMIZERS, RATES, 24, key=KEY
    )
    assert made.test.drop_attrs().identical(compared().test.drop_attrs())


def test_rules_and_other_choices():
    def with_rule(key, rule, learning_rate):
        params, _ = LINEAR.init(key, (2,))
        optimizer = bp.momentum(learning_rate, (9 / 11) ** 2)
        return bp.trial(rule, optimizer, params, DATA, key=key, epochs=150, stops=bp.error_below(1e-6))

    rules = bp.compare_rules(with_rule, {"backprop": RULE, "again": RULE}, [4 / 121], [3, 8, 9, 11, 12], key=KEY)
    assert rules.dimension == "rule" and rules.test.seed.values.tolist() == [8, 9, 11]
    factors = bp.sweeps.compare_choices(
        {1: 1.0, 2: 2.0}, lambda factor: lambda key, learning_rate: quadratic(key, heavy_ball(learning_rate * factor)),
        [4 / 121], 4, key=KEY, tuning_seeds=[7], dimension="factor",
    )  # fmt: skip
    assert factors.test.seed.values.tolist() == [0, 1, 2, 3] and factors.tuning.seed.values.tolist() == [7]
    expected = rules.test.epochs.sel(rule="backprop", seed=8)
    assert int(expected) == int(rules.test.epochs.sel(rule="again", seed=8))


def endless(key, optimizer):
    params, _ = LINEAR.init(key, (2,))
    return bp.trial(RULE, optimizer, params, DATA, key=key, epochs=5)


BAD = {
    "no optimizers": (lambda: bp.compare_optimizers(quadratic, {}, RATES, 4, key=KEY), "`optimizers` to be a dict"),
    "a list": (lambda: bp.compare_optimizers(quadratic, [optax.sgd], RATES, 4, key=KEY), "to be a dictionary"),
    "made": (lambda: bp.compare_optimizers(quadratic, {"a": optax.sgd(0.1)}, RATES, 4, key=KEY), "a function of the"),
    "no optimizer": (lambda: bp.compare_optimizers(quadratic, {"a": abs}, RATES, 4, key=KEY), "an optax transf"),
    "signature": (lambda: bp.compare_optimizers(lambda key: key, OPTIMIZERS, RATES, 4, key=KEY), r"\(key, optimizer\)"),
    "no trial": (lambda: bp.compare_optimizers(lambda opt: 3, OPTIMIZERS, RATES, 4, key=KEY), "one that returns 3"),
    "one seed": (lambda: bp.compare_optimizers(quadratic, OPTIMIZERS, RATES, 1, key=KEY), "at least 2 seeds"),
    "no seeds": (lambda: bp.compare_optimizers(quadratic, OPTIMIZERS, RATES, 0, key=KEY), "`seeds`"),
    "seeds twice": (lambda: bp.compare_optimizers(quadratic, OPTIMIZERS, RATES, [1, 1], key=KEY), "different values"),
    "overlap": (
        lambda: bp.compare_optimizers(quadratic, OPTIMIZERS, RATES, 4, key=KEY, tuning_seeds=[3, 9]), "got 3 in both",
    ),
    "no success": (lambda: bp.compare_optimizers(endless, OPTIMIZERS, RATES, 4, key=KEY), "whose runs can succeed"),
    "rates": (lambda: bp.compare_optimizers(quadratic, OPTIMIZERS, ["a"], 4, key=KEY), "`learning_rate`"),
    "option": (lambda: bp.compare_optimizers(quadratic, OPTIMIZERS, RATES, 4, key=KEY, curve=[1]), "unknown curve"),
    "dimension": (lambda: bp.compare_optimizers(quadratic, OPTIMIZERS, RATES, 4, key=KEY, dimension="a"), "unknown"),
    "horizon": (lambda: bp.compare_optimizers(quadratic, OPTIMIZERS, RATES, 4, key=KEY, horizon=0), "`horizon`"),
    "confidence": (lambda: bp.compare_optimizers(quadratic, OPTIMIZERS, RATES, 4, key=KEY, confidence=95), "confid"),
    "key": (lambda: bp.compare_optimizers(quadratic, OPTIMIZERS, RATES, 4, key=0), "single key"),
    "a factory": (lambda: bp.compare_rules(lambda k, r, e: 0, {"a": bp.backprop}, RATES, 4, key=KEY), "to be a rule"),
}  # fmt: skip


@pytest.mark.parametrize(("call", "message"), BAD.values(), ids=BAD)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
