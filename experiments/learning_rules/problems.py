"""The three problems; every rule gets the same initial weights, data and order of data."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import bpjax as bp
from bpjax.rules.registry import RuleCase

LINEAR_EXAMPLES = 50
"""Examples per epoch of the linear task."""
LINEAR_ERROR = 50.0
"""Mean error per example of the output 0 on the linear task, ½ E‖t‖² = ½ · 30 · 10 · ⅓."""


class Data(NamedTuple):
    """Examples and targets, (N, ...) each."""

    train: bp.types.Batch
    validation: bp.types.Batch  # chooses the learning rate
    test: bp.types.Batch  # measured at the chosen learning rate


class Problem(NamedTuple):
    """A network, a loss, data, and a criterion for having learnt."""

    name: str
    network: bp.Layer  # each rule gets the form of it that it needs
    loss: bp.losses.Loss
    in_shape: bp.types.Shape
    data: Callable  # index of the start, may be traced -> Data
    batch_size: int | None
    fresh: int | None  # new examples per epoch; None: every epoch presents all examples
    epochs: int
    rates: tuple[float, ...]  # learning rates, the same for every rule
    starts: int  # initial weights, the same for every rule
    measure: Callable  # (output, target) -> (), larger is better
    level: float  # the problem is learnt when the error of an epoch is below this
    classes: int = 0  # number of classes, 0 for regression
    stop: bp.training.Stop | None = None  # ends a run and replaces `level`

    @property
    def steps(self) -> int:
        """Updates per epoch."""
        (_, target), _, _ = jax.eval_shape(self.data, 0)
        examples = self.fresh or len(target)
        return -(-examples // (self.batch_size or examples))


class Entry(NamedTuple):
    """A rule applied to a problem."""

    name: str
    rule: bp.Rule
    network: bp.Layer  # the form of the network that the rule trains
    padding: int = 0  # zeros in front of every example, where forward-forward puts the label
    optimizer: Callable = optax.sgd  # learning rate -> optimizer

    def init(self, key, problem: Problem) -> bp.types.Params:
        """Initial weights."""
        return self.network.init(key, (*problem.in_shape[:-1], problem.in_shape[-1] + self.padding))[0]

    def starts(self, problem: Problem, seed: int) -> bp.types.Params:
        """The initial weights of all starts, with a leading axis."""
        keys = (jax.random.fold_in(jax.random.key(seed), start) for start in range(problem.starts))
        return jax.tree.map(lambda *leaves: np.stack(leaves), *(self.init(key, problem) for key in keys))

    def padded(self, batch: bp.types.Batch) -> bp.types.Batch:
        """A batch with the padding that the network expects."""
        x, target = batch
        return (jnp.pad(x, ((0, 0), (self.padding, 0))) if self.padding else x), target


def entry_of(name: str, case: RuleCase, problem: Problem) -> Entry | str:
    """The rule applied to a problem, or the reason why it does not apply."""
    if case.loss is bp.softmax_cross_entropy and not problem.classes:
        return f"{name} is for classification, and {problem.name} has no classes."
    try:
        network = case.adapt(problem.network)
        padding = problem.classes if name == "forward-forward" else 0
        entry = Entry(name, case.make(network, problem.loss), network, padding)
        jax.eval_shape(lambda key: entry.rule.init(key, entry.init(key, problem)), jax.random.key(0))
    except ValueError as error:
        return str(error)
    return entry


def trial_of(problem: Problem, entry: Entry, record_at: tuple[int, ...], seed: int) -> Callable:
    """(key, learning_rate, start) -> Trial; weights and data depend on the start only, not on the rule.

    Initial weights and data are drawn in advance, because a program without random draws compiles in half the time.

    Args:
        problem: the problem.
        entry: the rule.
        record_at: steps at which the angle to the gradient is recorded, may be empty.
        seed: of the initial weights.
    """
    rule = bp.analysis.recording(entry.rule, record_at) if record_at else entry.rule
    stops = () if problem.stop is None else (problem.stop,)
    starts = entry.starts(problem, seed)
    order = problem.fresh is None and problem.batch_size is not None

    def trial(key, learning_rate, start):
        params = jax.tree.map(lambda leaf: jnp.asarray(leaf)[start], starts)
        data = problem.data(start)
        training = bp.training.make_training(
            rule, entry.optimizer(learning_rate), stops, problem.batch_size, shuffle=order
        )

        def present(epoch):
            fresh = problem.fresh
            if fresh is None:
                return data.train
            return jax.tree.map(lambda a: jax.lax.dynamic_slice_in_dim(a, epoch * fresh, fresh), data.train)

        def outcome(run):
            def measured(batch):
                x, target = entry.padded(batch)
                return problem.measure(entry.network.forward(run.state.params, x)[0], target)

            angles = {"angle": run.state.rule.record.angle} if record_at else {}
            measures = {"validation": measured(data.validation), "test": measured(data.test)}
            return {"epochs": run.epoch, **measures, **angles}

        begin = training.init(jax.random.fold_in(key, start), params, problem.epochs)

        def advance(run):
            return training.epoch(run, entry.padded(present(run.epoch)))

        return bp.training.Trial(begin, bp.training.Program(advance, outcome, training.reasons))

    return trial


# --- The problems ----------------------------------------------------------------------------------------------------


def half_decades(lowest: int, highest: int) -> tuple[float, ...]:
    """10^(n/2) for n from `lowest` to `highest`."""
    return tuple(10 ** (n / 2) for n in range(lowest, highest + 1))


def linear(starts: int = 10, examples: int = 2000, seed: int = 0) -> Problem:
    """A linear 30-20-10 network that learns a linear map T, on-line (Lillicrap et al. 2016, task 1).

    W ~ U(±0.01), T ~ U(±1), x ~ N(0, 1). An epoch has 50 new examples. The measure is minus the error on 500 examples
    ÷ the error of the output 0. The task is learnt when the error is a tenth of that of the output 0.

    Args:
        starts: initial weights for each learning rate.
        examples: training examples of each start.
        seed: of the data.
    """
    held_out = 500
    layers = (bp.dense(h, use_bias=False, weights=bp.uniform(0.01)) for h in (20, 10))

    def drawn(key):
        teacher_key, key = jax.random.split(key)
        x = jax.random.normal(key, (examples + 2 * held_out, 30))
        return x, x @ jax.random.uniform(teacher_key, (30, 10), minval=-1.0)

    x, target = map(np.asarray, jax.vmap(drawn)(jax.random.split(jax.random.key(seed), starts)))
    ends = examples, examples + held_out, examples + 2 * held_out

    def data(start):
        def part(low, high):
            return jnp.asarray(x[:, low:high])[start], jnp.asarray(target[:, low:high])[start]

        return Data(part(0, ends[0]), part(*ends[:2]), part(*ends[1:]))

    return Problem(
        name="linear",
        network=bp.chain(*layers),
        loss=bp.squared_error,
        in_shape=(30,),
        data=data,
        batch_size=1,
        fresh=LINEAR_EXAMPLES,
        epochs=examples // LINEAR_EXAMPLES,
        rates=half_decades(-8, -1),
        starts=starts,
        measure=lambda output, target: -jnp.sum((target - output) ** 2) / jnp.sum(target**2),
        level=0.1 * LINEAR_ERROR * LINEAR_EXAMPLES,
    )


def xor(starts: int = 20, epochs: int = 1000) -> Problem:
    """XOR by a 2-4-1 network in full batch; learnt when every output is within 0.4 of its target."""
    batch = bp.xor().present()
    return Problem(
        name="XOR",
        network=bp.mlp((2, 4, 1), bp.tanh, bp.sigmoid),
        loss=bp.squared_error,
        in_shape=(2,),
        data=lambda start: Data(batch, batch, batch),
        batch_size=None,
        fresh=None,
        epochs=epochs,
        rates=half_decades(-4, 3),
        starts=starts,
        measure=lambda output, target: -jnp.max(jnp.abs(target - output)),
        level=0.0,
        stop=bp.outputs_within(0.4),
    )


def digits(starts: int = 4, epochs: int = 8, batch_size: int = 57) -> Problem:
    """Handwritten digits, 64-100-100-10 with tanh; the measure is the accuracy on 360 examples.

    The cross entropy is summed over the batch, as in the papers of the rules. The problem is learnt at a mean cross
    entropy of 0.3, an accuracy of about 0.9.

    Args:
        starts: initial weights for each learning rate.
        epochs: of each training.
        batch_size: examples per update.
    """
    data = Data(*(bp.digits(split).present() for split in ("train", "validation", "test")))
    return Problem(
        name="digits",
        network=bp.mlp((64, 100, 100, 10), bp.tanh),
        loss=bp.softmax_cross_entropy,
        in_shape=(64,),
        data=lambda start: data,
        batch_size=batch_size,
        fresh=None,
        epochs=epochs,
        rates=half_decades(-9, -3),
        starts=starts,
        measure=lambda output, target: jnp.mean(output.argmax(axis=-1) == target),
        level=0.3 * len(data.train[1]),
        classes=10,
    )
