"""Does `bp.momentum` reproduce a published training curve of scikit-learn to the last digits?

scikit-learn's documentation trains `MLPClassifier(random_state=0, max_iter=15)` on all 1,797 handwritten digits
(64-100-10, ReLU, cross entropy, weight decay) without momentum, with momentum and with Nesterov's momentum, and prints
the final error and accuracy of each. Here the hand-written gradient and `bp.momentum` start from the same weights and
receive the same minibatches in the same order, in float64. Nothing is random, so the two error curves must be equal up
to rounding, and both must end at the published digits.

    python -m experiments.scikit_learn_curves        a table (ours, scikit-learn's, published): 20 seconds on two cores

Writes no files. Published: scikit-learn, "Compare Stochastic learning strategies for MLPClassifier", the output shown
for the digits in the documentation of release 0.18.
"""

import functools
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import sklearn
from rich.console import Console
from rich.table import Table
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import MinMaxScaler
from sklearn.utils import shuffle

import bpjax as bp
from experiments.common.command import command
from experiments.common.config import Settings

HIDDEN, BATCH, EPOCHS, SEED = 100, 200, 15, 0
LEARNING_RATE, DECAY = 0.2, 1e-4
TOLERANCE = 1e-9
"""Largest relative difference between two errors that are called equal; rounding makes some 4 · 10⁻¹⁶."""
DIGITS_PRINTED = 6
"""Decimals of the published numbers."""


class Form(NamedTuple):
    """One way to use momentum, and what scikit-learn publishes for it."""

    name: str
    form: Literal["heavy_ball", "nesterov"]  # as `bp.momentum` names it
    momentum: float
    published_loss: float  # error of the last of 15 epochs
    published_accuracy: float  # share of the 1,797 examples classified rightly


FORMS = (
    Form("no momentum", "heavy_ball", 0.0, 0.243802, 0.956038),
    Form("momentum 0.9", "heavy_ball", 0.9, 0.041297, 0.992766),
    Form("Nesterov 0.9", "nesterov", 0.9, 0.042898, 0.993879),
)


class Curve(NamedTuple):
    """The same training here and there."""

    name: str
    ours: np.ndarray  # (epochs,) error of each epoch, put together from its minibatches, weight decay included
    theirs: np.ndarray  # (epochs,) scikit-learn's `loss_curve_`
    difference: float  # largest |ours − theirs| / theirs
    accuracy: float  # ours after the last epoch
    their_accuracy: float
    published_loss: float  # after 15 epochs
    published_accuracy: float
    version: str  # of the scikit-learn that made `theirs`

    @property
    def agrees(self) -> bool:
        """Whether ours equals theirs."""
        return self.difference < TOLERANCE

    @property
    def as_published(self) -> bool:
        """Whether ours and theirs end with the published digits."""
        ends = [(self.ours[-1], self.accuracy), (self.theirs[-1], self.their_accuracy)]
        published = (self.published_loss, self.published_accuracy)
        return all(tuple(np.round(end, DIGITS_PRINTED)) == published for end in ends)


class Start(NamedTuple):
    """All that scikit-learn draws at random, as NumPy arrays."""

    params: tuple  # weights and biases, as `network()` has them
    order: np.ndarray  # (epochs, 1797) the examples in the order in which an epoch presents them


@functools.cache
def data() -> tuple[np.ndarray, np.ndarray]:
    """All digits: pixels (1797, 64), each scaled to 0 … 1 by its own smallest and largest value, and labels (1797,)."""
    pixels, labels = load_digits(return_X_y=True)
    return np.asarray(MinMaxScaler().fit_transform(pixels)), np.asarray(labels)


def network() -> bp.Layer:
    """64-100-10, the outputs as logits."""
    return bp.mlp((64, HIDDEN, 10), bp.relu)


def classifier(**arguments) -> MLPClassifier:
    """scikit-learn's network, trained. Its warning that more epochs would help is expected and not shown."""
    setting: dict[str, Any] = {"hidden_layer_sizes": (HIDDEN,), "alpha": DECAY, "batch_size": BATCH, "solver": "sgd"}
    theirs = MLPClassifier(**setting, **arguments)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return theirs.fit(*data())


def train_theirs(form: Form, epochs: int) -> MLPClassifier:
    """The published training. It never stops early, in 15 epochs or more."""
    return classifier(
        learning_rate_init=LEARNING_RATE,
        momentum=form.momentum,
        nesterovs_momentum=form.form == "nesterov",
        max_iter=epochs,
        n_iter_no_change=epochs,
        random_state=SEED,
    )


def start(epochs: int) -> Start:
    """The initial weights and the shuffles that `random_state=SEED` gives.

    A training at a rate of 10⁻³⁰⁰ leaves the weights as they were drawn, to the last bit. Without shuffles it leaves
    its random numbers where the first shuffle of another training finds them.
    """
    stream = np.random.RandomState(SEED)
    untrained = classifier(learning_rate_init=1e-300, momentum=0.0, max_iter=1, shuffle=False, random_state=stream)
    hidden, output = (bp.layers.Affine(w, b) for w, b in zip(untrained.coefs_, untrained.intercepts_, strict=True))
    order = [np.arange(len(data()[0]))]
    for _ in range(epochs):
        # an epoch shuffles the order of the one before
        order.append(np.asarray(shuffle(order[-1], random_state=stream)))
    return Start((hidden, (), output), np.array(order[1:]))


def decayed(rule: bp.Rule, decay: float) -> bp.Rule:
    """The rule with scikit-learn's weight decay: E + λ Σ w² / 2N, so that dw + λ w / N. Biases do not decay.

    N is the number of examples in the batch: the smaller last one of an epoch lets weights decay a little more.
    """

    def grads(params, rule_state, batch):
        value, dparams, rule_state = rule.grads(params, rule_state, batch)
        share = decay / len(batch[0])
        squares = sum(jnp.sum(p.w**2) for p in params if isinstance(p, bp.layers.Affine))
        dparams = tuple(
            dp._replace(w=dp.w + share * p.w) if isinstance(p, bp.layers.Affine) else dp
            for p, dp in zip(params, dparams, strict=True)
        )
        return value + 0.5 * share * squares, dparams, rule_state

    return bp.Rule(f"{rule.name} with weight decay", rule.init, grads)


def train_ours(form: Form, begin: Start) -> tuple[np.ndarray, float]:
    """The error of each epoch (epochs,), and the accuracy at the end, in float64."""
    net = network()
    rule = decayed(bp.backprop(net, bp.losses.batch_mean(bp.softmax_cross_entropy)), DECAY)

    def train(params, order, x, target):
        optimizer = bp.momentum(LEARNING_RATE, form.momentum, form=form.form)
        step = bp.make_train_step(rule, optimizer)
        examples, rest = len(x), len(x) % BATCH

        def present(state, rows):
            return step(state, (x[rows], target[rows]))

        def epoch(state, order):
            state, whole = jax.lax.scan(present, state, order[: examples - rest].reshape(-1, BATCH))
            state, last = present(state, order[examples - rest :])  # 1,797 = 8 · 200 + 197
            return state, (whole.value.sum() * BATCH + last.value * rest) / examples

        state, errors = jax.lax.scan(epoch, bp.training.TrainState(params, optimizer.init(params), ()), order)
        return state.params, errors

    with jax.enable_x64(True):
        x, target = (jnp.asarray(part) for part in data())
        params, errors = jax.jit(train)(*jax.tree.map(jnp.asarray, begin), x, target)
        return np.asarray(errors), bp.accuracy(net, params, (x, target))


def largest_difference(ours: np.ndarray, theirs: np.ndarray) -> float:
    """The largest |ours − theirs| / theirs; infinite where ours is not a number."""
    return float(np.nan_to_num(np.abs(ours - theirs) / theirs, nan=np.inf).max())


def curves(forms: Iterable[Form] = FORMS, epochs: int = EPOCHS) -> list[Curve]:
    """Each form of momentum trained here and by scikit-learn, from the same weights through the same minibatches.

    scikit-learn clips probabilities to 2.2 · 10⁻¹⁶ from 0 and 1 before it takes their logarithm, we do not: the
    curves would part if an example's error exceeded 36 nats, which happens nowhere here.
    """
    begin, result = start(epochs), []
    for form in forms:
        ours, accuracy = train_ours(form, begin)
        fitted = train_theirs(form, epochs)
        theirs = np.array(fitted.loss_curve_)
        difference, their_accuracy = largest_difference(ours, theirs), float(fitted.score(*data()))
        published = form.published_loss, form.published_accuracy
        result.append(
            Curve(form.name, ours, theirs, difference, accuracy, their_accuracy, *published, sklearn.__version__)
        )
    return result


def verdict(curve: Curve) -> str:
    """What one training says, in a sentence."""
    agreement = (
        f"equals scikit-learn {curve.version} over {len(curve.ours)} epochs to {TOLERANCE:g}"
        if curve.agrees
        else f"DIFFERS from scikit-learn {curve.version}, by {curve.difference:.1e}"
    )
    ending = "ends at the published digits" if curve.as_published else "DOES NOT end at the published digits"
    return f"{curve.name}: {agreement}, and {ending}."


def table(results: list[Curve]) -> Table:
    """The answer: what each training ends with, here, there and in print."""
    shown = Table(
        title=f"Digits, 64-{HIDDEN}-10, minibatches of {BATCH}: the last of {EPOCHS} epochs", title_justify="left"
    )
    for column in ("", "by", "error", "accuracy", "largest difference of the curves"):
        shown.add_column(column, justify="right" if column in ("error", "accuracy") else "left")
    for curve in results:
        rows = (
            (curve.name, "bpjax", curve.ours[-1], curve.accuracy, f"{curve.difference:.1e}, relative"),
            ("", f"scikit-learn {curve.version}", curve.theirs[-1], curve.their_accuracy, ""),
            ("", "published", curve.published_loss, curve.published_accuracy, ""),
        )
        for name, by, error, accuracy, difference in rows:
            shown.add_row(name, by, f"{error:.{DIGITS_PRINTED}f}", f"{accuracy:.{DIGITS_PRINTED}f}", difference)
        shown.add_section()
    return shown


@dataclass(frozen=True)
class Config(Settings):
    """Only the precision can be set: all other numbers are those of the published training."""


def show(config: Config, console: Console) -> int:
    """Train, and print the table that answers the question; returns the exit status, 1 where a curve differs."""
    with console.status("training here and in scikit-learn"):
        results = curves()
    console.print(table(results))
    for curve in results:
        console.print(verdict(curve))
    return 0 if all(curve.agrees and curve.as_published for curve in results) else 1


main = functools.partial(command, "scikit_learn_curves", Config, __doc__, show)
"""(arguments) -> exit status: parse the flags, train and print."""
