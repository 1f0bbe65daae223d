"""The article's objections to backpropagation as a table: which of them a rule meets, found by running it."""

import math
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bpjax.audit.decoupled import crossed, inner_chain, other_slopes, part_by_part
from bpjax.audit.resampling import CHANGED, DRAWS, drawn
from bpjax.gradcheck.agreement import relative_error
from bpjax.gradcheck.float64 import float64_on_host, to_host, widen_to_float64
from bpjax.gradcheck.report import table, to_plain_data
from bpjax.layers.combinators.chain import chain
from bpjax.layers.layer import Kind, Layer, placed_layers
from bpjax.losses import Loss
from bpjax.rules.registry import RULES, RuleCase
from bpjax.rules.rule import Rule, check_batch, check_made_of
from bpjax.rules.units import merge_units, split_units, units, units_within
from bpjax.types import Array, Key, Params, RuleState, Shape
from bpjax.util.checks import check_count
from bpjax.util.trees import flat

QUESTIONS = ("weights above", "exact slopes", "later layers", "target", "early target", "teacher now")


class LedgerRow(NamedTuple):
    """What the directions of change of a rule's hidden layers depend on; None where it cannot be told."""

    rule: str
    transport: bool | None
    """On the weights of the layers above as ways back, what they do forward being held: weight transport."""
    slopes: bool | None
    """On the derivative φ′ of the activations, the activations being held."""
    later: bool | None
    """On the layers above in any way, even only through the output they make; if not, the rule is layer-local."""
    target: bool | None
    """On the target, at this step or before."""
    early: bool | None
    """On this step's target but not on the layers above: it can learn before the output is known."""
    same_step: bool | None
    """On this step's target, its state being held: the teacher, an error or a target, must be there at once."""
    steps: int
    """How often the rule had seen the batch before each hidden layer had a direction of change."""
    changes: dict[str, tuple[float | None, ...]]
    """Relative changes found, by hidden layer, input side first; None where a layer had no direction."""

    @property
    def answers(self) -> tuple[bool | None, ...]:
        """To `QUESTIONS`, in their order."""
        return (self.transport, self.slopes, self.later, self.target, self.early, self.same_step)

    def to_dict(self) -> dict:
        """Plain data, ready for JSON: numbers that are not finite become None."""
        return {key: to_plain_data(entry) for key, entry in self._asdict().items()}

    def __str__(self) -> str:
        return ledger_table([self])


def ledger(
    make: Callable[[Layer, Loss], Rule], network: Layer, loss: Loss, params: Params, batch, *, key: Key, steps: int = 8
) -> LedgerRow:
    """What the hidden layers of a rule learn from, computed: something is changed, and do their directions change?

    `make` makes the rule from a network and a loss, so that it can be made again on a changed network:
    `ledger(bp.backprop, network, loss, params, batch, key=key)`. A yes is a change above 1e-8, in float64, in any
    hidden layer.

        weights above   the layers above are handed other weights, arrays of two and more axes, but go on forward with
                        their own: what changes is read off the weights, by `backward` or otherwise, weight transport
        exact slopes    φ′ of every activation is off by noise, in `backward` and in JAX's own derivative; φ is not
        later layers    the layers above have other weights, both ways
        target          the target is another one, from the first step on
        early target    changes with this step's target, and not with the layers above
        teacher now     the target is another one at this step only, the state being that of the true one's

    Each time the rule's state is made anew, from the same key, and the rule sees the batch as often as before, at fixed
    params, until every hidden layer has a direction. So what its state has learnt counts as its own: a delayed rule
    depends on what the rule behind it does, a signal that was sent one layer at a time on all layers above.

    What it cannot see: whether a dependence matters, what comes of it as params change, and what `make` does with
    layers made of layers, such as a residual block, which is exchanged as a whole. A rule made on a network other than
    the one it was handed, such as one with other slopes, is seen as it is.

    Args:
        make: (network, loss) -> Rule.
        network: a chain, or a combination of one, such as `hopfield`, with at least one hidden layer of units.
        loss: what it is taught by.
        params: of the network, not all zero.
        batch: (x, target).
        key: for the rule's state and all that is drawn.
        steps: how often the rule may see the batch before; hidden layers without a direction then are left out.

    Raises:
        ValueError: `network` is not a Layer or `loss` not a Loss; `make` does not make a Rule; a batch or params that
            do not fit; no hidden layer of units.
    """
    check_made_of("ledger", network, loss)
    check_count("ledger", "steps", steps, least=0)
    rule = make(network, loss)
    if not isinstance(rule, Rule):
        raise ValueError(f"`ledger` expected `make(network, loss)` to make a Rule, got {type(rule).__name__}.")
    batch = check_batch("ledger", rule, params, batch)
    hidden = len(units_within(network, params)) - 1
    if hidden < 1:
        raise ValueError(
            f"`ledger` expected a hidden layer of units to look at, got {network.name} with {hidden + 1} layer(s) with "
            "weights."
        )
    params, batch = to_host((params, batch))
    with float64_on_host():
        params, batch = widen_to_float64((params, batch))
        return _Trial(make, network, loss, params, batch, key, steps).row(rule.name)


def ledger_table(rows: Iterable[LedgerRow]) -> str:
    """The rows as one plain-text table."""
    words = {True: "yes", False: "no", None: "cannot tell"}
    cells = [(row.rule, *(words[answer] for answer in row.answers), str(row.steps)) for row in rows]
    header = ("a hidden layer's change depends on", *QUESTIONS, "steps before")
    return "\n".join(table(header, cells)).rstrip()


# --- One rule -------------------------------------------------------------------------------------------------------


class _Trial:
    """A rule made anew, with one thing changed, and what its hidden layers do then."""

    def __init__(self, make, network: Layer, loss: Loss, params: Params, batch, key: Key, steps: int):
        self.make, self.network, self.loss, self.params = make, network, loss, params
        self.x, self.target = batch
        self.key_state, self.key_draws = jax.random.split(key)
        self.layers = units_within(network, params)
        self.rule = make(network, loss)
        self.state, self.steps, self.found = self._settled(steps)

    def row(self, name: str) -> LedgerRow:
        other = other_target(self.target, self._outputs())
        tried = {
            "weights above": self._above(self._ways_back),
            "exact slopes": self._slopes(),
            "later layers": self._above(self._later),
            "target": self._changes(self._run(self.rule, self.params, other, other)),
            "teacher now": self._changes(self._last(self.rule, self.params, self.state, other)),
        }
        told = {question: _told(changes) for question, changes in tried.items()}
        later, now = told["later layers"], told["teacher now"]
        return LedgerRow(
            rule=name,
            transport=told["weights above"],
            slopes=told["exact slopes"],
            later=later,
            target=told["target"],
            early=None if later is None or now is None else now and not later,
            same_step=now,
            steps=self.steps,
            changes=tried,
        )

    def _settled(self, most: int) -> tuple[RuleState, int, list]:
        """The state before the first step at which all hidden layers have a direction, its number, the directions."""
        state, step = self.rule.init(self.key_state, self.params), 0
        while True:
            _, direction, after = self.rule.grads(self.params, state, (self.x, self.target))
            found = split_units(self.layers, direction)[:-1]
            if step == most or all(map(_any, found)):
                return state, step, found
            state, step = after, step + 1

    def _last(self, rule: Rule, params, state, target) -> list:
        return split_units(self.layers, rule.grads(params, state, (self.x, target))[1])[:-1]

    def _run(self, rule: Rule, params, before, now) -> list:
        """The directions after as many steps as the rule itself was given."""
        state = rule.init(self.key_state, params)
        for _ in range(self.steps):
            state = rule.grads(params, state, (self.x, before))[2]
        return self._last(rule, params, state, now)

    def _changes(self, others: list) -> tuple[float | None, ...]:
        return tuple(map(relative_change, others, self.found))

    def _above(self, change: Callable) -> tuple[float | None, ...]:
        """For each hidden layer the largest change of its direction over some draws of the weights above it."""

        def tried(index: int) -> Iterator[float | None]:
            for key in jax.random.split(jax.random.fold_in(self.key_draws, index), DRAWS):
                below, upper = self.layers[: index + 1], self.layers[index + 1 :]
                other = merge_units(self.params, [unit.params for unit in (*below, *drawn(key, upper))])
                yield relative_change(change(index, other)[index], self.found[index])

        return tuple(_first_change(tried(index)) for index in range(len(self.found)))

    def _later(self, index: int, other: Params) -> list:
        return self._run(self.rule, other, self.target, self.target)

    def _ways_back(self, index: int, other: Params) -> list:
        """Handed `other` weights, layers above that go forward with the true ones; gains and biases stay."""
        other = jax.tree.map(lambda w, true: w if true.ndim >= 2 else true, other, self.params)
        lower = len(jax.tree.leaves([unit.params for unit in self.layers[: index + 1]]))
        own, place = jax.tree.leaves(self.params), 0

        def change(layer: Layer, handed: Params) -> Layer:
            nonlocal place
            leaves, structure = jax.tree.flatten(handed)
            first, place = place, place + len(leaves)
            if first < lower or not leaves:
                return layer
            true = own[first:place]
            return crossed(layer, structure.unflatten([a - b for a, b in zip(leaves, true, strict=True)]))

        changed = part_by_part(self.network, other, change)
        return self._run(self.make(changed, self.loss), other, self.target, self.target)

    def _slopes(self) -> tuple[float | None, ...]:
        def tried() -> Iterator[tuple[float | None, ...]]:
            for key in jax.random.split(jax.random.fold_in(self.key_draws, len(self.layers)), DRAWS):
                changed = other_slopes(self.network, key)
                if changed is None:
                    yield (None,) * len(self.found)
                else:
                    rule = self.make(changed, self.loss)
                    yield self._changes(self._run(rule, self.params, self.target, self.target))

        rows = []
        for row in tried():
            rows.append(row)
            if _told(row) is not False:
                break
        return tuple(map(_largest, zip(*rows, strict=True)))

    def _outputs(self) -> int:
        return jax.eval_shape(self.network.forward, self.params, self.x)[0].shape[-1]


def other_target(target: Array, outputs: int) -> Array:
    """A target that differs in every example, of the same kind: the next class; high for low where there is one output.

    Where that changes nothing, 1 is added.
    """
    if jnp.issubdtype(target.dtype, jnp.integer):
        return (target + 1) % outputs
    rolled = jnp.roll(target, 1, axis=-1) if outputs > 1 else jnp.min(target) + jnp.max(target) - target
    return jnp.where(jnp.any(rolled != target), rolled, target + 1)


def relative_change(other, direction) -> float | None:
    """‖other − direction‖ / ‖direction‖ over all arrays; None where the direction is 0, ∞ where other is not finite."""
    size = float(np.linalg.norm(flat(direction)))
    return relative_error(flat(other), flat(direction)) if size and math.isfinite(size) else None


def _any(tree) -> bool:
    return any(bool(jnp.any(leaf)) for leaf in jax.tree.leaves(tree))


def _told(changes: Iterable[float | None]) -> bool | None:
    largest = _largest(changes)
    return None if largest is None else largest > CHANGED


def _largest(changes: Iterable[float | None]) -> float | None:
    return max((change for change in changes if change is not None), default=None)


def _first_change(changes: Iterator[float | None]) -> float | None:
    """The first that counts, else the largest."""
    found = []
    for change in changes:
        found.append(change)
        if change is None or change > CHANGED:
            break
    return _largest(found)


# --- All rules ------------------------------------------------------------------------------------------------------


def ledger_of_rules(rules: dict[str, RuleCase] = RULES, *, key: Key | None = None) -> list[LedgerRow]:
    """A row for each rule of the catalogue, on its own network with a second hidden layer where it will serve one."""
    key = jax.random.key(0) if key is None else key
    return [ledger_of_case(case, key=key)._replace(rule=name) for name, case in rules.items()]


def ledger_of_case(case: RuleCase, *, key: Key, examples: int = 3) -> LedgerRow:
    """The row of one rule, on a batch of normal examples with one-hot targets."""
    with float64_on_host():
        key_params, key_x, key_t, key_rule = jax.random.split(key, 4)
        network = with_two_hidden(case.network, case.in_shape)
        try:
            params, out_shape = network.init(key_params, case.in_shape)
            case.make(network, case.loss).init(key_rule, params)
        except ValueError:  # a rule made for one depth, such as one with a delay for each layer
            network = case.network
            params, out_shape = network.init(key_params, case.in_shape)
        x = jax.random.normal(key_x, (examples, *case.in_shape))
        labels = jax.random.randint(key_t, (examples, *out_shape[:-1]), 0, out_shape[-1])
        batch = x, jax.nn.one_hot(labels, out_shape[-1])
        return ledger(case.make, network, case.loss, params, batch, key=key_rule)


def with_two_hidden(network: Layer, in_shape: Shape) -> Layer:
    """The network with its first layer of units repeated until there are two hidden ones: one may be a special case."""
    inner = inner_chain(network)
    if inner is not network:
        return network.parts.rebuild(with_two_hidden(inner, in_shape))  # type: ignore[misc]
    flat = network if network.kind is Kind.CHAIN else chain(network)
    params = jax.eval_shape(lambda key: flat.init(key, in_shape)[0], jax.random.key(0))
    layers, found = [part.layer for part in placed_layers(flat, params)], units(flat, params)
    first = layers[: len(found[0].net.layers) + len(found[0].activation.layers)] if len(found) > 1 else layers
    return chain(*first * max(0, 3 - len(found)), *layers)
