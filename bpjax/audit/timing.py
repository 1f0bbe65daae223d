"""Receipts of plasticity rules: which change a pair of spikes causes, found by running the rule on scripted spikes."""

import sys
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bpjax.audit.probe import MakeRule
from bpjax.gradcheck.report import to_plain_data
from bpjax.layers.dense import Affine
from bpjax.layers.layer import Kind, Layer
from bpjax.losses import Loss, squared_error
from bpjax.rules.rule import Rule
from bpjax.util.checks import check_counts, check_flag, check_function, check_instance, check_key
from bpjax.util.compilation import FAST_COMPILATION
from bpjax.util.float64 import float64_on_host
from bpjax.util.terminal import write
from bpjax.util.text_table import table

ROUNDING = 1e-12
"""Changes whose difference is below this share of the largest one are equal."""


class TimingReceipt(NamedTuple):
    """What a plasticity rule makes of a pair of spikes, one before (pre) and one behind (post) the synapse."""

    rule: str
    lags: tuple[int, ...]  # time steps between the two spikes
    pre_first: tuple[float, ...]  # weight change, by lag
    post_first: tuple[float, ...]
    simultaneous: float  # weight change of two spikes at the same time step
    at_once: bool  # whether the change of a pair is complete at its second spike
    pairs_add: bool  # whether three spikes change the weight by the sum of their pairs; not for triplets
    nearest: bool  # whether three spikes change it by the sum of the pairs of neighbours
    target: bool  # whether the changes depend on the target, as those of a rule with a reward do

    @property
    def hebbian(self) -> bool:
        """Whether pre before post strengthens the synapse and post before pre weakens it, at every lag."""
        return min(self.pre_first) > 0 > max(self.post_first)

    @property
    def anti_hebbian(self) -> bool:
        """Whether it is the other way round, as with exchanged traces or exchanged neurons."""
        return max(self.pre_first) < 0 < min(self.post_first)

    @property
    def verdict(self) -> str:
        """One sentence: the learning window and what else a change depends on."""
        if not any((*self.pre_first, *self.post_first, self.simultaneous)):
            return "no pair of spikes changes the weight."
        found = [self._window()]
        found.append("spikes at the same time change nothing" if self.simultaneous == 0 else self._same_time())
        found.append("a pair is complete at its second spike" if self.at_once else "a pair waits for a later spike")
        combined = "all pairs add up" if self.pairs_add else "only pairs of neighbouring spikes count"
        found.append(combined if self.pairs_add or self.nearest else "three spikes are more than their pairs")
        found.append("the changes depend on the target" if self.target else "the target plays no part")
        return "; ".join(found) + "."

    def _window(self) -> str:
        if self.hebbian:
            return "pre before post strengthens, post before pre weakens"
        if self.anti_hebbian:
            return (
                "pre before post weakens, post before pre strengthens: the reverse of spike-timing-dependent plasticity"
            )
        return (
            f"no window of one sign: {self.pre_first[0]:+.3g} for pre first, {self.post_first[0]:+.3g} for post first"
        )

    def _same_time(self) -> str:
        return f"spikes at the same time change the weight by {self.simultaneous:+.3g}"

    def to_dict(self) -> dict:
        """Plain data, ready for JSON."""
        return {key: to_plain_data(entry) for key, entry in self._asdict().items()} | {"verdict": self.verdict}

    def __repr__(self) -> str:
        return f"TimingReceipt({self.rule}: {self.verdict})"

    def __str__(self) -> str:
        rows = zip(self.lags, self.pre_first, self.post_first, strict=True)
        cells = [(str(lag), f"{pre:+.8f}", f"{post:+.8f}") for lag, pre, post in rows]
        header = ("steps apart", "pre first", "post first")
        return "\n".join([f"timing receipt of {self.rule}", "", *table(header, cells), self.verdict])


def timing_receipt(
    make: MakeRule,
    loss: Loss = squared_error,
    lags: tuple[int, ...] = (1, 3, 10, 20),
    *,
    key,
    show: bool = True,
) -> TimingReceipt:
    """Run a plasticity rule on scripted spikes of one synapse; print and return the weight changes.

    `make(network, loss)` makes the rule of a network with one input, one weight and one unit, whose output spikes are
    scripted: `bp.audit.timing_receipt(bp.rules.stdp, key=key)`. The weight change is the negative direction of the
    rule, at learning rate 1, in float64. The target is the scripted output, and a second, silent example misses its
    target by one spike: a rule with a reward finds the spikes of the first example better than the mean. What is tried:

        pairs         pre before post and post before pre, at every lag; both at the same time
        at once       the sequence ends with the second spike of a pair
        pairs add     pre, post, pre, post: the sum of all pairs, or of the pairs of neighbouring spikes
        target        a pair with a target that the scripted output misses

    Signs, traces or neurons that are exchanged show as a window of the wrong sign.

    Args:
        make: (network, loss) -> Rule, for chains of spiking layers.
        loss: of the scripted spikes.
        lags: time steps between the spikes of a pair.
        key: for the rule's state.
        show: print it.

    Raises:
        ValueError: `make` is not a function or does not return a Rule, `loss` is not a Loss, `lags` are not integers
            above 0.
    """
    who = "timing_receipt"
    check_function(who, "make", make)
    check_instance(who, "loss", loss, Loss, "bp.squared_error")
    lags = check_counts(who, "lags", lags)
    check_key(who, "key", key)
    check_flag(who, "show", show)
    with float64_on_host():
        result = _found(_Synapse(who, make, loss, key), lags)
    if show:
        write(str(result), sys.stdout)
    return result


class _Synapse:
    """One synapse between two neurons with scripted spikes."""

    def __init__(self, who: str, make: MakeRule, loss: Loss, key):
        self.who, self.make, self.loss, self.key = who, make, loss, key
        self.name = ""

    def changes(self, *trials: "_Trial", length: int) -> list[float]:
        """The weight change of each trial, in a sequence of this length, as one compiled program."""
        spikes = np.zeros((len(trials), 2, 2, length))  # trial, pre or post, example, time
        for trial, of_trial in zip(trials, spikes, strict=True):
            of_trial[0, 0, list(trial.pre)] = of_trial[1, 0, list(trial.post)] = 1.0
        target = spikes[:, 1].copy()
        target[:, 1, 0] = 1.0
        missed = np.array([trial.missed for trial in trials])
        target[missed, 0] = 1 - target[missed, 0]
        arrays = map(jnp.asarray, (spikes[:, 0, :, :, None], spikes[:, 1, :, :, None], target[..., None]))
        found = jax.jit(jax.vmap(self._change), compiler_options=FAST_COMPILATION)(*arrays)
        return [float(change) for change in found]

    def _change(self, pre, post, target):
        network = _scripted(post)
        params, _ = network.init(self.key, pre.shape[1:])
        rule = self.make(network, self.loss)
        if not isinstance(rule, Rule):
            raise ValueError(
                f"`{self.who}` expected `make(network, loss)` to return a Rule, got {type(rule).__name__}."
            )
        self.name = rule.name
        return -rule.grads(params, rule.init(self.key, params), (pre, target))[1].w[0, 0]


class _Trial(NamedTuple):
    pre: tuple[int, ...]  # time steps of the presynaptic spikes
    post: tuple[int, ...]
    missed: bool = False  # whether the target is not the scripted output


def _scripted(spikes) -> Layer:
    """One spiking unit whose output is `spikes` (2, T, 1), whatever its input."""

    def init(key, in_shape):
        return Affine(jnp.ones((1, 1))), in_shape

    def forward(params, x):
        return spikes[: len(x)], x

    def backward(params, x, dy):
        return jax.tree.map(jnp.zeros_like, params), jnp.zeros_like(x)

    return Layer("scripted", init, forward, backward, Kind.SPIKING)


def _found(synapse: _Synapse, lags: tuple[int, ...]) -> TimingReceipt:
    """Try all pairs."""
    lag = lags[0]
    pre_first, post_first = [_Trial((0,), (n,)) for n in lags], [_Trial((n,), (0,)) for n in lags]
    others = [
        _Trial((1,), (1,)),
        _Trial((0,), (lag,), missed=True),
        _Trial((0, 3 * lag), (lag, 4 * lag)),  # three pairs of neighbours, and one of the first and the last spike
        _Trial((0,), (lag,)),
        _Trial((3 * lag,), (lag,)),
        _Trial((3 * lag,), (4 * lag,)),
        _Trial((0,), (4 * lag,)),
    ]
    found = synapse.changes(*pre_first, *post_first, *others, length=max(2 * max(lags), 4 * lag) + 1)
    ahead, behind, (same_time, missed, four, *pairs) = found[: len(lags)], found[len(lags) : -7], found[-7:]
    ends = synapse.changes(pre_first[0], post_first[0], length=lag + 1)
    tolerance = ROUNDING * max(map(abs, (*ahead, *behind)))
    return TimingReceipt(
        rule=synapse.name,
        lags=lags,
        pre_first=tuple(ahead),
        post_first=tuple(behind),
        simultaneous=same_time,
        at_once=ends[0] * ahead[0] > 0 and ends[1] * behind[0] > 0,
        pairs_add=abs(four - sum(pairs)) <= tolerance,
        nearest=abs(four - sum(pairs[:3])) <= tolerance,
        target=abs(missed - ahead[0]) > tolerance,
    )
