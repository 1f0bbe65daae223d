"""Exercises about the change of the weights: one example, momentum, bias, a batch."""

import jax.numpy as jnp
import numpy as np

from bpjax.teaching.exercises.task import Mistake, Task


def _rate(rng) -> float:
    return float(rng.uniform(0.1, 0.9))


def _forgot_rate(answer):
    sentence = "The learning rate η is forgotten."
    return Mistake("learning rate forgotten", sentence, lambda *arguments: answer(*arguments[:-1], 1.0))


# --- one example ------------------------------------------------------------------------------------------------------


def _weight_change(x, d, rate):
    return -rate * np.outer(x, d)


def _one_error(x, delta, rate, w):
    net_input = x @ w
    return jnp.sum(delta * net_input)


WEIGHT_CHANGE = Task(
    "weight_change",
    "The change of the weights for one example",
    "A weight changes in proportion to its influence on the error, Δwᵢⱼ = −η ∂E/∂wᵢⱼ. For one example with the "
    "inputs x (D,) and the error signals δ = ∂E/∂a (H,) of the units, write `weight_change(x, delta, "
    "learning_rate)` that returns Δw (D, H).",
    ("x", "delta", "learning_rate"),
    lambda rng, size: (rng.normal(size=size()), rng.normal(size=size()), _rate(rng)),
    _weight_change,
    (
        _forgot_rate(_weight_change),
        Mistake(
            "gradient transposed",
            "The entries are right, transposed: row i belongs to input i, column j to unit j.",
            lambda x, d, rate: -rate * np.outer(d, x),
        ),
        Mistake(
            "input forgotten",
            "The input is forgotten: a weight with a small input has a small influence on the error.",
            lambda x, d, rate: -rate * np.outer(np.ones_like(x), d),
        ),
        Mistake(
            "error signal forgotten",
            "The error signal of the unit is forgotten.",
            lambda x, d, rate: -rate * np.outer(x, np.ones_like(d)),
        ),
        Mistake(
            "elementwise product",
            "You multiply entry by entry; every input meets every unit.",
            lambda x, d, rate: -rate * x * d,
        ),
    ),
    (
        "aⱼ = Σᵢ xᵢ wᵢⱼ: by what does aⱼ change when wᵢⱼ grows a little?",
        "∂E/∂wᵢⱼ is the error signal of the unit times the input that the weight carries.",
        "Every input meets every unit: the table of all products of two vectors is their outer product. Mind the sign.",
    ),
    error=lambda x, delta, rate, w: _one_error(x, delta, rate, w),
    by=(3,),
    as_gradient=lambda answer, arguments: -np.asarray(answer, float) / arguments[2],
)

# --- momentum ---------------------------------------------------------------------------------------------------------


def _draw_momentum(rng, size):
    shape = size(), size()
    return rng.normal(size=shape), rng.normal(size=shape), _rate(rng), float(rng.uniform(0.2, 0.8))


MOMENTUM_TERM = Task(
    "momentum_term",
    "The momentum term",
    "The encyclopedia article smooths the path of the weights by an inertia term 0 ≤ α < 1, as a weighted mean of "
    "the new and the previous change: Δw(t + 1) = −(1 − α) η ∂E/∂w + α Δw(t). Write `momentum_term(gradient, "
    "previous_change, learning_rate, momentum)` that returns Δw(t + 1). gradient and previous_change have the same "
    "shape.",
    ("gradient", "previous_change", "learning_rate", "momentum"),
    _draw_momentum,
    lambda g, v, rate, alpha: -(1 - alpha) * rate * g + alpha * v,
    (
        Mistake(
            "heavy ball",
            "The factor (1 − α) of the gradient is missing. This is the heavy ball of PDP and PyTorch, whose steps are "
            "1 / (1 − α) times as long; the article weights the new change too.",
            lambda g, v, rate, alpha: -rate * g + alpha * v,
        ),
        Mistake(
            "momentum forgotten",
            "The previous change is forgotten: this is gradient descent.",
            lambda g, v, rate, alpha: -rate * g,
        ),
        Mistake(
            "momentum forgotten",
            "The previous change is forgotten: only the weighted gradient is there.",
            lambda g, v, rate, alpha: -(1 - alpha) * rate * g,
        ),
        Mistake(
            "momentum applied twice",
            "The momentum coefficient is applied twice to the previous change.",
            lambda g, v, rate, alpha: -(1 - alpha) * rate * g + alpha**2 * v,
        ),
        Mistake(
            "momentum applied twice",
            "Momentum is applied twice: the step is taken, and then once more from the new change, as in "
            "Nesterov's method.",
            lambda g, v, rate, alpha: alpha * (alpha * v - (1 - alpha) * rate * g) - (1 - alpha) * rate * g,
        ),
        Mistake(
            "weights exchanged",
            "α and 1 − α are exchanged: with α near 1 the previous change should dominate.",
            lambda g, v, rate, alpha: -alpha * rate * g + (1 - alpha) * v,
        ),
        Mistake(
            "wrong sign",
            "The gradient has the wrong sign: the weights climb.",
            lambda g, v, rate, alpha: (1 - alpha) * rate * g + alpha * v,
        ),
        Mistake(
            "wrong sign",
            "The previous change has the wrong sign: it is continued, not reversed.",
            lambda g, v, rate, alpha: -(1 - alpha) * rate * g - alpha * v,
        ),
        Mistake(
            "learning rate forgotten",
            "The learning rate η is forgotten.",
            lambda g, v, rate, alpha: -(1 - alpha) * g + alpha * v,
        ),
        Mistake(
            "learning rate twice",
            "The previous change already holds the learning rate; it is applied to it again.",
            lambda g, v, rate, alpha: rate * (-(1 - alpha) * g + alpha * v),
        ),
    ),
    (
        "The result is a weighted mean of two changes: the one that gradient descent would make now, and the "
        "previous one.",
        "Gradient descent alone would make −η times the gradient.",
        "The weights of the mean are 1 − α and α. Which of the two belongs to the previous change?",
    ),
)

# --- bias -------------------------------------------------------------------------------------------------------------


def _draw_bias(rng, size):
    n, h = size(), size()
    return rng.normal(size=(n, h)), _rate(rng)


def _bias_change(d, rate):
    return -rate * d.sum(axis=0)


BIAS_CHANGE = Task(
    "bias_change",
    "The change of a bias",
    "A bias is the weight from a unit whose output is always 1. For a batch with the error signals δ (N, H) write "
    "`bias_change(delta, learning_rate)` that returns Δb (H,) of gradient descent on the error of the batch, the "
    "sum over its examples.",
    ("delta", "learning_rate"),
    _draw_bias,
    _bias_change,
    (
        _forgot_rate(_bias_change),
        Mistake(
            "not summed",
            "The bias is not summed over the batch: all examples share one bias.",
            lambda d, rate: -rate * d,
        ),
        Mistake(
            "wrong axis",
            "You sum over the units; each unit has one bias, and the examples are summed.",
            lambda d, rate: -rate * d.sum(axis=1),
        ),
        Mistake(
            "one example",
            "Only the last example counts; the error of a batch is a sum over all of them.",
            lambda d, rate: -rate * d[-1],
        ),
        Mistake(
            "one example",
            "Only the first example counts; the error of a batch is a sum over all of them.",
            lambda d, rate: -rate * d[0],
        ),
        Mistake(
            "summed over everything",
            "You sum over examples and units; each unit has one bias.",
            lambda d, rate: np.full(d.shape[1], -rate * d.sum()),
        ),
        Mistake(
            "summed over everything",
            "You sum over examples and units; each unit has one bias.",
            lambda d, rate: -rate * d.sum(),
        ),
    ),
    (
        "Treat the bias as a weight with the input 1, and use Δw = −η δ x.",
        "Every example of the batch changes the same bias: what happens to their contributions?",
        "The axis of the examples is the first one. The result has one entry per unit.",
    ),
    examples=lambda d, rate: len(d),
)

# --- a batch ----------------------------------------------------------------------------------------------------------


def _draw_batch(rng, size):
    n, d, h = size(), size(), size()
    return rng.normal(size=(n, d)), rng.normal(size=(n, h)), _rate(rng)


def _batch_change(x, d, rate):
    return -rate * x.T @ d


BATCH_SUM = Task(
    "batch_sum",
    "The change of the weights for a batch",
    "The error of a batch is the sum of the errors of its examples. With the inputs x (N, D) and the error signals δ "
    "(N, H), write `batch_sum(x, delta, learning_rate)` that returns Δw (D, H) of gradient descent.",
    ("x", "delta", "learning_rate"),
    _draw_batch,
    _batch_change,
    (
        _forgot_rate(_batch_change),
        Mistake(
            "gradient transposed",
            "The entries are right, transposed: row i belongs to input i, column j to unit j.",
            lambda x, d, rate: -rate * d.T @ x,
        ),
        Mistake(
            "one example",
            "Only the last example counts: its change replaces those of the others instead of being added.",
            lambda x, d, rate: -rate * np.outer(x[-1], d[-1]),
        ),
        Mistake(
            "one example",
            "Only the first example counts; the changes of all examples are added.",
            lambda x, d, rate: -rate * np.outer(x[0], d[0]),
        ),
        Mistake(
            "summed before multiplied",
            "Inputs and error signals are summed over the batch before they are multiplied; each example's input "
            "belongs to the same example's error signal.",
            lambda x, d, rate: -rate * np.outer(x.sum(axis=0), d.sum(axis=0)),
        ),
        Mistake(
            "not summed",
            "The changes of the examples are not added up: the result has an axis too many.",
            lambda x, d, rate: -rate * x[:, :, None] * d[:, None, :],
        ),
        Mistake(
            "input forgotten",
            "The inputs are forgotten: this is the change of the biases.",
            lambda x, d, rate: np.broadcast_to(-rate * d.sum(axis=0), (x.shape[1], d.shape[1])),
        ),
    ),
    (
        "Begin with one example: Δwᵢⱼ = −η δⱼ xᵢ. Then add the changes of all examples.",
        "The sum runs over n in xₙᵢ δₙⱼ, the axis that x and δ share.",
        "A sum over a shared axis is a matrix product; transpose one factor so that the axes of the examples meet.",
    ),
    examples=lambda x, d, rate: len(x),
    error=lambda x, delta, rate, w: _one_error(x, delta, rate, w),
    by=(3,),
    as_gradient=lambda answer, arguments: -np.asarray(answer, float) / arguments[2],
)
