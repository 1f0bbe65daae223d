"""Published results on the rules: the sweeps that repeat them, and the claims that are tested."""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import xarray as xr

import bpjax as bp
from bpjax import theory
from experiments.learning_rules.problems import LINEAR_ERROR, LINEAR_EXAMPLES, Data, Entry, Problem, digits, linear
from experiments.learning_rules.tuning import SHARE, Job, Summary, summary_of

BACKPROP, FEEDBACK = "backprop", "feedback alignment"


class Claim(NamedTuple):
    """A published statement and the result here."""

    source: str
    statement: str
    found: str
    verdict: str  # "yes", "no", or "within noise" if the order differs but the intervals overlap


def yes(holds) -> str:
    """The verdict "yes" or "no"."""
    return "yes" if holds else "no"


def in_order(*found: Summary) -> str:
    """Whether the means ascend; "within noise" if they do not, but the intervals of such pairs overlap."""
    pairs = list(zip(found, found[1:], strict=False))
    if all(a.mean <= b.mean for a, b in pairs):
        return "yes"
    return "within noise" if all(a.low <= b.high for a, b in pairs) else "no"


def repeated(starts: int, epochs: int, spiking_epochs: int) -> list[Job]:
    """All sweeps that repeat published results.

    Args:
        starts: initial weights, if the paper does not say.
        epochs: on the digits, for the rules whose feedback weights learn.
        spiking_epochs: of the spiking network; 1,000 in its paper.
    """
    spiking = spytorch(starts, spiking_epochs)
    return [*spiking, *learning_feedback(starts, epochs), *from_zeros(starts), shallow(starts), *lillicrap()]


def lillicrap() -> list[Job]:
    """Lillicrap et al. 2016, task 1: η = 10⁻³, B from U(±0.5)."""
    problem = linear(starts=20)._replace(rates=(1e-3,))
    rules = bp.backprop, functools.partial(bp.feedback_alignment, weights=bp.uniform(0.5))
    return [
        Job("linear, as published", problem, Entry(name, rule(problem.network, problem.loss), problem.network))
        for name, rule in zip((BACKPROP, FEEDBACK), rules, strict=True)
    ]


DECAY = 0.998
"""λ of Kolen & Pollack: in 60 epochs, 1,260 steps, the difference of B and W shrinks to λ^1260 = 0.08."""


def learning_feedback(starts: int, epochs: int) -> list[Job]:
    """Akrout et al. 2019 on the digits: rules whose feedback weights align with W, trained for longer.

    The learning rates are the best ones of the comparison. The decay of Kolen and Pollack is part of the rule and also
    applies to W. The weight mirror learns more slowly than by default, which makes it less noisy.
    """
    problem = digits(starts, epochs)
    network, loss = problem.network, problem.loss

    def decaying(learning_rate):
        return optax.chain(optax.sgd(learning_rate), optax.add_decayed_weights(DECAY - 1))

    rows = (
        (0.01, Entry(FEEDBACK, bp.feedback_alignment(network, loss), network)),
        (0.01, Entry("Kolen-Pollack", bp.rules.kolen_pollack(network, loss, DECAY), network, optimizer=decaying)),
        (0.001, Entry("weight mirror", bp.rules.weight_mirror(network, loss, rate=0.02, decay=0.004), network)),
    )
    return [Job("learning feedback", problem._replace(rates=(rate,)), entry) for rate, entry in rows]


def without_hidden(runs: xr.Dataset) -> Summary:
    """The summary of `shallow`."""
    job = shallow(runs.sizes["start"])
    return summary_of(job.problem, BACKPROP, "", runs)


def shallow(starts: int) -> Job:
    """The digits without a hidden layer, tuned like the other networks."""
    network = bp.dense(10)
    problem = digits(starts)._replace(network=network)
    return Job("no hidden layer", problem, Entry(BACKPROP, bp.backprop(network, problem.loss), network))


def from_zeros(starts: int) -> list[Job]:
    """Nøkland 2016: a deep tanh network with zero initial weights; 10 hidden layers of 64 units, on the digits."""
    network = bp.mlp((64,) + (64,) * 10 + (10,), bp.tanh, weights=bp.layers.zeros)
    problem = digits(starts, epochs=20)._replace(network=network, rates=(1e-3, 3e-3))
    rules = {BACKPROP: bp.backprop, "direct feedback": bp.rules.direct_feedback}
    return [
        Job("from zero weights", problem, Entry(name, rule(network, problem.loss), network), False)
        for name, rule in rules.items()
    ]


def spytorch(starts: int, epochs: int) -> list[Job]:
    """SpyTorch 1 (Neftci, Mostafa & Zenke 2019): 100-4-2, with the surrogate and the true slope (0) of a spike."""
    task = bp.tasks.spike_patterns()
    batch = task.present(jax.random.key(0))

    def weights(key, shape, dtype):  # 7 (1 − β) / √n, β = e^(−dt/τ)
        return 7 * (1 - math.exp(-1 / 10)) / math.sqrt(shape[0]) * jax.random.normal(key, shape, dtype)

    def accuracy(output, target):
        return jnp.mean(output.argmax(axis=-1) == target)

    made = []
    for name, fire, own in (
        ("surrogate slope", bp.layers.superspike, starts),
        ("true slope", bp.layers.heaviside, 2),
    ):
        hidden = bp.layers.leaky_integrate_and_fire(4, fire=fire, weights=weights)
        network = bp.chain(
            bp.unroll(hidden), bp.unroll(bp.layers.leaky_integrator(2, weights=weights)), bp.layers.global_max_pool
        )
        loss = bp.losses.batch_mean(bp.softmax_cross_entropy)
        problem = Problem(
            name="spikes",
            network=network,
            loss=loss,
            in_shape=task.in_shape,
            data=lambda start: Data(batch, batch, batch),
            batch_size=None,
            fresh=None,
            epochs=epochs,
            rates=(2e-3,),
            starts=own,
            measure=accuracy,
            level=0.0,
        )
        entry = Entry(name, bp.backprop(network, loss), network, optimizer=optax.adam)
        made.append(Job("spikes", problem, entry, recorded=False))
    return made


# --- Claims ----------------------------------------------------------------------------------------------------------


def claims(
    repeats: dict[str, dict[str, xr.Dataset]], summaries: list[Summary], tuned: dict[str, xr.Dataset]
) -> list[Claim]:
    """Test every published statement for which there are results.

    Args:
        repeats: {name of the published result: {rule: sweep}}.
        summaries: of the comparison.
        tuned: {rule: sweep of the comparison on the digits}; statements about missing rules are left out.
    """
    found = [
        *linear_claims(repeats["linear, as published"]),
        *feedback_claims(repeats["learning feedback"]),
        *zeros_claims(repeats["from zero weights"]),
        *spike_claims(repeats["spikes"]),
    ]
    on_digits = {s.rule: s for s in summaries if s.problem == "digits"}
    if {BACKPROP, FEEDBACK} <= on_digits.keys():
        found += digits_claims(on_digits, without_hidden(repeats["no hidden layer"][BACKPROP]))
    if {BACKPROP, "delayed"} <= tuned.keys():
        found.append(delay_claim(tuned))
    return found


def normalised(curve: xr.DataArray) -> xr.DataArray:
    """Error of an epoch on the linear task ÷ error of the output 0."""
    return curve / (LINEAR_ERROR * LINEAR_EXAMPLES)


def linear_claims(runs: dict[str, xr.Dataset]) -> list[Claim]:
    """Lillicrap's linear task."""
    source = "Lillicrap 2016, linear"
    errors = {name: normalised(run.curve.isel(learning_rate=0)) for name, run in runs.items()}
    angle = runs[FEEDBACK].angle.isel(learning_rate=0, layer=0).mean("start")
    by_300 = float(angle.interp(step=300))
    final = {name: error.isel(epoch=-1).mean("start").item() for name, error in errors.items()}
    return [
        Claim(source, "feedback alignment within 35° of backprop by 300 examples", f"{by_300:.1f}°", yes(by_300 < 35)),
        Claim(
            source,
            "and faster than backprop",
            f"error {final[FEEDBACK]:.4f} and {final[BACKPROP]:.3f} after 2,000",
            yes(final[FEEDBACK] < final[BACKPROP]),
        ),
    ]


def feedback_claims(runs: dict[str, xr.Dataset]) -> list[Claim]:
    """Final angles of the hidden layers; the angle of the output layer is 0 for all of these rules."""
    found = []
    for name in ("Kolen-Pollack", "weight mirror"):
        last = runs[name].angle.isel(learning_rate=0, step=-1, layer=slice(0, -1)).mean("start").values
        shown = ", ".join(f"{angle:.1f}°" for angle in last)
        found.append(
            Claim("Akrout 2019, logs", f"{name} ends within 5° of backprop (3.1°, 3.2°)", shown, yes(max(last) <= 5))
        )
    angle = runs[FEEDBACK].angle.isel(learning_rate=0).mean("start")
    least, last = angle.min("step").values[:-1], angle.isel(step=-1).values[:-1]
    statement = "feedback alignment falls below 60° and ends between 25° and 45°"
    shown = "; ".join(f"layer {l + 1}: {a:.0f}°, {b:.0f}°" for l, (a, b) in enumerate(zip(least, last, strict=True)))
    found.append(Claim("Akrout 2019, logs", statement, shown, yes((least < 60).all() and (abs(last - 35) <= 10).all())))
    return found


def zeros_claims(runs: dict[str, xr.Dataset]) -> list[Claim]:
    """A deep network with zero initial weights."""
    (case,) = [row for row in from_zeros(1) if row.entry.name == BACKPROP]
    params = case.entry.init(jax.random.key(0), case.problem)
    batch = jax.tree.map(lambda a: a[:57], case.problem.data(0).train)
    grads = jax.jit(case.entry.rule.grads)(params, (), batch)[1]
    hidden = max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(grads[:-1]))
    best = {name: run.test.mean("start").max().item() for name, run in runs.items()}
    source = "Nøkland 2016"
    return [
        Claim(source, "with zero weights no error reaches a hidden layer", f"largest {hidden:g}", yes(hidden == 0)),
        Claim(
            source,
            "10 × 64 tanh from zeros: direct feedback trains it",
            f"accuracy {best['direct feedback']:.3f}, backprop {best[BACKPROP]:.3f}",
            yes(best["direct feedback"] > 0.8 > best[BACKPROP]),
        ),
    ]


def spike_claims(runs: dict[str, xr.Dataset]) -> list[Claim]:
    """The training accuracies of SpyTorch, one run each, within two standard deviations of ours.

    The standard deviation is that of our runs, or the binomial one of the accuracy on 256 labels if that is larger.
    """
    found = []
    for name, reported in (("true slope", 0.512), ("surrogate slope", 0.859)):
        values = runs[name].test.isel(learning_rate=0).values
        deviation = max(np.std(values, ddof=1), math.sqrt(reported * (1 - reported) / 256))
        near = abs(values.mean() - reported) < 2 * deviation * math.sqrt(1 + 1 / len(values))
        ours = f"{values.mean():.3f}, {len(values)} runs from {values.min():.3f} to {values.max():.3f}"
        found.append(Claim("SpyTorch 1", f"{name}: accuracy {reported} (one run)", ours, yes(near)))
    return found


def digits_claims(found: dict[str, Summary], without: Summary) -> list[Claim]:
    """The orderings of accuracies that papers report on MNIST, here on the digits."""
    feedback, backprop = found[FEEDBACK], found[BACKPROP]
    made = [
        Claim(
            "orderings on MNIST",
            "no hidden layer < feedback alignment ≤ backprop",
            f"{without.mean:.3f}, {feedback.mean:.3f}, {backprop.mean:.3f}",
            in_order(without, feedback, backprop),
        )
    ]
    signs = [s for rule, s in found.items() if rule.startswith("sign symmetry")]
    if signs:
        orders = {in_order(feedback, s, backprop) for s in signs}
        made.append(
            Claim(
                "orderings on MNIST",
                "sign symmetry between feedback alignment and backprop",
                ", ".join(f"{s.rule.split()[-1]} {s.mean:.3f}" for s in signs),
                next(order for order in ("no", "within noise", "yes") if order in orders),
            )
        )
    return made


def delay_claim(tuned: dict[str, xr.Dataset]) -> Claim:
    """The largest learning rate at which delayed backprop learns, against the limits on a quadratic."""

    def largest(name):
        learnt = (~tuned[name].diverged & (tuned[name].test > 0.8)).mean("start") >= SHARE
        return learnt.learning_rate.where(learnt).max().item()

    ours, limit = largest("delayed") / largest(BACKPROP), theory.delay_limit(2) / theory.delay_limit(0)
    statement = f"delayed by 2, backprop fails above {limit:.2f} of its limit of η"
    return Claim(
        "delay limits",
        statement,
        f"{ours:.2g} of it, with rates √10 apart",
        yes(abs(math.log10(ours / limit)) <= 0.25),
    )
