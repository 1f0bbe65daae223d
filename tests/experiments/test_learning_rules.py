"""The learning-rules experiment: its parts against independent values, and the whole at a small size."""

import csv
import json
import math

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr
from experiments_widths import too_wide

import bpjax as bp
from bpjax.results.statistics import student
from experiments.common.stored import read_zarr
from experiments.learning_rules import cost, experiment, figures, problems, published, tables, tuning

pytestmark = pytest.mark.usefixtures("as_a_user_runs_it")


def entry(name, problem):
    made = problems.entry_of(name, bp.rules.RULES[name], problem)
    assert isinstance(made, problems.Entry), made
    return made


# --- The problems ----------------------------------------------------------------------------------------------------


def test_the_linear_task_is_linear_and_its_error_is_what_the_text_says():
    problem = problems.linear(3, 400)
    for start in range(3):
        data = problem.data(start)
        teacher, *_ = np.linalg.lstsq(np.asarray(data.train[0]), np.asarray(data.train[1]), rcond=None)
        assert np.abs(teacher).max() < 1.001 and np.abs(data.test[0] @ teacher - data.test[1]).max() < 1e-3
        everything = np.concatenate([data.train[0], data.validation[0], data.test[0]])
        assert len(np.unique(everything, axis=0)) == len(everything) == 400 + 2 * 500
    shares = [float(0.05 * jnp.mean(jnp.sum(problem.data(s).train[1] ** 2, axis=1))) for s in range(3)]
    assert problem.level / problem.fresh == pytest.approx(np.mean(shares), rel=0.1)  # a tenth of ½ E‖t‖²
    zero, t = jnp.zeros((500, 10)), problem.data(0).test[1]
    assert float(problem.measure(zero, t)) == -1 and float(problem.measure(t, t)) == 0
    assert problem.steps == 50 and problem.epochs == 8


def test_backprop_on_the_linear_task_takes_the_steps_of_the_delta_rule():
    problem = problems.linear(2, 100)._replace(rates=(3e-3,))
    made = entry("backprop", problem)
    x, t = (np.asarray(a, float) for a in problem.data(1).train)
    w1, w2 = (np.asarray(layer.w[1], float) for layer in made.starts(problem, seed=5))
    errors = []
    for p, target in zip(x, t, strict=True):
        h = p @ w1
        delta = h @ w2 - target
        errors.append(0.5 * delta @ delta)
        w1, w2 = w1 - 3e-3 * np.outer(p, delta @ w2.T), w2 - 3e-3 * np.outer(h, delta)
    ours = tuning.tune(tuning.Job("linear", problem, made), 5, lambda state: None).isel(learning_rate=0, start=1)
    np.testing.assert_allclose(ours.curve, [sum(errors[:50]), sum(errors[50:])], rtol=1e-4)
    x_test, t_test = (np.asarray(a, float) for a in problem.data(1).test)
    left = ((x_test @ w1 @ w2 - t_test) ** 2).sum() / (t_test**2).sum()
    assert float(ours.test) == pytest.approx(-left, rel=1e-4)
    assert np.nanmax(ours.angle) < 0.1 and ours.angle.shape == (len(tuning.recorded_at(problem)), 2)


def test_every_rule_starts_from_the_same_weights_and_only_forward_forward_pads():
    problem = problems.digits(2, 2)
    plain, feedback, lengths = (entry(n, problem) for n in ("backprop", "feedback alignment", "forward-forward"))
    for ours, others in zip(*(jax.tree.leaves(e.starts(problem, 1)) for e in (plain, feedback)), strict=True):
        assert (ours == others).all()
    assert (plain.padding, lengths.padding) == (0, 10)
    x, _ = lengths.padded(problem.data(0).test)
    assert x.shape == (360, 74) and not x[:, :10].any()
    assert problem.steps == 21 and float(problem.measure(jnp.eye(10), jnp.arange(10))) == 1


@pytest.mark.parametrize(
    ("rule", "problem", "reason"),
    [
        ("spike-timing-dependent plasticity", problems.xor, "unroll"),
        ("noisy slopes", problems.linear, "activations"),
        ("mono-forward", problems.xor, "XOR has no classes"),
    ],
)
def test_a_rule_that_does_not_apply_says_why(rule, problem, reason):
    assert reason in problems.entry_of(rule, bp.rules.RULES[rule], problem())


# --- Summaries of the sweeps --------------------------------------------------------------------------------------


def made_up(curve, test, diverged=None, angle=None):
    """A sweep's result: curve (rates, starts, epochs), test (rates, starts)."""
    curve, test = np.asarray(curve, float), np.asarray(test, float)
    diverged = np.zeros(test.shape, bool) if diverged is None else np.asarray(diverged)
    angle = np.full((*test.shape, 3, 2), 40.0) if angle is None else angle
    dims = ("learning_rate", "start")
    return xr.Dataset(
        {
            "curve": ((*dims, "epoch"), curve),
            "test": (dims, test),
            "validation": (dims, test),
            "diverged": (dims, diverged),
            "solved": (dims, ~diverged),
            "epochs": (dims, np.full(test.shape, curve.shape[-1])),
            "angle": ((*dims, "step", "layer"), angle),
        },
        {"epoch": np.arange(1, curve.shape[-1] + 1), "step": [0, 10, 20], "learning_rate": [0.1, 1.0]},
    )


def test_a_summary_counts_failures_and_chooses_by_validation():
    problem = problems.digits(2, 3)._replace(rates=(0.1, 1.0), level=1.0)
    curve = [[[3, 0.9, 0.5], [3, 2, 1.5]], [[3, 2, 0.8], [5, 0.5, 0.4]]]
    result = made_up(curve, [[0.9, 0.7], [0.5, 0.99]], diverged=[[False, False], [False, True]])
    steps = tuning.steps_until_learnt(problem, result).values
    assert steps.tolist() == [[2 * 21, math.inf], [3 * 21, math.inf]]
    result.angle[:, :, 2] = np.array([10.0, 20.0])
    found = tuning.summary_of(problem, "backprop", "", result)
    assert (found.rate, found.learnt, found.starts, found.good_rates) == (0.1, 1, 2, 0)
    assert found.steps == math.inf and found.mean == pytest.approx(0.8)
    assert found.angles == ((40.0, 40.0), (40.0, 40.0), (10.0, 20.0))
    assert found.row["angle_end_2"] == 20 and "angles" not in found.row
    assert tables.result_of(found).endswith("1/2 too slow")


def test_if_runs_stop_early_the_fastest_rate_is_best():
    problem = problems.xor(2, 100)._replace(rates=(0.1, 1.0))
    result = made_up(np.ones((2, 2, 4)), np.zeros((2, 2)))
    result["epochs"] = (("learning_rate", "start"), [[50, 60], [20, 100]])
    result["solved"] = (("learning_rate", "start"), [[True, True], [True, False]])
    found = tuning.summary_of(problem, "backprop", "", result)
    assert (found.rate, found.steps, found.good_rates, found.learnt) == (0.1, 55, 1, 2)


def test_the_interval_is_student_s():
    mean, low, high = student(np.array([1.0, 2.0, 3.0]))
    assert mean == 2 and high - mean == pytest.approx(4.30265 / math.sqrt(3), rel=1e-5)  # t(0.975, 2)
    assert mean - low == pytest.approx(high - mean)


def test_angles_are_recorded_at_the_start_the_middle_and_the_end():
    at = tuning.recorded_at(problems.digits(2, 10))
    assert at[0] == 0 and at[-1] == 209 and 104 in at and list(at) == sorted(set(at))


def test_an_interrupt_ends_all_sweeps(monkeypatch):
    begun = []

    def tune(job, seed, on_run):
        begun.append(job.part)
        return xr.Dataset()

    def interrupted(done, job):
        raise KeyboardInterrupt

    monkeypatch.setattr(tuning, "tune", tune)
    jobs = [tuning.Job(str(n), None, None) for n in range(50)]
    with pytest.raises(KeyboardInterrupt):
        tuning.tune_all(jobs, 0, interrupted)
    assert len(begun) < 50


# --- Published results --------------------------------------------------------------------------------------------


def linear_runs(angle, feedback_error, backprop_error):
    angles = xr.DataArray(np.full((1, 1, 3, 2), float(angle)), dims=("learning_rate", "start", "step", "layer"))
    angles = angles.assign_coords(step=[0, 200, 2000])
    curves = [
        xr.DataArray(np.full((1, 1, 40), e * 2500.0), dims=("learning_rate", "start", "epoch"))
        for e in (feedback_error, backprop_error)
    ]
    runs = [xr.Dataset({"curve": curve, "angle": angles}) for curve in curves]
    return {published.FEEDBACK: runs[0], published.BACKPROP: runs[1]}


def test_the_linear_statements_can_hold_and_fail():
    assert [claim.verdict for claim in published.linear_claims(linear_runs(30, 0.01, 0.1))] == ["yes", "yes"]
    assert [claim.verdict for claim in published.linear_claims(linear_runs(36, 0.2, 0.1))] == ["no", "no"]
    assert "error 0.0100 and 0.100" in published.linear_claims(linear_runs(30, 0.01, 0.1))[1].found


def test_the_delay_statement_is_read_off_the_largest_rates_that_learn():
    rates, dims = [0.01, 0.03, 0.1, 0.3], ("learning_rate", "start")

    def sweep(*learn):
        test = np.where(np.array(learn), 0.9, 0.1)[:, None]
        return xr.Dataset(
            {"test": (dims, test), "diverged": (dims, np.zeros_like(test, bool))}, {"learning_rate": rates}
        )

    by = {"backprop": sweep(1, 1, 1, 1), "delayed": sweep(1, 1, 1, 0)}
    assert published.delay_claim(by).verdict == "yes" and "0.33 of it" in published.delay_claim(by).found
    assert published.delay_claim({**by, "delayed": sweep(1, 1, 1, 1)}).verdict == "no"
    assert published.delay_claim({**by, "delayed": sweep(1, 1, 0, 0)}).verdict == "no"
    assert "0.31 of its limit" in published.delay_claim(by).statement  # 2 sin(π/10) / 2


def test_from_zero_weights_backprop_moves_the_output_s_bias_alone():
    (backprop, direct) = published.from_zeros(1)
    assert backprop.entry.name == "backprop" and len(backprop.entry.init(jax.random.key(0), backprop.problem)) == 21
    runs = {
        job.entry.name: made_up(np.ones((2, 1, 2)), [[score], [0.1]])
        for job, score in ((backprop, 0.1), (direct, 0.85))
    }
    assert [claim.verdict for claim in published.zeros_claims(runs)] == ["yes", "yes"]
    assert [claim.verdict for claim in published.zeros_claims({**runs, "backprop": runs["direct feedback"]})][1] == "no"


def test_spiking_weights_are_of_the_tutorial_s_size():
    surrogate, true = published.spytorch(1, 1)
    (hidden, *_) = surrogate.entry.init(jax.random.key(0), surrogate.problem)
    assert hidden.w.shape == (100, 4)  # deviation 7 (1 − e^(−1/10)) / √100 = 0.0666
    assert float(hidden.w.std()) == pytest.approx(7 * (1 - math.exp(-0.1)) / 10, rel=0.1)
    assert surrogate.problem.data(0).train[0].shape == (256, 200, 100)
    batch = jax.tree.map(lambda a: a[:8], surrogate.problem.data(0).train)
    grads = [
        jax.jit(job.entry.rule.grads)(job.entry.init(jax.random.key(0), job.problem), (), batch)[1]
        for job in (surrogate, true)
    ]
    assert grads[0][0].w.any() and not grads[1][0].w.any() and grads[1][1].w.any()


def test_statements_about_angles_accuracies_and_spikes_can_hold_and_fail():
    def angles(*last):
        angle = np.full((2, 1, 3, len(last)), 50.0)
        angle[:, :, 2] = last
        return made_up(np.ones((2, 1, 2)), np.ones((2, 1)), angle=angle).isel(learning_rate=[0])

    good = {"Kolen-Pollack": angles(4, 5, 0), "weight mirror": angles(5, 1, 0), published.FEEDBACK: angles(44, 26, 0)}
    bad = {"Kolen-Pollack": angles(4, 6, 0), "weight mirror": angles(5.1, 1, 0), published.FEEDBACK: angles(46, 30, 0)}
    assert [claim.verdict for claim in published.feedback_claims(good)] == ["yes"] * 3
    assert [claim.verdict for claim in published.feedback_claims(bad)] == ["no"] * 3

    def spikes(*accuracies):
        return made_up(np.ones((2, 2, 2)), [accuracies, accuracies]).isel(learning_rate=[0])

    runs = {"true slope": spikes(0.5, 0.52), "surrogate slope": spikes(0.6, 0.65)}
    assert [claim.verdict for claim in published.spike_claims(runs)] == ["yes", "no"]  # 0.859 ± 0.087

    def summary(mean, half=0.001):
        return tuning.Summary("digits", "a, b", "", 0.1, mean, mean - half, mean + half, 5, 5, 10, 1, 7, ())

    ordered = {"backprop": summary(0.92), published.FEEDBACK: summary(0.9), "sign symmetry, uSF": summary(0.91)}
    assert [claim.verdict for claim in published.digits_claims(ordered, summary(0.85))] == ["yes", "yes"]
    wrong = {**ordered, published.FEEDBACK: summary(0.84), "sign symmetry, uSF": summary(0.93)}
    assert [claim.verdict for claim in published.digits_claims(wrong, summary(0.85))] == ["no", "no"]
    near = {**ordered, published.FEEDBACK: summary(0.925, 0.02)}
    assert [claim.verdict for claim in published.digits_claims(near, summary(0.85))] == ["within noise"] * 2


def test_every_repetition_can_be_traced_and_drawn():
    parts = {}
    for job in published.repeated(2, 3, 1):
        at = tuning.recorded_at(job.problem) if job.recorded else ()
        trial = problems.trial_of(job.problem, job.entry, at, 0)

        def train(key, learning_rate, start, trial=trial):
            made = trial(key, learning_rate, start)
            return made.program.outcome(made.program.epoch(made.start)[0])

        outcome = jax.eval_shape(train, jax.random.key(0), jnp.float32(0.1), jnp.int32(0))
        assert outcome["test"].shape == () and ("angle" in outcome) == job.recorded
        if job.entry.name == "Kolen-Pollack":  # W ← λ W − η g: the decay is part of the change
            optimizer = job.entry.optimizer(0.1)
            change, _ = optimizer.update(2.0, optimizer.init(3.0), 3.0)
            assert float(change) == pytest.approx((published.DECAY - 1) * 3 - 0.2)
        parts.setdefault(job.part, {})[job.entry.name] = made_up(np.ones((2, 2, 3)), np.ones((2, 2)))
    assert len(parts) == 5 and {"true slope", "surrogate slope"} == parts["spikes"].keys()
    drawn = figures.draw_published(parts)
    assert len(drawn.axes) == 4 and all(axis.lines for axis in drawn.axes)
    plt.close(drawn)


# --- The whole -------------------------------------------------------------------------------------------------------


def test_costs_are_multiples_of_backprop_s(monkeypatch):
    """The median of the ratios within a round, not the ratio of medians; what is timed is an epoch of that rule."""
    seconds, epochs = {"backprop": [1.0, 4.0, 2.0], "weight mirror": [3.0, 4.0, 10.0]}, {}

    def made_up(calls, rounds, least):
        assert (rounds, least) == (3, 0.5)
        epochs.update(calls)
        return {name: seconds[name] for name in calls}

    monkeypatch.setattr(cost, "in_turn", made_up)
    problem = problems.digits(2, 2)
    found = cost.step_costs(problem, [entry(name, problem) for name in seconds], 3, 0.5)
    assert found == {"backprop": 1, "weight mirror": 3}  # 3, 1 and 5 times; the ratio of the medians 4 and 2 would be 2
    for name, call in epochs.items():
        state, metrics = call()
        assert metrics.value.shape == (1197 // 57,) and metrics.value[-1] < metrics.value[0]
        assert bool(jax.tree.leaves(state.rule)) == (name == "weight mirror")  # which has separate feedback weights


SMALL = ["--linear-starts", "2", "--xor-starts", "2", "--xor-epochs", "40", "--digits-starts", "2"]
SMALL += ["--digits-epochs", "2", "--no-published", "--cost-rounds", "1"]


def test_the_whole_of_it(tmp_path, capsys):
    out = tmp_path / "result"
    assert experiment.main([*SMALL, "--only", "direct feedback", "--out", str(out)]) == 0
    shown = capsys.readouterr().out
    assert not too_wide(shown)
    for word in ("symmetric weights", "direct feedback", "Digits, 64-100-100-10", "XOR, 2-4-1", "Linear task"):
        assert word in shown
    record = json.loads((out / "record.json").read_text())
    assert record["config"]["digits_epochs"] == 2 and "direct" in record["receipts"]["direct feedback"]
    assert record["costs"]["direct feedback"] > 0
    with (out / "learning_rules.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {(row["problem"], row["rule"]) for row in rows} == {
        (problem, rule) for problem in ("digits", "linear", "XOR") for rule in ("backprop", "direct feedback")
    }
    direct = next(row for row in rows if (row["problem"], row["rule"]) == ("digits", "direct feedback"))
    assert 45 < float(direct["angle_start_1"]) < 135 and float(direct["angle_end_3"]) < 0.1
    stored = read_zarr(out / "digits" / "direct_feedback.zarr")
    assert stored.sizes["learning_rate"] == 7 and "direct" in stored.attrs["receipt"]
    assert (out / "learning_rules.png").stat().st_size > 10_000


def test_a_wrong_number_gets_a_sentence(capsys):
    assert experiment.main(["--only", "no such rule"]) == 2
    assert "part of a rule's name, got 'no such rule'" in capsys.readouterr().err
    assert experiment.main(["--xor-starts", "1"]) == 2
    assert "`xor_starts`" in capsys.readouterr().err


def test_a_rule_that_is_not_exact_as_registered_stops_the_experiment():
    wrong = bp.rules.RULES["feedback alignment"]._replace(exact=True)
    with pytest.raises(ValueError, match="feedback alignment is not the gradient: relative error"):
        experiment.receipt_of("feedback alignment", wrong, 0)
