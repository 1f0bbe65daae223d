"""Shift register: do recurrent weights become a ring that passes each bit on?

PDP, chapter 8: networks of 3 and 5 sigmoid units, all connected to all, learn it by backpropagation
through time in fewer than 200 sweeps over the patterns. Not known to us: the learning rate, the initial weights, the
number of steps. Assumed: all 2ⁿ states, two steps, targets at both or at the second only, every output within 0.2.
With a target at the second step only, the state between the two is free: the network may also hold the complement, or
another code.
"""

import itertools

import jax
import jax.numpy as jnp
import numpy as np

import bpjax as bp
from bpjax.results import plots
from experiments.common.findings import Finding, one_run, share
from experiments.common.gradients import gradient_agreement
from experiments.internal_representations.pieces import from_state
from experiments.internal_representations.problem import PDP, Problem, Sweeps
from experiments.internal_representations.protocols import HELD_OUT, taught, taught_within
from experiments.internal_representations.trainings import named_weights

SIZES, RATES, LIMIT, STEPS = (3, 5), (0.1, 0.5), 1000, 2
LOSS = taught(bp.squared_error)
KINDS = ("shifted", "complement", "another code")
BOTH, LAST = "both steps taught", "last step taught"
RERUNS = {3: 89, 5: 121}
"""Sweeps of a public re-run of another task: bits enter one after another, tanh units, a penalty on the weights."""


def network(bits: int, radius: float = 0.5) -> bp.Layer:
    """Units that are all connected to all, run from a state for two steps.

    Args:
        bits: number of units.
        radius: weights and biases are drawn uniformly from ±radius.
    """
    init = bp.uniform(radius)
    units = bp.chain(bp.dense(bits, weights=init, biases=init), bp.sigmoid)
    return from_state(bp.layers.stage(units, bits), STEPS)


def make_trial(bits: int):
    """The trial of a sweep over learning rate and `both`, whether the first of the two steps is taught."""
    layer, (x, states) = network(bits), bp.tasks.shift_register(bits, STEPS).present()

    def trial(key, learning_rate, both):
        weights_key, run_key = jax.random.split(key)
        params, _ = layer.init(weights_key, x.shape[1:])
        target = jnp.where((jnp.arange(STEPS) < STEPS - 1)[:, None] & (both == 0), HELD_OUT, states)
        return bp.trial(
            bp.backprop(layer, LOSS), bp.momentum(learning_rate, 0.9), params, (x, target), key=run_key, epochs=LIMIT,
            stops=taught_within(0.2), outcome=lambda run: named_weights(run.params),
        )  # fmt: skip

    return trial


def run(config, key, say) -> Sweeps:
    """Train both sizes, the smaller only in a quick run."""
    x, states = bp.tasks.shift_register(SIZES[0], STEPS).present()
    say("comparing the gradient with jax.grad")
    layer = network(SIZES[0])
    report = gradient_agreement(layer, bp.squared_error, layer.init(key, x.shape[1:])[0], (x, states))
    results = {}
    for bits in SIZES[:1] if config.quick else SIZES:

        def on_progress(state, bits=bits):
            say(f"{bits} units: {state.done} of {state.runs} runs" if state.epochs else f"{bits} units: compiling")

        axes = {"learning_rate": list(RATES), "both": [0, 1], "seed": range(config.starts(100, quick=10))}
        results[f"{bits} units"] = bp.sweep(
            make_trial(bits),
            axes,
            key=jax.random.fold_in(key, bits),
            layout="vmap",
            receipt=report,
            progress=on_progress,
        )
    return results


def between(w: np.ndarray, b: np.ndarray) -> str:
    """What the state after the first step is: "shifted", its "complement", or "another code".

    Args:
        w: (1 + n, n) or (n, n) weights from the states, and from the silent input.
        b: (n,) biases.
    """
    n = len(b)
    states, target = (np.asarray(a) for a in bp.tasks.shift_register(n, 1).present())
    on = states @ w[:n] + b > 0
    if (on == (target[:, 0] > 0.5)).all():
        return "shifted"
    return "complement" if (on == (target[:, 0] < 0.5)).all() else "another code"


def sizes(sweeps: Sweeps) -> list[int]:
    """The numbers of units that were trained."""
    return [bits for bits in SIZES if f"{bits} units" in sweeps]


def findings(sweeps: Sweeps) -> list[Finding]:
    """Shares solved, sweeps, and the state between the two steps."""
    rows = []
    for bits, both, rate in itertools.product(sizes(sweeps), (1, 0), RATES):
        part = sweeps[f"{bits} units"].sel(both=both).isel(learning_rate=RATES.index(rate))
        solved, epochs = part.solved.values, part.epochs.values
        topic = f"shift register, {bits} units, {BOTH if both else LAST}, η {rate:g}"
        below = int((solved & (epochs < 200)).sum())
        rows.append(share(topic, "solved in fewer than 200 sweeps", below, len(solved), (1, 1), source=PDP))
        epochs_row = one_run(topic, "sweeps to success (re-run of another task)", RERUNS[bits], solved, epochs)
        rows.append(epochs_row._replace(agrees=None))
        if not both:
            kinds = [between(w, b) for w, b in zip(part.w1.values[solved], part.b1.values[solved], strict=True)]
            for kind in KINDS:
                rows.append(share(topic, f"of the solved: {kind} between", kinds.count(kind), len(kinds)))
    return rows


def draw(sweeps: Sweeps, figure) -> None:
    """Recurrent weights of a solved network of each kind."""
    figure.suptitle(
        "Shift register: weights from each unit (row) to each unit (column) in solved networks", fontsize=10
    )
    shown = []
    for bits, both in itertools.product(sizes(sweeps), (1, 0)):
        part = sweeps[f"{bits} units"].sel(both=both).isel(learning_rate=0)
        wanted, title = ("shifted", BOTH) if both else ("complement", f"{LAST}:\nits complement between")
        for w, b in zip(part.w1.values[part.solved.values], part.b1.values[part.solved.values], strict=True):
            if between(w, b) == wanted:
                shown.append((w[:bits], f"{bits} units, {title}"))
                break
    for axis, (w, title) in zip(np.atleast_1d(figure.subplots(1, max(1, len(shown)))), shown, strict=False):
        labels = [f"{i + 1}" for i in range(len(w))]
        plots.hinton(axis, w, None, labels, labels)
        axis.set_title(title, fontsize=9)


SHIFT_REGISTER = Problem("shift register", run, findings, draw, "detectors", 2.6)
