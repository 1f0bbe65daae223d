"""Sequences: after two letters, does a recurrent network complete the four digits, also after letters it never saw?

PDP, chapter 8, pages 358 ff: 5 letters, 30 hidden units with recurrent connections, 3 digits, 25 sequences of two
letters and four digits; 260 sweeps by backpropagation through time with α = 0.9 and weight decay. Not known to us, and
assumed: which digits the letters stand for; weights and biases from ±0.5; the output units not recurrent; no input and
targets while the digits are produced; success when every output is within 0.2; the learning rate and the decay, of
which two each are run.
"""

import functools

import jax
import jax.numpy as jnp

import bpjax as bp
from experiments.common.findings import Finding, one_run, share
from experiments.common.gradients import gradient_agreement
from experiments.internal_representations.family_rows import mean_row
from experiments.internal_representations.pieces import times
from experiments.internal_representations.problem import PDP, Problem, Sweeps
from experiments.internal_representations.protocols import decayed, hold_out, most_active, taught, taught_within

RATES, DECAYS, LIMIT, HIDDEN = (0.01, 0.03), (0.0, 0.0005), 1000, 5
NAME = "5-30-3"
LOSS = taught(bp.squared_error)


@functools.cache
def network(radius: float = 0.5) -> bp.Layer:
    """5-30-3 with recurrent hidden units; the outputs of the last four times.

    Args:
        radius: weights and biases are drawn uniformly from ±radius.
    """
    init = bp.uniform(radius)
    hidden = bp.unroll(bp.layers.stage(bp.chain(bp.dense(30, weights=init, biases=init), bp.sigmoid), 30))
    return bp.chain(hidden, bp.over_positions(bp.dense(3, weights=init, biases=init)), bp.sigmoid, times(2))


def trial(key, learning_rate, decay, new) -> bp.training.Trial:
    """One training in which `new` random sequences are held out."""
    weights_key, choice_key, run_key = jax.random.split(key, 3)
    x, answers = bp.tasks.letter_sequences().present()
    params, _ = network().init(weights_key, x.shape[1:])
    target, chosen = hold_out(choice_key, answers, new)

    def outcome(run):
        right = most_active(network().forward(run.params, x)[0], answers) & chosen[:, None]
        return {"held_out": jnp.sum(right.all(axis=1)), "held_out_digits": jnp.sum(right)}

    return bp.trial(
        bp.backprop(network(), LOSS), decayed(bp.momentum(learning_rate, 0.9), decay), params, (x, target), key=run_key,
        epochs=LIMIT, stops=taught_within(0.2), outcome=outcome,
    )  # fmt: skip


def run(config, key, say) -> Sweeps:
    """Train on all sequences, and on 20 of them."""
    batch = bp.tasks.letter_sequences().present()
    say("comparing the gradient with jax.grad")
    report = gradient_agreement(network(), bp.squared_error, network().init(key, batch[0].shape[1:])[0], batch)

    def on_progress(state):
        say(f"{state.done} of {state.runs} runs" if state.epochs else "compiling")

    seeds = range(config.starts(40, quick=3))
    axes = {"learning_rate": list(RATES), "decay": list(DECAYS), "new": [0, HIDDEN], "seed": seeds}
    return {NAME: bp.sweep(trial, axes, key=key, layout="vmap", receipt=report, progress=on_progress)}


def findings(sweeps: Sweeps) -> list[Finding]:
    """Sweeps until all 25 are right, and how many of 5 new sequences are right after 20."""
    rows = []
    for i, rate in enumerate(RATES):
        for j, decay in enumerate(DECAYS):
            topic = f"sequences, η {rate:g}, " + (f"decay {100 * decay:g} %" if decay else "no decay")
            every, some = (sweeps[NAME].isel(learning_rate=i, decay=j).sel(new=new) for new in (0, HIDDEN))
            solved = every.solved.values
            rows.append(share(topic, f"all 25 learnt in {LIMIT:,} sweeps", int(solved.sum()), len(solved)))
            note = "the learning rate of the chapter is not known to us; the faster of our two is faster than it."
            rows.append(one_run(topic, "sweeps, all 25", 260, solved, every.epochs.values, source=PDP, note=note))
            held_out = some.held_out.values[some.solved.values]
            if len(held_out):
                rows.append(mean_row(topic, f"after 20: new sequences right, of {HIDDEN}", held_out))
                everything = int((held_out == HIDDEN).sum())
                rows.append(share(topic, f"after 20: all {HIDDEN} new ones right", everything, len(held_out)))
                digits = int(some.held_out_digits.values[some.solved.values].sum())
                rows.append(share(topic, "after 20: digits of the new ones right", digits, 4 * HIDDEN * len(held_out)))
    return rows


SEQUENCES = Problem("sequences", run, findings)
