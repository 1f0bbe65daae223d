"""The biological objections to backpropagation as a table: which of them apply to a rule, found by running it."""

from collections.abc import Iterable
from typing import NamedTuple

import jax

from bpjax.audit.probe import Changes, MakeRule, Probe, changed
from bpjax.audit.program import layer_passes, spikes
from bpjax.gradcheck.report import to_plain_data
from bpjax.layers.combinators.chain import chain
from bpjax.layers.layer import Kind, Layer, placed_layers
from bpjax.losses import Loss
from bpjax.rules.registry import RULES, RuleCase
from bpjax.rules.rule import Rule, check_batch, check_made_of
from bpjax.rules.units import inner_chain, units, units_within
from bpjax.types import Key, Params, Shape
from bpjax.util.call_text import shown
from bpjax.util.checks import check_count, check_function, check_instance, check_key
from bpjax.util.float64 import float64_on_host, to_host, widen_to_float64
from bpjax.util.text_table import table

QUESTIONS = ("weight transport", "exact derivatives", "later layers", "target", "early target", "same-step target")


class LedgerRow(NamedTuple):
    """What the updates of a rule's hidden layers depend on; None where it cannot be determined."""

    rule: str
    transport: bool | None
    """On the weights that the backward pass of later layers uses, their forward pass being fixed: weight transport."""
    slopes: bool | None
    """On the derivative φ′ of the activations, φ being fixed."""
    later: bool | None
    """On later layers in any way, be it only through the output; if not, the rule is layer-local."""
    target: bool | None
    """On the target, at this step or an earlier one."""
    early: bool | None
    """On this step's target but not on later layers: it can learn before the output is known."""
    same_step: bool | None
    """On this step's target, its state being fixed: the target or the error must be available at once."""
    steps: int
    """How often the rule saw the batch before each hidden layer had a direction."""
    changes: dict[str, Changes]
    """By question: relative change of each hidden layer's direction, input side first."""
    passes: int | None = None
    """Synchrony, graded: layer passes that follow one after the other before the first layer's update is known."""
    signals: str | None = None
    """Spikes, graded: what the update of a layer of spiking units reads: "real errors" (with the surrogate derivative),
    "spikes and an error", "spikes alone"."""
    time: str | None = None
    """Timing, graded: whether that update needs a sweep "backward" in time, or runs "forward" with the units."""

    @property
    def answers(self) -> tuple[bool | None, ...]:
        """To `QUESTIONS`, in their order."""
        return (self.transport, self.slopes, self.later, self.target, self.early, self.same_step)

    def to_dict(self) -> dict:
        """Plain data, ready for JSON: NaN and infinities become None."""
        return {key: to_plain_data(entry) for key, entry in self._asdict().items()}

    def __repr__(self) -> str:
        answers = (f"{question}: {WORDS[answer]}" for question, answer in zip(QUESTIONS, self.answers, strict=True))
        return f"LedgerRow({self.rule}, {', '.join(answers)})"

    def __str__(self) -> str:
        return ledger_table([self])


def ledger(make: MakeRule, network: Layer, loss: Loss, params: Params, batch, *, key: Key, steps: int = 8) -> LedgerRow:
    """Determine what a rule's hidden layers learn from: change one thing, and see whether their directions change.

    `make` makes the rule from a network and a loss, so that it can be made on a changed network as well:
    `ledger(bp.backprop, network, loss, params, batch, key=key)`. The answer is yes where the direction of any hidden
    layer changes by more than 1e-8, in float64.

        weight transport   later layers receive other weights (arrays of two and more axes), but their forward pass uses
                           the true ones: the change shows that the rule reads the weights, by `backward` or otherwise
        exact derivatives  noise is added to φ′ of every activation, in `backward` and in JAX's own derivative, not to φ
        later layers       later layers have other weights in both passes
        target             the target is another one, from the first step on
        early target       changes with this step's target, and not with later layers
        same-step target   the target is another one at this step only; the state is that of the true target

    Three answers are grades, read from the rule's program instead of its numbers:

        passes    synchrony: how many layer passes must follow one after the other before the first layer's update is
                  known: 2 for a layer that learns by itself, 2 L for backpropagation through L layers
        signals   spikes: what the update of spiking units reads: real errors that pass through a surrogate derivative,
                  spikes and an error, or spikes alone
        time      timing: whether that update needs a sweep backward in time, or runs forward with the units

    Every run makes the rule's state from the same key, and shows it the batch as often, at fixed params: until every
    hidden layer has a direction. So a dependence through the state counts: a delayed rule depends on what the rule
    inside it depends on.

    Limits: the test does not see whether a dependence matters or what follows from it as params change. Layers made of
    layers, such as a residual block, are exchanged as a whole. A rule made on a network other than the one that `make`
    received, such as one with other derivatives, is seen as it is.

    Args:
        make: (network, loss) -> Rule.
        network: a chain, or a combination of one, such as `hopfield`, with at least one hidden layer of units.
        loss: of the rule.
        params: of the network, not all zero.
        batch: (x, target).
        key: for the rule's state and all random changes.
        steps: how often the rule may see the batch before; hidden layers without a direction then are left out.

    Raises:
        ValueError: `network` is not a Layer or `loss` not a Loss; `make` does not return a Rule; a batch or params that
            do not fit; no hidden layer of units.
    """
    check_made_of("ledger", network, loss)
    check_count("ledger", "steps", steps, least=0)
    check_function("ledger", "make", make)
    check_key("ledger", "key", key)
    rule = make(network, loss)
    if not isinstance(rule, Rule):
        raise ValueError(f"`ledger` expected `make(network, loss)` to return a Rule, got {type(rule).__name__}.")
    batch = check_batch("ledger", rule, params, batch)
    hidden = len(units_within(network, params)) - 1
    if hidden < 1:
        raise ValueError(
            f"`ledger` expected a hidden layer of units, got {network.name} with {hidden + 1} layer(s) with weights."
        )
    params, batch = to_host((params, batch))
    with float64_on_host():
        params, batch = widen_to_float64((params, batch))
        row = _row(rule.name, Probe(make, network, loss, params, batch, key, steps))
        signals, time = spikes(make, loss, key)
        passes = layer_passes(make, network, loss, params, batch, key)
        return row._replace(passes=passes, signals=signals, time=time)


def _row(name: str, probe: Probe) -> LedgerRow:
    """Answer every question."""
    changes = {
        "weight transport": probe.weight_transport(),
        "exact derivatives": probe.derivatives(),
        "later layers": probe.later_layers(),
        "target": probe.other_target(),
        "same-step target": probe.other_target_now(),
    }
    answers = {question: changed(found) for question, found in changes.items()}
    later, now = answers["later layers"], answers["same-step target"]
    return LedgerRow(
        rule=name,
        transport=answers["weight transport"],
        slopes=answers["exact derivatives"],
        later=later,
        target=answers["target"],
        early=None if later is None or now is None else now and not later,
        same_step=now,
        steps=probe.steps,
        changes=changes,
    )


WORDS = {True: "yes", False: "no", None: "cannot tell"}


def _entries(rows) -> list:
    """The rows of a table as a list; something that is no row stays, for the check that names it."""
    is_row = isinstance(rows, LedgerRow | str | jax.Array) or not isinstance(rows, Iterable)
    return [rows] if is_row else list(rows)


GRADES = ("passes in a row", "spiking units learn from", "in time")


def _grades(row: LedgerRow) -> tuple[str, ...]:
    return tuple("cannot tell" if grade is None else str(grade) for grade in (row.passes, row.signals, row.time))


def ledger_table(rows: Iterable[LedgerRow]) -> str:
    """The rows as one plain-text table."""
    rows = [check_instance("ledger_table", "rows", row, LedgerRow, "bp.ledger(…)") for row in _entries(rows)]
    cells = [(row.rule, *(WORDS[answer] for answer in row.answers), str(row.steps), *_grades(row)) for row in rows]
    header = ("a hidden layer's update depends on", *QUESTIONS, "steps before", *GRADES)
    return "\n".join(table(header, cells)).rstrip()


# --- All rules ------------------------------------------------------------------------------------------------------


def ledger_of_rules(rules: dict[str, RuleCase] = RULES, *, key: Key | None = None) -> list[LedgerRow]:
    """A row for each rule of the registry, on the network of its case, with a second hidden layer where possible."""
    who = "ledger_of_rules"
    if not isinstance(rules, dict):
        raise ValueError(f"`{who}` expected `rules` to be a dict such as `bp.rules.RULES`, got {shown(rules)}.")
    for case in rules.values():
        check_instance(who, "rules", case, RuleCase, "bp.rules.RULES['backprop']")
    key = jax.random.key(0) if key is None else check_key(who, "key", key)
    return [ledger_of_case(case, key=key)._replace(rule=name) for name, case in rules.items()]


def ledger_of_case(case: RuleCase, *, key: Key, examples: int = 3) -> LedgerRow:
    """The row of one rule, on a batch of normally distributed examples with one-hot targets.

    Args:
        case: the rule, with a network that suits it.
        key: for params, batch, state and changes.
        examples: in the batch.
    """
    with float64_on_host():
        key_params, key_x, key_t, key_rule = jax.random.split(key, 4)
        network = with_two_hidden(case.network, case.in_shape)
        try:
            params, out_shape = network.init(key_params, case.in_shape)
            case.make(network, case.loss).init(key_rule, params)
        except ValueError:  # a rule for one depth only, such as one with a delay for each layer
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
        return network.parts.rebuild(with_two_hidden(inner, in_shape))  # type: ignore[union-attr]
    flat = network if network.kind is Kind.CHAIN else chain(network)
    params = jax.eval_shape(lambda key: flat.init(key, in_shape)[0], jax.random.key(0))
    layers, found = [part.layer for part in placed_layers(flat, params)], units(flat, params)
    first = layers[: len(found[0].net.layers) + len(found[0].activation.layers)] if len(found) > 1 else layers
    return chain(*first * max(0, 3 - len(found)), *layers)
