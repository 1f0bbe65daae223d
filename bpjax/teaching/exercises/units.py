"""Exercises about a unit: its net input, its error signal at the output and in a hidden layer."""

import jax.numpy as jnp
import numpy as np

from bpjax.teaching.exercises.task import Mistake, Task


def sigmoid(a):
    """1 / (1 + e⁻ᵃ)."""
    return 1 / (1 + np.exp(-np.asarray(a, float)))


# --- net input --------------------------------------------------------------------------------------------------------


def _draw_net_input(rng, size):
    n, d, h = size(), size(), size()
    return rng.normal(size=(n, d)), rng.normal(size=(d, h)), rng.normal(size=h)


NET_INPUT = Task(
    "net_input",
    "The net input",
    "The net input of a unit is the weighted sum of its inputs plus its bias, aⱼ = Σᵢ xᵢ wᵢⱼ + bⱼ. Write "
    "`net_input(x, w, b)` for a batch: x (N, D) holds one example a row, w (D, H) the weight from input i to unit j, b "
    "(H,) the biases. Return a (N, H).",
    ("x", "w", "b"),
    _draw_net_input,
    lambda x, w, b: x @ w + b,
    (
        Mistake("bias forgotten", "The bias is forgotten: every net input lacks it.", lambda x, w, b: x @ w),
        Mistake("bias subtracted", "The bias is subtracted; it is added.", lambda x, w, b: x @ w - b),
        Mistake(
            "transposed weights",
            "The weights are transposed: wᵢⱼ leads from input i (row) to unit j (column).",
            lambda x, w, b: x @ w.T + b,
        ),
        Mistake(
            "activation applied",
            "You return the output φ(a) of the unit; asked for is the net input a.",
            lambda x, w, b: sigmoid(x @ w + b),
        ),
        Mistake("activation applied", "You return tanh(a); asked for is a.", lambda x, w, b: np.tanh(x @ w + b)),
        Mistake(
            "mean instead of sum",
            "You take the mean over the inputs; the net input is their sum.",
            lambda x, w, b: x @ w / x.shape[1] + b,
        ),
        Mistake(
            "bias counted per input",
            "The bias is added once for every input; it belongs to the unit and is added once.",
            lambda x, w, b: x @ w + x.shape[1] * b,
        ),
    ),
    (
        "Which axes of x and w belong to the same thing, the inputs? The sum runs over that axis.",
        "A sum over a shared axis, for all examples and all units at once, is a matrix product.",
        "The bias has one entry per unit and is the same for every example: NumPy adds it to every row by itself.",
    ),
)

# --- output δ ---------------------------------------------------------------------------------------------------------


def _draw_output_delta(rng, size):
    n, k = size(), size()
    return rng.normal(size=(n, k)), rng.uniform(size=(n, k))


def _output_error(net_input, target):
    output = 1 / (1 + jnp.exp(-net_input))
    return 0.5 * jnp.sum((target - output) ** 2)


def _output_delta(a, t):
    o = sigmoid(a)
    return o * (1 - o) * (o - t)


OUTPUT_DELTA = Task(
    "output_delta",
    "The error signal of the output units",
    "For output units with o = 1 / (1 + e⁻ᵃ) and the error E = ½ Σ (t − o)², write `output_delta(net_input, "
    "target)` that returns the error signal δ = ∂E/∂a. Both arguments and the result have shape (N, K).",
    ("net_input", "target"),
    _draw_output_delta,
    _output_delta,
    (
        Mistake(
            "derivative forgotten",
            "φ′ is forgotten: o − t is ∂E/∂o, but asked for is the derivative by the net input.",
            lambda a, t: sigmoid(a) - t,
        ),
        Mistake(
            "derivative alone",
            "You return φ′ alone; the error of the unit is missing as a factor.",
            lambda a, t: sigmoid(a) * (1 - sigmoid(a)),
        ),
        Mistake(
            "derivative of the output",
            "φ′ is evaluated at the output o instead of the net input a: the sigmoid is applied twice.",
            lambda a, t: sigmoid(sigmoid(a)) * (1 - sigmoid(sigmoid(a))) * (sigmoid(a) - t),
        ),
        Mistake(
            "net input in place of the output",
            "The formula φ′ = o (1 − o) takes the output; you put the net input into it.",
            lambda a, t: a * (1 - a) * (sigmoid(a) - t),
        ),
        Mistake(
            "net input compared",
            "You compare the net input with the target; compared is the output.",
            lambda a, t: sigmoid(a) * (1 - sigmoid(a)) * (a - t),
        ),
        Mistake(
            "derivative of another activation",
            "1 − o² is the derivative of tanh; the units here are sigmoids.",
            lambda a, t: (1 - sigmoid(a) ** 2) * (sigmoid(a) - t),
        ),
        Mistake(
            "derivative twice",
            "φ′ is there twice.",
            lambda a, t: (sigmoid(a) * (1 - sigmoid(a))) ** 2 * (sigmoid(a) - t),
        ),
        Mistake(
            "cross entropy",
            "This is the error signal of another error function: here E = ½ Σ (t − o)².",
            lambda a, t: (sigmoid(a) - t) / (sigmoid(a) * (1 - sigmoid(a))),
        ),
    ),
    (
        "Chain rule: a acts on E through o alone, ∂E/∂a = ∂E/∂o · ∂o/∂a.",
        "∂o/∂a of a sigmoid can be written with its output alone; compute the output first.",
        "∂E/∂o of ½ (t − o)²: the 2 of the square cancels the ½, and the inner derivative of −o is −1.",
    ),
    examples=lambda a, t: len(a),
    error=_output_error,
    by=(0,),
)

# --- hidden δ ---------------------------------------------------------------------------------------------------------


def _draw_hidden_delta(rng, size):
    n, h, k = size(), size(), size()
    return rng.normal(size=(n, h)), rng.normal(size=(n, k)), rng.normal(size=(h, k))


def _hidden_error(net_input, next_delta, next_weights):
    output = jnp.tanh(net_input)
    next_net_input = output @ next_weights
    return jnp.sum(next_delta * next_net_input)


def _slope(a):
    return 1 - np.tanh(a) ** 2


HIDDEN_DELTA = Task(
    "hidden_delta",
    "The error signal of hidden units",
    "Hidden units with o = tanh(a) are connected to the next layer by the weights wⱼₖ, whose units have the error "
    "signals δₖ. Write `hidden_delta(net_input, next_delta, next_weights)`: net_input a (N, H), next_delta (N, K), "
    "next_weights (H, K). Return δ = ∂E/∂a of the hidden units (N, H).",
    ("net_input", "next_delta", "next_weights"),
    _draw_hidden_delta,
    lambda a, d, w: _slope(a) * (d @ w.T),
    (
        Mistake(
            "derivative forgotten",
            "φ′ is forgotten: what arrives from the next layer is ∂E/∂o, not yet ∂E/∂a.",
            lambda a, d, w: d @ w.T,
        ),
        Mistake(
            "transposed weights",
            "The weights are transposed: the errors travel from unit k back to unit j, against the forward direction.",
            lambda a, d, w: _slope(a) * (d @ w),
        ),
        Mistake(
            "derivative of the output",
            "φ′ is evaluated at the output instead of the net input: tanh is applied twice.",
            lambda a, d, w: _slope(np.tanh(a)) * (d @ w.T),
        ),
        Mistake(
            "net input in place of the output",
            "The formula φ′ = 1 − o² takes the output; you put the net input into it.",
            lambda a, d, w: (1 - a**2) * (d @ w.T),
        ),
        Mistake(
            "derivative of another activation",
            "o (1 − o) is the derivative of a sigmoid; the units here are tanh.",
            lambda a, d, w: np.tanh(a) * (1 - np.tanh(a)) * (d @ w.T),
        ),
        Mistake(
            "output in place of the derivative",
            "You multiply by the output φ(a); the factor is its derivative φ′(a).",
            lambda a, d, w: np.tanh(a) * (d @ w.T),
        ),
        Mistake("derivative twice", "φ′ is there twice.", lambda a, d, w: _slope(a) ** 2 * (d @ w.T)),
        Mistake(
            "weights forgotten",
            "The weights are forgotten: each error signal counts as much as the weight that leads to its unit.",
            lambda a, d, w: _slope(a) * d.sum(axis=1, keepdims=True),
        ),
    ),
    (
        "A hidden unit acts on the error through every unit of the next layer: the contributions add up.",
        "The contribution of unit k is its δ times the weight that leads there. For all units at once this is a matrix "
        "product; the shapes (N, K) and (H, K) say which side has to be transposed.",
        "What arrives is ∂E/∂o. From o to a it is one more factor, the derivative of tanh at a.",
    ),
    examples=lambda a, d, w: len(a),
    error=_hidden_error,
    by=(0,),
)
