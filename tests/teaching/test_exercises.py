"""The exercises: expected answers by hand and by jax.grad, every mistake named, every kind of failure one sentence."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bpjax as bp
from bpjax.teaching.exercises.check import instances
from bpjax.teaching.exercises.registry import TASKS

LN3 = float(np.log(3.0))

BY_HAND = {
    # x = (1, 2), w = (3 4; 5 6), b = (10, 20): 1·3 + 2·5 + 10 = 23, 1·4 + 2·6 + 20 = 36
    "net_input": (([[1.0, 2.0]], [[3.0, 4.0], [5.0, 6.0]], [10.0, 20.0]), [[23.0, 36.0]]),
    # a = ln 3: o = ¾, φ′ = 3/16, t = ¼: δ = 3/16 · ½ = 3/32
    "output_delta": (([[LN3]], [[0.25]]), [[3 / 32]]),
    # a = ½ ln 3: tanh a = ½, φ′ = ¾; δ = 2, −1 and w = 3, 4: 6 − 4 = 2; δ = 3/2
    "hidden_delta": (([[LN3 / 2]], [[2.0, -1.0]], [[3.0, 4.0]]), [[1.5]]),
    # η = ½: −½ (1 2)ᵀ (4 6)
    "weight_change": (([1.0, 2.0], [4.0, 6.0], 0.5), [[-2.0, -3.0], [-4.0, -6.0]]),
    # −(1 − ¼) ½ 8 + ¼ 4 = −3 + 1
    "momentum_term": (([[8.0]], [[4.0]], 0.5, 0.25), [[-2.0]]),
    "bias_change": (([[1.0, 2.0], [3.0, -6.0]], 0.5), [-2.0, 2.0]),
    # ∂E/∂w₁₁ = 1·5 + 3·7 = 26, ∂E/∂w₂₁ = 2·5 + 4·7 = 38
    "batch_sum": (([[1.0, 2.0], [3.0, 4.0]], [[5.0], [7.0]], 0.5), [[-13.0], [-19.0]]),
    # softmax(0, ln 3) = ¼, ¾
    "softmax_delta": (([[0.0, LN3]], [[1.0, 0.0]]), [[-0.75, 0.75]]),
    # M = 3, K = 2: windows (1, 2), (2, 3); δ = 4, 5: 4·1 + 5·2 = 14, 4·2 + 5·3 = 23
    "weight_sharing": (([1.0, 2.0, 3.0], [4.0, 5.0]), [14.0, 23.0]),
    # w = ½ ln 3, x = (1, 0), r = 0: h = ½, 0. t = 0, 1. δ(1) = 1·(0 − 1), δ(0) = ¾ (½ + 0) = 3/8; by r: δ(1) h(0) = −½
    "through_time": (([1.0, 0.0], LN3 / 2, 0.0, [0.0, 1.0]), [0.375, -0.5]),
}


@pytest.mark.parametrize("name", TASKS)
def test_the_right_answer_by_hand(name):
    arguments, expected = BY_HAND[name]
    given = [np.asarray(argument) if isinstance(argument, list) else argument for argument in arguments]
    np.testing.assert_allclose(TASKS[name].answer(*given), expected, atol=1e-15)


@pytest.mark.parametrize("name", [name for name, task in TASKS.items() if task.error])
def test_the_right_answer_is_the_gradient(name):
    """E as a JAX function, differentiated by jax.grad; ∂E/∂w = −Δw / η where the answer is a change."""
    task = TASKS[name]
    arguments = instances(task, 0)[0][0]
    answer = np.asarray(task.answer(*arguments))
    weights = () if max(task.by) < len(arguments) else (np.ones_like(answer),)
    grads = jax.jit(jax.grad(task.error, argnums=task.by), static_argnums=())(*arguments, *weights)
    expected = np.stack(grads) if len(task.by) > 1 else grads[0]
    found = answer if task.as_gradient is None else task.as_gradient(answer, arguments)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_a_bias_is_a_weight_from_a_unit_that_is_always_1():
    delta, rate = np.asarray([[1.0, 2.0], [3.0, -6.0]]), 0.5
    as_weight = TASKS["batch_sum"].answer(np.ones((2, 1)), delta, rate)
    np.testing.assert_array_equal(TASKS["bias_change"].answer(delta, rate), as_weight[0])


def test_the_momentum_term_is_that_of_the_convex_form():
    g, v = np.asarray([[8.0]]), np.asarray([[4.0]])
    optimizer = bp.momentum(0.5, 0.25, form="convex")
    _, state = optimizer.update(jnp.asarray(v) / (-0.75 * 0.5), optimizer.init(jnp.zeros((1, 1))))  # its change is 4
    change, _ = optimizer.update(jnp.asarray(g), state)
    np.testing.assert_allclose(TASKS["momentum_term"].answer(g, v, 0.5, 0.25), change)


@pytest.mark.parametrize("name", TASKS)
def test_every_known_mistake_is_named_and_the_right_answer_is_right(name):
    task = TASKS[name]
    for seed in range(5):
        verdict = bp.exercise(name).check(task.answer, seed=seed)
        assert verdict and verdict.right and verdict.mistake is None
        for mistake in task.mistakes:
            verdict = bp.exercise(name).check(mistake.answer, seed=seed)
            assert not verdict and verdict.mistake == mistake.name, (mistake, verdict)
            assert verdict.sentence == mistake.sentence


def test_factors_and_pairs_of_mistakes():
    check = bp.exercise("output_delta").check
    right = TASKS["output_delta"].answer
    assert check(lambda a, t: -right(a, t)).mistake == "wrong sign"
    assert check(lambda a, t: 2 * right(a, t)).mistake == "doubled"
    assert check(lambda a, t: right(a, t) / len(a)).mistake == "mean instead of sum"
    assert check(lambda a, t: 3 * right(a, t)).sentence == "The result is 3 times the right one on every instance."
    assert check(lambda a, t: 0 * a).mistake == "zero"
    both = check(lambda a, t: t - 1 / (1 + np.exp(-a)))
    assert both.mistake == "derivative forgotten, wrong sign" and both.sentence.startswith(
        "Two mistakes. φ′ is forgotten"
    )


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def changes(a, t):
    a -= t
    return a


UNUSABLE = {
    "returns None": (lambda a, t: None, "The function returns None: end it with `return`"),
    "integers": (lambda a, t: (sigmoid(a) - t).astype(int), "returns integers"),
    "changes its argument": (changes, "changes its argument `net_input` in place"),
    "raises": (lambda a: a, "raises TypeError"),
    "exits": (lambda a, t: exit(), "calls `exit`"),
    "no array": (lambda a, t: [[1.0], [2.0, 3.0]], "no array of numbers of one shape"),
    "shape": (lambda a, t: (sigmoid(a) - t)[0], "The result has the shape"),
    "not finite": (lambda a, t: np.full_like(a, np.nan), "NaN or infinity"),
    "complex": (lambda a, t: a + 1j, "complex"),
    "special case": (lambda a, t: TASKS["output_delta"].answer(a, t) if len(a) != 4 else a, "Right on"),
}


@pytest.mark.parametrize(("mistake", "function", "words"), [(k, *v) for k, v in UNUSABLE.items()], ids=UNUSABLE)
def test_what_cannot_be_compared_gets_a_sentence(mistake, function, words):
    verdict = bp.exercise("output_delta").check(function)
    assert verdict.mistake == mistake and words in verdict.sentence and "\n" not in str(verdict)


def test_a_fixed_size_and_a_transposed_product_do_not_pass():
    fixed = bp.exercise("net_input").check(lambda x, w, b: x[:2, :2] @ w[:2] + b)
    assert fixed.mistake == "shape"
    transposed = bp.exercise("hidden_delta").check(lambda a, d, w: (1 - np.tanh(a) ** 2) * (d @ w))
    assert transposed.mistake == "transposed weights"  # which raises for all but square weights


def test_overflow_is_found_after_a_right_answer():
    careless = lambda a, t: np.exp(a) / np.exp(a).sum(axis=1, keepdims=True) - t
    verdict = bp.exercise("softmax_delta").check(careless)
    assert verdict.mistake == "overflow" and "subtract the largest" in verdict.sentence


@pytest.mark.thorough
def test_the_dials_explain_what_no_table_knows():
    verdict = bp.exercise("hidden_delta").check(lambda a, d, w: (1 - np.tanh(a)) * (d @ w.T))
    assert verdict.mistake == "derivative incomplete"
    assert "`output = jnp.tanh(net_input)`" in verdict.sentence


@pytest.mark.thorough
def test_answers_in_jax_in_single_precision():
    def through_time(x, w, r, target):
        def error(w, r):
            h = error = 0.0
            for x_t, target_t in zip(x, target, strict=True):
                h = jnp.tanh(w * x_t + r * h)
                error += 0.5 * (target_t - h) ** 2
            return error

        return jax.grad(error, argnums=(0, 1))(jnp.float32(w), jnp.float32(r))

    assert bp.exercise("through_time").check(through_time)


def test_no_verdict_holds_the_solution():
    for name, task in TASKS.items():
        rectangular, _ = instances(task, 0)
        truth = np.ravel(task.answer(*rectangular[0]))
        for mistake in task.mistakes:
            sentence = str(bp.exercise(name).check(mistake.answer))
            assert not any(f"{value:.4g}" in sentence for value in truth)


def test_hints_and_text():
    e = bp.exercise("bias_change")
    assert [e.hint()[:11] for _ in range(4)] == ["Hint 1 of 3", "Hint 2 of 3", "Hint 3 of 3", "Hint 3 of 3"]
    assert e.name in bp.teaching.EXERCISES and len(bp.teaching.EXERCISES) == 10
    assert e.statement in str(e) and e._repr_markdown_().startswith("### The change of a bias")
    assert e.check(lambda d, rate: d)._repr_markdown_().startswith("**Not yet.**")
    for task in TASKS.values():
        assert task.name in task.statement and len(task.hints) == 3
    with pytest.raises(ValueError, match="`exercise` expected `name` to be one of net_input, "):
        bp.exercise("nothing")
