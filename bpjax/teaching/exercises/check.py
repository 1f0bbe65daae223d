"""Is a student's function right, and if not, why."""

import itertools
from collections.abc import Callable

import numpy as np

from bpjax.teaching.exercises.dials import explained
from bpjax.teaching.exercises.run_answer import Outcome, run_answer, same
from bpjax.teaching.exercises.task import Arguments, Task, Verdict

RECTANGULAR, SQUARE = 4, 2
"""Instances whose axes all have different lengths, which show transposed products, and instances of one length."""

FACTORS = {
    -1.0: ("wrong sign", "The sign is flipped."),
    2.0: ("doubled", "Twice too large: a factor ½ is missing, or there is a factor 2 too many."),
    0.5: ("halved", "Half as large as it should be."),
}
"""A right answer times one of these has the name and the sentence."""


def check_answer(task: Task, function: Callable, seed: int = 0) -> Verdict:
    """Hold a function against the right answer on random instances of random shapes; name the mistake.

    Args:
        task: the exercise.
        function: of the student, on NumPy arrays, in NumPy or JAX.
        seed: of the instances.
    """
    rectangular, square = instances(task, seed)
    outcomes = [run_answer(task, function, arguments) for arguments in rectangular + square]
    if all(same(outcome.value, outcome.truth) for outcome in outcomes):
        return _extreme(task, function)
    named = _named(task, outcomes)
    if named is not None:
        return named
    problem = next((outcome.problem for outcome in outcomes if outcome.problem is not None), None)
    right = sum(same(outcome.value, outcome.truth) for outcome in outcomes)
    if problem is not None:
        return _sometimes(problem, right, len(outcomes)) if right else problem
    of_shape = _of_shape(outcomes)
    return _of_values(task, function, outcomes, right) if of_shape is None else of_shape


def instances(task: Task, seed: int) -> tuple[list[Arguments], list[Arguments]]:
    """(instances whose axes all differ, instances whose axes are alike)."""
    rng = np.random.default_rng([seed, *task.name.encode()])
    rectangular, square = [], []
    for _ in range(RECTANGULAR):
        sizes = itertools.cycle(rng.permutation([2, 3, 4, 5, 6]).tolist())
        rectangular.append(task.draw(rng, lambda sizes=sizes: next(sizes)))
    for length in (3, 4)[:SQUARE]:
        square.append(task.draw(rng, lambda length=length: length))
    return rectangular, square


def _named(task: Task, outcomes: list[Outcome]) -> Verdict | None:
    """The known mistake, or the right answer or a known mistake times a factor, that gives the same values."""
    for mistake in task.mistakes:
        if _fits(outcomes, mistake.answer):
            return Verdict(False, mistake.name, mistake.sentence)
    for factor, (name, sentence) in FACTORS.items():
        if _fits(outcomes, task.answer, lambda _, factor=factor: factor):
            return Verdict(False, name, sentence)
    if task.examples is not None and _fits(outcomes, task.answer, lambda given: 1 / task.examples(*given)):  # type: ignore[misc]
        sentence = "You take the mean over the examples; the error of a batch is their sum."
        return Verdict(False, "mean instead of sum", sentence)
    for mistake, (factor, (name, sentence)) in itertools.product(task.mistakes, FACTORS.items()):
        if _fits(outcomes, mistake.answer, lambda _, factor=factor: factor):
            return Verdict(False, f"{mistake.name}, {name}", f"Two mistakes. {mistake.sentence} {sentence}")
    return None


def _fits(outcomes: list[Outcome], answer: Callable, factor: Callable = lambda given: 1.0) -> bool:
    """Whether an answer gives what the function gave wherever it gives something, and the function fails elsewhere."""
    compared = 0
    for outcome in outcomes:
        expected = _wrong_answer(answer, outcome.arguments)
        if expected is None:  # shapes that only a square instance has
            if same(outcome.value, outcome.truth):
                return False
            continue
        if not same(outcome.value, factor(outcome.arguments) * expected):
            return False
        compared += 1
    return compared >= SQUARE


def _wrong_answer(answer: Callable, arguments) -> np.ndarray | None:
    try:
        with np.errstate(all="ignore"):
            return np.asarray(answer(*arguments), float)
    except (ValueError, IndexError):
        return None


def _extreme(task: Task, function: Callable) -> Verdict:
    """The last test of a right answer: net inputs so large that careless formulas overflow."""
    if task.extreme is not None:
        draw, sentence = task.extreme
        outcome = run_answer(task, function, draw(np.random.default_rng(0), lambda: 1))
        if not same(outcome.value, outcome.truth):
            return Verdict(False, "overflow", sentence) if outcome.problem is None else outcome.problem
    shapes = f"{RECTANGULAR + SQUARE} random instances"
    return Verdict(True, None, f"Right on {shapes} of different shapes.")


def _sometimes(problem: Verdict, right: int, count: int) -> Verdict:
    sentence = f"Right on {right} of {count} instances. On another: {problem.sentence}"
    return Verdict(False, problem.mistake, sentence)


def _factor(outcomes: list[Outcome]) -> float | None:
    """The factor between the results and the right ones, where it is the same everywhere."""
    value = np.concatenate([np.ravel(outcome.value) for outcome in outcomes if outcome.value is not None])
    truth = np.concatenate([np.ravel(outcome.truth) for outcome in outcomes if outcome.value is not None])
    factor = float(value @ truth / (truth @ truth))
    return factor if same(value, factor * truth) else None


def _of_shape(outcomes: list[Outcome]) -> Verdict | None:
    """A result of another shape."""
    for outcome in outcomes:
        if outcome.value is None or outcome.value.shape == outcome.truth.shape:
            continue
        got, expected = outcome.value.shape, outcome.truth.shape
        if same(outcome.value.T, outcome.truth):
            return Verdict(
                False, "gradient transposed", f"The entries are right, transposed: shape {got}, not {expected}."
            )
        if outcome.value.size == outcome.truth.size and same(outcome.value.reshape(expected), outcome.truth):
            return Verdict(False, "shape", f"The numbers are right in the wrong shape: {got}, expected {expected}.")
        return Verdict(False, "shape", f"The result has the shape {got}, expected {expected}.")
    return None


def _of_values(task: Task, function: Callable, outcomes: list[Outcome], right: int) -> Verdict:
    """A result of the right shape with wrong values that no table knows."""
    if any(outcome.value is not None and not np.isfinite(outcome.value).all() for outcome in outcomes):
        sentence = "The result holds NaN or infinity: look for a division by 0, a logarithm of 0, or an overflow."
        return Verdict(False, "not finite", sentence)
    if right:
        sentence = (
            f"Right on {right} of {len(outcomes)} instances. Does the function rely on a size, such as a fixed "
            "number of examples, or on a value?"
        )
        return Verdict(False, "special case", sentence)
    factor = _factor(outcomes)
    if factor is not None:
        sentence = f"The result is {factor:.4g} times the right one on every instance."
        return Verdict(False, "scaled", sentence) if factor else Verdict(False, "zero", "The result is 0.")
    found = explained(task, function, outcomes[0].arguments)
    if found is not None:
        return found
    wrong = [~np.isclose(o.value, o.truth, rtol=1e-4, atol=1e-9) for o in outcomes if o.value is not None]
    share = float(np.mean(np.concatenate([np.ravel(entries) for entries in wrong])))
    rest = f" {100 * (1 - share):.0f} % of the entries are right." if share < 1 else ""
    sentence = (
        "Wrong, and none of the known mistakes." + rest + " Try the smallest instance by hand, or ask for a hint."
    )
    return Verdict(False, "unknown", sentence)
