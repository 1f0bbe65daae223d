"""The forecast of rounding errors: by hand, against measured errors, and what it reports."""

import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from full_size import FULL
from jax import lax
from passes import quick_jit
from tape.rounding_study import size_of, study

from bpjax.tape import tape
from bpjax.tape.local_errors import FUNCTIONS, FUNCTIONS_16_BITS, RMS, precision_of, rounded

UNITS = {"float32": 2.0**-24, "bfloat16": 2.0**-8, "float16": 2.0**-11}


def quotient(a, b):
    """The sum a + b, with cancellation."""
    difference = a * a - b * b
    return difference / (a - b)


# --- By hand ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", UNITS)
def test_unit_roundoff(dtype):
    assert precision_of(dtype).unit == UNITS[dtype]


@pytest.mark.parametrize("dtype", UNITS)
def test_root_mean_square_of_one_rounding(dtype, keys):
    numbers = 2 ** np.random.default_rng(0).uniform(-3, 3, 200_000)
    errors = (rounded(numbers, dtype) - numbers) / (UNITS[dtype] * numbers)
    assert abs(math.sqrt(np.mean(errors**2)) / RMS - 1) < 0.02
    assert np.max(np.abs(errors)) <= 1


def test_a_forecast_by_hand():
    """z = (a² − b²) / (a − b) at a = 1.02, b = 1.01 in float16: every term of the sum."""
    found = tape(quotient, 1.02, 1.01).rounding("float16")
    a, b, u = 1.02, 1.01, 2.0**-11
    d, s = a * a - b * b, a - b
    bounds = {"a * a": a * a / s, "b * b": b * b / s, "d": d / s, "s": d / s, "z": d / s}  # |adjoint · value|
    known = sum(np.float64(np.float16(x)) - x for x in (a, b))  # ∂z/∂a = ∂z/∂b = 1
    spread = u * sum(bounds.values())
    assert found.first_order == pytest.approx(spread + abs(known), rel=1e-9)
    assert found.expected == pytest.approx(math.sqrt((RMS * u) ** 2 * sum(t * t for t in bounds.values()) + known**2))
    assert found.first_order <= found.bound <= 1.1 * found.first_order
    assert abs(found.measured) <= found.bound
    assert [loss.bound for loss in found.losses[:2]] == pytest.approx([u * a * a / s, u * b * b / s])
    assert found.digits == pytest.approx(-math.log10(found.expected / found.value))


def test_the_measured_error_is_that_of_numpy_in_float16():
    """NumPy rounds each operation on float16 scalars once, as IEEE 754 asks."""
    with np.errstate(all="raise"):
        low = quotient(np.float16(1.02), np.float16(1.01))
    assert tape(quotient, 1.02, 1.01).rounding("float16").measured == pytest.approx(float(low) - 2.03, abs=1e-12)


def test_exact_operations_and_exact_constants_add_nothing():
    """Only arguments and constants that the dtype does not hold are rounded."""

    def f(x):
        y = -2 * x[::-1] / 4 + 0
        return jnp.max(jnp.where(y > 0, y, -y))

    found = tape(f, np.array([0.5, 0.75, 1.25])).rounding("bfloat16")
    assert (found.bound, found.expected, found.measured, found.losses) == (0, 0, 0, ())
    assert found.digits == math.inf
    tenth = tape(lambda x: jnp.maximum(x, 0.1), 0.0625).rounding("bfloat16")  # the constant alone
    assert tenth.bound == tenth.expected == abs(float(jnp.bfloat16(0.1)) - 0.1) == abs(tenth.measured)


def test_a_sum_of_n_terms_has_n_minus_1_roundings():
    x = np.arange(1, 9) / 8
    sums = tape(lambda x: jnp.sum(x), x).rounding("float32")
    assert sums.first_order == pytest.approx(7 * 2.0**-24 * x.sum())
    halves = tape(lambda x: jnp.sum(x), x).rounding("float16")  # accumulated in float32, rounded once
    assert halves.first_order == pytest.approx(2.0**-11 * x.sum(), rel=0.05)


# --- Loops, branches, custom rules -----------------------------------------------------------------------------------


def test_loops_and_branches_are_forecast_operation_by_operation():
    """A loop has the forecast of the same statements one after the other."""

    def by_scan(x):
        return lax.scan(lambda s, t: (lax.cond(t < 2, jnp.sin, jnp.cos, s) * x, None), x, jnp.arange(3))[0]

    def by_while(x):
        body = lambda c: (c[0] + 1, lax.cond(c[0] < 2, jnp.sin, jnp.cos, c[1]) * x)  # noqa: E731
        return lax.while_loop(lambda c: c[0] < 3, body, (0, x))[1]

    def in_a_row(x):
        return jnp.cos(jnp.sin(jnp.sin(x) * x) * x) * x

    expected = tape(in_a_row, 0.8).rounding("float16")
    for f in (by_scan, jax.checkpoint(by_scan), by_while):
        found = tape(f, 0.8).rounding("float16")
        assert (found.bound, found.expected, found.measured) == pytest.approx(
            (expected.bound, expected.expected, expected.measured), rel=1e-12
        )


def test_errors_pass_through_custom_rules_and_stop_gradient():
    @jax.custom_vjp
    def scaled(x):
        return 0.7 * x

    scaled.defvjp(lambda x: (scaled(x), None), lambda _, dy: (100 * dy,))
    for f in (scaled, lambda x: lax.stop_gradient(0.7 * x)):
        assert tape(f, 1.1).rounding("float16").bound == pytest.approx(
            tape(lambda x: 0.7 * x, 1.1).rounding("float16").bound
        )


# --- What it reports -------------------------------------------------------------------------------------------------


def problems(f, *arguments, dtype="float16"):
    found = tape(f, *arguments).rounding(dtype)
    assert found.is_valid == (not {"overflow", "decision", "second order"} & {p.kind for p in found.problems})
    assert math.isnan(found.bound) == math.isnan(found.expected) == (not found.is_valid)
    return found, {p.kind: p for p in found.problems}


def test_cancellation_names_the_difference_and_its_line():
    found, by_kind = problems(quotient, 1.02, 1.01)
    assert set(by_kind) == {"cancellation"}
    problem = by_kind["cancellation"]
    assert "difference = " in problem.message
    assert problem.source is not None and problem.source.code == "difference = a * a - b * b"
    assert next(iter(found.by_line)) == str(problem.source.line)
    assert sum(found.by_line.values()) == pytest.approx(1)
    assert "cancellation" not in problems(quotient, 2.0, 1.01)[1]


def test_overflow_and_underflow():
    assert set(problems(lambda x: jnp.exp(x) / 1000, 12.0)[1]) == {"overflow"}
    assert set(problems(lambda x: jnp.exp(x) / 1000, 12.0, dtype="bfloat16")[1]) == set()
    found, by_kind = problems(lambda x: x * x * 4096, 2e-3)
    assert set(by_kind) == {"underflow"}
    assert abs(found.measured) <= found.bound
    assert found.bound > 2.0**-25 * 4096  # the distance of subnormal numbers


def test_constants_that_are_not_finite_add_nothing():
    """NaN and −∞ that a selection leaves out, as in a padded lookup or t ln p."""

    def f(x):
        chosen = jnp.where(x > 100.0, jnp.nan, x)
        return jnp.sum(jnp.where(chosen == -jnp.inf, 0.0, chosen))

    forecast = tape(f, jnp.array([0.1, 0.2, 0.3])).rounding("float16")
    assert forecast.is_valid and 0 < forecast.expected < forecast.bound < 1e-3


def test_a_comparison_that_may_change_and_a_forecast_beyond_first_order():
    def jump(x):
        return jnp.where(x * x > 1, 1.0, x)

    assert set(problems(jump, 1.0001)[1]) == {"decision"}
    assert set(problems(jump, 1.5)[1]) == set()
    found, by_kind = problems(lambda x: jnp.sin(1000 * x) ** 2, 1.234)  # an error of 1 in the angle
    assert set(by_kind) == {"second order"}
    assert "no forecast" in str(found)
    found, by_kind = problems(lambda x: jnp.sqrt(1 - x * x), 0.9999)  # with errors, the root of a negative number
    assert set(by_kind) >= {"second order"}


def test_an_operation_without_a_model_is_named():
    _, by_kind = problems(lambda x: jnp.sum(lax.linalg.cholesky(x)), np.array([[2.0, 0.5], [0.5, 1.0]]))
    assert "cholesky" in by_kind["unknown operation"].message


def test_the_printed_table():
    found = tape(quotient, 1.02, 1.01).rounding("float16")
    text = str(found)
    assert text.startswith("quotient in float16: 2.03\n")
    assert re.search(r"\n *\d+  v0 = a · a +1.0404 +5.1e-02 +2.2e-02 +51%", text)
    assert "a rounded" in text and "1.8 digits" in text and "cancellation in line " in text
    assert repr(found) == "<rounding of quotient in float16: 0.03 expected, at most 0.11>"


def test_the_result_must_be_a_real_scalar():
    with pytest.raises(ValueError, match=r"one real scalar result, got float64\[3\]: sum it"):
        tape(jnp.sin, np.ones(3)).rounding()


# --- Against measured errors -----------------------------------------------------------------------------------------


def check(seeds, size):
    """The bound is never broken; the root mean square is within a factor 3 of its expectation in 90 %."""
    outcomes = [study(seed, size(seed), seed % 4 == 0)[0] for seed in seeds]
    valid = [outcome for outcome in outcomes if outcome.is_valid]
    assert len(valid) > 0.9 * len(outcomes)
    assert max(outcome.share for outcome in valid) <= 1
    assert max(outcome.share for outcome in valid) > 0.02  # the bound is not a thousand times too large
    ratios = [outcome.ratio for outcome in valid if np.isfinite(outcome.ratio)]
    assert np.mean([1 / 3 < ratio < 3 for ratio in ratios]) >= 0.9


def test_random_programs():
    check(range(3), lambda seed: 4 + seed % 3)


@pytest.mark.thorough
def test_many_random_programs():
    check(range(1000, 1040 if FULL else 1010), size_of)


@pytest.mark.thorough
def test_no_function_is_less_accurate_than_the_table(optimized):
    """Each elementary function on 20,000 arguments, in three dtypes, against float64."""
    random = np.random.default_rng(0)
    both = np.concatenate([random.uniform(-8, 8, 10_000), np.exp(random.uniform(-8, 2, 10_000))])
    domains = {"log": np.abs(both), "rsqrt": np.abs(both), "cbrt": np.abs(both), "log1p": np.abs(both) - 0.9}
    domains |= dict.fromkeys(("asin", "acos", "atanh", "erf_inv"), both / 8.01)
    domains |= {"acosh": np.abs(both) + 1.01, "lgamma": np.abs(both) + 0.1, "digamma": np.abs(both) + 0.1}

    def values(arguments):
        return {k: getattr(lax, k)(*([x] if k != "atan2" else [x, x[::-1]])) for k, x in arguments.items()}

    compiled = quick_jit(values)
    for dtype, unit in UNITS.items():
        low = {name: jnp.asarray(domains.get(name, both)).astype(dtype) for name in FUNCTIONS}
        exact = compiled({name: x.astype(jnp.float64) for name, x in low.items()})
        for name, found in compiled(low).items():
            z = np.abs(np.asarray(exact[name]))
            error = np.abs(np.asarray(found.astype(jnp.float64) - exact[name]))
            scale = np.maximum(z, 1) if name in ("lgamma", "digamma") else z
            ordinary = np.isfinite(error) & (z > precision_of(dtype).smallest) & (z < precision_of(dtype).largest)
            worst = FUNCTIONS[name] if dtype == "float32" else FUNCTIONS_16_BITS.get(name, (1.05, RMS))
            assert np.max(error[ordinary] / (unit * scale[ordinary])) <= worst[0], (name, dtype)
