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
from collections.abc import Callable, Iterable
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
"""Largest relative difference between two equal errors; rounding alone causes about 4 · 10⁻¹⁶."""
DIGITS_PRINTED = 6
"""Decimals of the published values."""


class Form(NamedTuple):
    """A form of momentum, and the values that scikit-learn publishes for it."""

    name: str
    form: Literal["heavy_ball", "nesterov"]  # as `bp.momentum` names it
    momentum: float
    published_loss: float  # error of the last of 15 epochs
    published_accuracy: float  # fraction of the 1,797 examples that are classified correctly


FORMS = (
    Form("no momentum", "heavy_ball", 0.0, 0.243802, 0.956038),
    Form("momentum 0.9", "heavy_ball", 0.9, 0.041297, 0.992766),
    Form("Nesterov 0.9", "nesterov", 0.9, 0.042898, 0.993879),
)


class Curve(NamedTuple):
    """The same training here and in scikit-learn."""

    name: str
    ours: np.ndarray  # (epochs,) mean error over the minibatches of each epoch, including weight decay
    theirs: np.ndarray  # (epochs,) scikit-learn's `loss_curve_`
    difference: float  # largest |ours − theirs| / theirs
    accuracy: float  # ours after the last epoch
    their_accuracy: float
    published_loss: float  # after 15 epochs
    published_accuracy: float
    version: str  # of scikit-learn

    @property
    def agrees(self) -> bool:
        """Whether the two curves are equal."""
        return self.difference < TOLERANCE

    @property
    def as_published(self) -> bool:
        """Whether both trainings end at the published values."""
        ends = [(self.ours[-1], self.accuracy), (self.theirs[-1], self.their_accuracy)]
        published = (self.published_loss, self.published_accuracy)
        return all(tuple(np.round(end, DIGITS_PRINTED)) == published for end in ends)


class Start(NamedTuple):
    """The random numbers that scikit-learn draws, as NumPy arrays."""

    params: tuple  # weights and biases of `network()`
    order: np.ndarray  # (epochs, 1797) order of the examples in each epoch


@functools.cache
def data() -> tuple[np.ndarray, np.ndarray]:
    """All digits: pixels (1797, 64), each scaled to 0 … 1 by its minimum and maximum, and labels (1797,)."""
    pixels, labels = load_digits(return_X_y=True)
    return np.asarray(MinMaxScaler().fit_transform(pixels)), np.asarray(labels)


@functools.cache
def network() -> bp.Layer:
    """64-100-10, the outputs as logits."""
    return bp.mlp((64, HIDDEN, 10), bp.relu)


def classifier(**arguments) -> MLPClassifier:
    """The trained network of scikit-learn. Its warning about convergence is expected and suppressed."""
    settings: dict[str, Any] = {"hidden_layer_sizes": (HIDDEN,), "alpha": DECAY, "batch_size": BATCH, "solver": "sgd"}
    theirs = MLPClassifier(**settings, **arguments)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return theirs.fit(*data())


def train_theirs(form: Form, epochs: int) -> MLPClassifier:
    """The published training, without early stopping."""
    return classifier(
        learning_rate_init=LEARNING_RATE,
        momentum=form.momentum,
        nesterovs_momentum=form.form == "nesterov",
        max_iter=epochs,
        n_iter_no_change=epochs,
        random_state=SEED,
    )


def start(epochs: int) -> Start:
    """The initial weights and the shuffles of `random_state=SEED`.

    A training with a learning rate of 10⁻³⁰⁰ and without shuffles does not change the initial weights in any bit, and
    leaves the random state where the first shuffle of the published training finds it.
    """
    stream = np.random.RandomState(SEED)
    untrained = classifier(learning_rate_init=1e-300, momentum=0.0, max_iter=1, shuffle=False, random_state=stream)
    hidden, output = (bp.layers.Affine(w, b) for w, b in zip(untrained.coefs_, untrained.intercepts_, strict=True))
    order = [np.arange(len(data()[0]))]
    for _ in range(epochs):
        # an epoch shuffles the order of the previous one
        order.append(np.asarray(shuffle(order[-1], random_state=stream)))
    return Start((hidden, (), output), np.array(order[1:]))


def decayed(rule: bp.Rule, decay: float) -> bp.Rule:
    """The rule with the weight decay of scikit-learn: E + λ Σ w² / 2N, dw + λ w / N. Biases do not decay.

    N is the number of examples in the batch, so the decay is slightly stronger in the smaller last batch of an epoch.
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


@functools.cache
def epoch_of(form: Literal["heavy_ball", "nesterov"]) -> Callable:
    """(state, order, x, target) -> (state, mean error) of an epoch, compiled once for all momentum coefficients."""
    rule = decayed(bp.backprop(network(), bp.losses.batch_mean(bp.softmax_cross_entropy)), DECAY)

    optimizer = bp.optimizers.static_part(bp.momentum(LEARNING_RATE, 0.0, form=form))  # reads α from the state
    step = bp.make_train_step(rule, optimizer)

    @jax.jit
    def epoch(state, order, x, target):
        examples, rest = len(x), len(x) % BATCH

        def present(state, rows):
            return step(state, (x[rows], target[rows]))

        state, full = jax.lax.scan(present, state, order[: examples - rest].reshape(-1, BATCH))
        state, last = present(state, order[examples - rest :])  # 1,797 = 8 · 200 + 197
        return state, (full.value.sum() * BATCH + last.value * rest) / examples

    return epoch


def train_ours(form: Form, begin: Start) -> tuple[np.ndarray, float]:
    """The error of each epoch (epochs,), and the accuracy at the end, in float64."""
    epoch = epoch_of(form.form)
    with jax.enable_x64(True):
        x, target = (jnp.asarray(part) for part in data())
        params = jax.tree.map(jnp.asarray, begin.params)
        optimizer = bp.momentum(LEARNING_RATE, form.momentum, form=form.form)
        state, errors = bp.training.TrainState(params, optimizer.init(params), ()), []
        for order in begin.order:
            state, error = epoch(state, jnp.asarray(order), x, target)
            errors.append(error)
        return np.array(errors), float(bp.accuracy(network(), state.params, (x, target)))


def largest_difference(ours: np.ndarray, theirs: np.ndarray) -> float:
    """The largest |ours − theirs| / theirs; infinite if ours is NaN."""
    return float(np.nan_to_num(np.abs(ours - theirs) / theirs, nan=np.inf).max())


def curves(forms: Iterable[Form] = FORMS, epochs: int = EPOCHS) -> list[Curve]:
    """Each form of momentum trained here and by scikit-learn, from the same weights through the same minibatches.

    scikit-learn clips probabilities to 2.2 · 10⁻¹⁶ from 0 and 1 before taking their logarithm, and bpjax does not: the
    curves would differ if the error of an example exceeded 36 nats, which does not happen here.
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
    """The result of one training in a sentence."""
    agreement = (
        f"equals scikit-learn {curve.version} over {len(curve.ours)} epochs to {TOLERANCE:g}"
        if curve.agrees
        else f"DIFFERS from scikit-learn {curve.version}, by {curve.difference:.1e}"
    )
    ending = "ends at the published values" if curve.as_published else "DOES NOT end at the published values"
    return f"{curve.name}: {agreement}, and {ending}."


def table(results: list[Curve]) -> Table:
    """The final error and accuracy of each training, here, in scikit-learn and as published."""
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
