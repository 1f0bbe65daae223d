"""What a rule's update depends on, read from its program: layer passes in sequence, time, surrogate derivatives."""

import functools
import inspect
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.extend import core

from bpjax.audit.decoupled import map_chain
from bpjax.layers.combinators.chain import chain
from bpjax.layers.layer import Layer
from bpjax.layers.recurrent.recurrent import unroll
from bpjax.layers.spiking.integrator import leaky_integrator
from bpjax.layers.spiking.neuron import leaky_integrate_and_fire
from bpjax.layers.spiking.surrogates import spike
from bpjax.losses import Loss
from bpjax.rules.units import split_units, units_within
from bpjax.types import Key, Params
from bpjax.util.jaxprs import CALL_JAXPR, opened, scan_counts

PASS, SURROGATE, TARGET, BACKWARD, FORWARD = "layer_pass", "surrogate", "target", "backward", "forward"


class Cause(NamedTuple):
    """What a value of a program depends on."""

    passes: int = 0  # layer passes, one after the other
    marks: frozenset[str] = frozenset()  # TARGET, SURROGATE, BACKWARD, FORWARD


class Spikes(NamedTuple):
    """How a rule trains spiking units."""

    signals: str | None
    """"real errors": its update reads the surrogate derivative of the spikes; "spikes and an error": spikes and the
    error, no derivative; "spikes alone"; None: it gives spiking units no direction, or cannot be made for them as it
    was made."""
    time: str | None
    """"backward": its update needs a sweep from the last time step to the first; "forward": traces that run with the
    units; "none": neither; None as above."""


def layer_passes(make, network: Layer, loss: Loss, params: Params, batch, key: Key) -> int:
    """How many layer passes, forward or backward, follow one after the other before the first layer's update.

    Passes that do not wait for each other count once. A layer's backward pass and its weight gradient are one pass.
    """
    marked = map_chain(_with_marked_passes, network, params)
    return _first_update(make, marked, loss, params, batch, key).passes


def spikes(make, loss: Loss, key: Key) -> Spikes:
    """How a rule trains a small spiking network: two spiking layers, or one and a leaky readout."""
    fire = _marked_surrogate(spike(1.0))
    hidden = unroll(leaky_integrate_and_fire(3, fire=fire))
    x, target = jnp.ones((2, 4, 3)), jnp.ones((2, 4, 2))
    for last in (unroll(leaky_integrator(2)), unroll(leaky_integrate_and_fire(2, fire=fire))):
        network = chain(hidden, last)
        params, _ = network.init(key, x.shape[1:])
        try:
            found = _first_update(_for_sequences(make, x.shape[1:]), network, loss, params, (x, target), key).marks
        except (ValueError, TypeError):
            continue
        if not found:
            break
        signals = "spikes and an error" if TARGET in found else "spikes alone"
        time = BACKWARD if BACKWARD in found else FORWARD if FORWARD in found else "none"
        return Spikes("real errors" if SURROGATE in found else signals, time)
    return Spikes(None, None)


def _for_sequences(make, in_shape):
    """`make` with the shape of the inputs, where it takes one: rules with heads need it unless layers are dense."""
    try:
        takes = "in_shape" in inspect.signature(make).parameters
    except (TypeError, ValueError):
        takes = False
    return functools.partial(make, in_shape=in_shape) if takes else make


def _first_update(make, network: Layer, loss: Loss, params: Params, batch, key: Key) -> Cause:
    """The causes of the first layer's direction, from the target as a marked input."""
    x, target = batch
    rule = make(network, loss)
    state = rule.init(key, params)
    layers = units_within(network, params)

    def update(target):
        return split_units(layers, rule.grads(params, state, (x, target))[1])[0]

    program = jax.make_jaxpr(update)(target)
    return _joined(_causes(program.jaxpr, [Cause(marks=frozenset({TARGET}))]))


def _with_marked_passes(layer: Layer, params: Params) -> Layer:
    """A layer with weights, whose passes are named calls in the program."""
    if not any(jnp.ndim(leaf) >= 2 for leaf in jax.tree.leaves(params)):
        return layer

    def layer_pass(*arguments):
        return layer.forward(*arguments)

    def layer_pass_back(*arguments):
        return layer.backward(*arguments)

    return layer._replace(forward=jax.jit(layer_pass), backward=jax.jit(layer_pass_back), parts=None, uses=frozenset())


def _marked_surrogate(fire: Layer) -> Layer:
    """A spike function whose derivative is a named call."""

    def surrogate(*arguments):
        return fire.backward(*arguments)

    return fire._replace(backward=jax.jit(surrogate))


def _joined(causes: list[Cause]) -> Cause:
    marks = frozenset().union(*(cause.marks for cause in causes))
    return Cause(max((cause.passes for cause in causes), default=0), marks)


def _causes(jaxpr, inputs: list[Cause]) -> list[Cause]:
    """The causes of the results of a jaxpr from those of its inputs; constants have none."""
    jaxpr = opened(jaxpr)
    known = dict(zip(jaxpr.invars, inputs, strict=True))
    of = lambda atom: Cause() if isinstance(atom, core.Literal) else known.get(atom, Cause())
    for equation in jaxpr.eqns:
        known.update(zip(equation.outvars, _of_equation(equation, list(map(of, equation.invars))), strict=True))
    return [of(atom) for atom in jaxpr.outvars]


def _of_equation(equation, inputs: list[Cause]) -> list[Cause]:
    name, count = equation.primitive.name, len(equation.outvars)
    if name in CALL_JAXPR:
        called = str(equation.params.get("name", ""))
        if PASS in called:
            before = _joined(inputs)
            return [before._replace(passes=before.passes + 1)] * count
        found = _causes(equation.params[CALL_JAXPR[name]], inputs)
        return [_marked(cause, SURROGATE) for cause in found] if SURROGATE in called else found
    if name == "scan":
        return _of_scan(equation, inputs)
    if name == "while":
        return _of_while(equation, inputs)
    if name == "cond":
        branches = [_causes(branch, inputs[1:]) for branch in equation.params["branches"]]
        return [_joined([inputs[0], *each]) for each in zip(*branches, strict=True)]
    return [_joined(inputs)] * count


def _of_scan(equation, inputs: list[Cause]) -> list[Cause]:
    """A scan over time marks its results; one without scanned inputs or outputs is a loop of that many rounds."""
    consts, carried = scan_counts(equation)
    fixed, scanned = inputs[:consts], inputs[consts + carried :]
    over_time = bool(scanned) or len(equation.outvars) > carried
    direction = BACKWARD if equation.params["reverse"] else FORWARD
    body = lambda carry: _causes(equation.params["jaxpr"], [*fixed, *carry, *scanned])
    found = _repeated(body, inputs[consts : consts + carried], carried, equation.params["length"])
    return [_marked(cause, direction) for cause in found] if over_time else found


def _of_while(equation, inputs: list[Cause]) -> list[Cause]:
    """A loop whose number of rounds is not known counts as one round."""
    first, last = equation.params["cond_nconsts"], equation.params["cond_nconsts"] + equation.params["body_nconsts"]
    body = lambda carry: _causes(equation.params["body_jaxpr"], [*inputs[first:last], *carry])
    return _repeated(body, inputs[last:], len(equation.outvars), 1)


def _repeated(body, carry: list[Cause], carried: int, length: int) -> list[Cause]:
    """The causes after `length` rounds: some rounds one by one until they are regular, the others like the last."""
    results, rounds, growth = carry, min(length, carried + 2), 0
    for _ in range(rounds):
        before = carry
        results = body(carry)
        carry = results[:carried]
        growth = max([0, *(new.passes - old.passes for new, old in zip(carry, before, strict=True))])
    return [cause._replace(passes=cause.passes + (length - rounds) * growth) for cause in results]


def _marked(cause: Cause, mark: str) -> Cause:
    return cause._replace(marks=cause.marks | {mark})
