"""Exercises about whole outputs, shared weights and time."""

import jax.numpy as jnp
import numpy as np

from bpjax.teaching.exercises.task import Mistake, Task
from bpjax.teaching.exercises.units import sigmoid

# --- softmax with cross entropy ---------------------------------------------------------------------------------------


def softmax(a, axis=-1):
    """eᵃ / Σ eᵃ."""
    powers = np.exp(a - a.max(axis=axis, keepdims=True))
    return powers / powers.sum(axis=axis, keepdims=True)


def _draw_softmax(rng, size):
    n, k = size(), size()
    return 1.5 * rng.normal(size=(n, k)), softmax(rng.normal(size=(n, k)))


def _softmax_error(net_input, target):
    powers = jnp.exp(net_input)
    output = powers / jnp.sum(powers, axis=1, keepdims=True)
    return -jnp.sum(target * jnp.log(output))


def _through_jacobian(a, t):
    p = softmax(a)
    e = p - t
    return p * (e - (e * p).sum(axis=1, keepdims=True))


SOFTMAX_DELTA = Task(
    "softmax_delta",
    "Softmax with cross entropy",
    "A network for K classes ends in a softmax, oₖ = e^(aₖ) / Σ e^(a), and has the error E = −Σ t ln o; the targets of "
    "every example add up to 1. Write `softmax_delta(net_input, target)` that returns δ = ∂E/∂a. Both arguments "
    "and the result have shape (N, K).",
    ("net_input", "target"),
    _draw_softmax,
    lambda a, t: softmax(a) - t,
    (
        Mistake(
            "derivative too many",
            "A factor o (1 − o) is too many: the derivative of the softmax cancels against that of the logarithm.",
            lambda a, t: softmax(a) * (1 - softmax(a)) * (softmax(a) - t),
        ),
        Mistake(
            "squared error",
            "This is the error signal of a softmax with the squared error; here E = −Σ t ln o.",
            _through_jacobian,
        ),
        Mistake(
            "derivative forgotten",
            "−t / o is ∂E/∂o; asked for is the derivative by the net inputs, through the softmax.",
            lambda a, t: -t / softmax(a),
        ),
        Mistake(
            "derivative incomplete",
            "Only oₖ itself is differentiated by aₖ: each net input changes all outputs, because they add up to 1.",
            lambda a, t: -t * (1 - softmax(a)),
        ),
        Mistake(
            "wrong axis",
            "The softmax runs over the examples; it runs over the classes of one example.",
            lambda a, t: softmax(a, axis=0) - t,
        ),
        Mistake(
            "wrong axis",
            "The powers are divided by their sum over the whole batch; every example has a sum of 1.",
            lambda a, t: np.exp(a) / np.exp(a).sum() - t,
        ),
        Mistake(
            "sigmoid instead of softmax",
            "You use sigmoids, each output by itself; a softmax divides by the sum over the classes.",
            lambda a, t: sigmoid(a) - t,
        ),
        Mistake("net input compared", "The net input is compared with the target.", lambda a, t: a - t),
        Mistake("target forgotten", "You return the output alone; the target is missing.", lambda a, t: softmax(a)),
    ),
    (
        "Write ln oₖ = aₖ − ln Σ e^(a) before you differentiate.",
        "The derivative of ln Σ e^(a) by aₖ is a quantity that you know already.",
        "Use Σ t = 1. The result is as simple as that of a linear unit with the squared error.",
    ),
    examples=lambda a, t: len(a),
    error=_softmax_error,
    by=(0,),
    extreme=(
        lambda rng, size: (
            np.asarray([[1000.0, 990.0, -1000.0], [0.0, 1.0, 2.0]]),
            np.asarray([[0, 1.0, 0], [1, 0, 0]]),
        ),
        "Right for moderate net inputs, but e^1000 overflows: subtract the largest net input of every example "
        "first, which changes nothing in the quotient.",
    ),
)

# --- shared weights ---------------------------------------------------------------------------------------------------


def _draw_shared(rng, size):
    positions, k = size() + 2, size()
    return rng.normal(size=positions + k - 1), rng.normal(size=positions)


def _windows(x, d):
    return np.lib.stride_tricks.sliding_window_view(x, len(x) - len(d) + 1)


def _shared_error(x, delta, w):
    positions = jnp.arange(len(delta))
    windows = x[positions[:, None] + jnp.arange(len(w))[None, :]]
    net_input = windows @ w
    return jnp.sum(delta * net_input)


WEIGHT_SHARING = Task(
    "weight_sharing",
    "Shared weights",
    "One set of weights w (K,) is used at every position of a signal x (M,): the net input at position i is "
    "aᵢ = Σₖ wₖ xᵢ₊ₖ, for i = 0 … M − K. With the error signals δᵢ = ∂E/∂aᵢ, an array (M − K + 1,), write "
    "`weight_sharing(x, delta)` that returns ∂E/∂w (K,).",
    ("x", "delta"),
    _draw_shared,
    lambda x, d: d @ _windows(x, d),
    (
        Mistake(
            "one position",
            "Only the last position counts: the entries are overwritten instead of added up.",
            lambda x, d: d[-1] * _windows(x, d)[-1],
        ),
        Mistake(
            "one position",
            "Only the first position counts; a shared weight collects the contributions of all positions.",
            lambda x, d: d[0] * _windows(x, d)[0],
        ),
        Mistake(
            "mean instead of sum",
            "You take the mean over the positions; the contributions of all uses of a weight add up.",
            lambda x, d: d @ _windows(x, d) / len(d),
        ),
        Mistake(
            "not summed",
            "Every position has its separate gradient; the weight is the same everywhere, so they are added up.",
            lambda x, d: d[:, None] * _windows(x, d),
        ),
        Mistake(
            "reversed",
            "The entries are right, in reverse order: this is the gradient of a convolution, whose kernel is flipped.",
            lambda x, d: (d @ _windows(x, d))[::-1],
        ),
        Mistake(
            "error signals reversed",
            "The error signals are reversed: δᵢ belongs to the window that begins at i.",
            lambda x, d: d[::-1] @ _windows(x, d),
        ),
        Mistake(
            "input forgotten",
            "The inputs are forgotten: each contribution is δᵢ times the input that the weight carries there.",
            lambda x, d: np.full(len(x) - len(d) + 1, d.sum()),
        ),
    ),
    (
        "First treat the weights of each position as separate ones: what is ∂E/∂w there?",
        "Then they are one and the same weight: a change of it acts at every position at once, and the effects add up.",
        "wₖ meets the input xᵢ₊ₖ at position i. The sum runs over i.",
    ),
    error=lambda x, delta, w: _shared_error(x, delta, w),
    by=(2,),
)

# --- through time -----------------------------------------------------------------------------------------------------


def _draw_time(rng, size):
    steps = size() + 2
    signs = rng.choice([-1.0, 1.0], size=2)
    w, r = signs * rng.uniform(0.5, 1.2, size=2)
    return rng.normal(size=steps), float(w), float(r), rng.normal(size=steps)


def _time_error(x, w, r, target):
    h, error = jnp.zeros(()), jnp.zeros(())
    for t in range(len(x)):
        h = jnp.tanh(w * x[t] + r * h)
        error = error + 0.5 * (target[t] - h) ** 2
    return error


def _through_time(x, w, r, target, *, path=1.0, slope="everywhere", only_last=False, weight=True, shifted=True):
    """The gradient, with mistakes as options: ∂E/∂w and ∂E/∂r."""
    h = [0.0]
    for value in x:
        h.append(np.tanh(w * value + r * h[-1]))
    h = np.asarray(h)
    later = dw = dr = 0.0
    for t in reversed(range(len(x))):
        error = h[t + 1] - target[t] if not only_last or t == len(x) - 1 else 0.0
        here = 1.0 if slope == "nowhere" else 1 - h[t + 1] ** 2
        on_path = here if slope == "everywhere" else 1.0
        delta = here * error + on_path * path * later
        dw, dr = dw + delta * x[t], dr + delta * (h[t] if shifted else h[t + 1])
        later = (r if weight else 1.0) * delta
    return np.asarray([dw, dr])


def _mistaken(**options):
    return lambda x, w, r, target: _through_time(x, w, r, target, **options)


THROUGH_TIME = Task(
    "through_time",
    "Backpropagation through time",
    "A unit with a connection to itself, h(t) = tanh(w x(t) + r h(t − 1)) with h(−1) = 0, should follow a target: "
    "E = ½ Σ (target(t) − h(t))². Write `through_time(x, w, r, target)` for x and target (T,) and numbers w and r, "
    "that returns the two numbers ∂E/∂w and ∂E/∂r, as a tuple or an array.",
    ("x", "w", "r", "target"),
    _draw_time,
    _mistaken(),
    (
        Mistake(
            "path missing",
            "The path through time is missing: h(t) also acts on h(t + 1), through the weight r.",
            _mistaken(path=0.0),
        ),
        Mistake(
            "last error only",
            "Only the error of the last step counts; an error arrives at every step.",
            _mistaken(only_last=True),
        ),
        Mistake(
            "derivative forgotten",
            "φ′ is forgotten: the error passes tanh at every step on its way back.",
            _mistaken(slope="nowhere"),
        ),
        Mistake(
            "derivative forgotten",
            "φ′ is forgotten on the path through time: what arrives from the next step passes tanh here too.",
            _mistaken(slope="of the error"),
        ),
        Mistake(
            "weight forgotten",
            "The error of the next step arrives without the weight r that it travelled through.",
            _mistaken(weight=False),
        ),
        Mistake(
            "wrong state",
            "∂E/∂r uses h(t) where h(t − 1) belongs: the input that r carries at step t is the previous state.",
            _mistaken(shifted=False),
        ),
        Mistake(
            "exchanged",
            "Both numbers are right, in the wrong order: first ∂E/∂w, then ∂E/∂r.",
            lambda *arguments: _through_time(*arguments)[::-1],
        ),
        Mistake(
            "path counted twice",
            "The path through time is counted twice.",
            _mistaken(path=2.0),
        ),
        Mistake(
            "one step",
            "Only the last step counts: w and r are used at every step, and the contributions add up.",
            lambda x, w, r, target: _through_time(x, w, r, target) - _without_last(x, w, r, target),
        ),
    ),
    (
        "Unrolled in time this is a deep network with the same w and r in every layer: run it forward first and store "
        "every h(t).",
        "Go back from the last step. δ(t) = ∂E/∂a(t) has two sources: the error of this step, and δ(t + 1) through r.",
        "w and r are shared by all steps: their gradients are sums over t of δ(t) times what each carries at that "
        "step.",
    ),
    error=_time_error,
    by=(1, 2),
)


def _without_last(x, w, r, target):
    """The contributions of all steps but the last."""
    h = [0.0]
    for value in x:
        h.append(np.tanh(w * value + r * h[-1]))
    delta = (1 - h[-1] ** 2) * (h[-1] - target[-1])
    return _through_time(x, w, r, target) - delta * np.asarray([x[-1], h[-2]])
