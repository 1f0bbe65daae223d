"""Compare a rule's direction with the gradient: angle, length and signs per layer, once or during a training."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from bpjax.layers.layer import Layer, check_layer
from bpjax.rules.backprop import backprop
from bpjax.rules.rule import Rule, check_rule
from bpjax.rules.units import Unit, split_units, units_within
from bpjax.types import Array, Params, RuleState
from bpjax.util.checks import check_count, check_instance, check_like, check_real
from bpjax.util.precision import widen
from bpjax.util.trees import flat


class Alignment(NamedTuple):
    """A direction d compared with the gradient g, for each of L layers of units, input side first."""

    angle: Array | np.ndarray  # (L,) degrees between d and g, 0 to 180; NaN where either is 0
    ratio: Array | np.ndarray  # (L,) ‖d‖ / ‖g‖; NaN where g is 0
    signs: Array | np.ndarray  # (L,) share of the nonzero entries of g whose sign d has; NaN if g is 0


def alignment(network: Layer, params: Params, direction: Params, gradient: Params) -> Alignment:
    """Angle, ratio of norms and agreement of signs for each layer of units; works under jit and vmap.

    A layer of units is a layer with weights and the layers that follow it, up to the next one with weights. The angle
    is 2 atan2(‖u − v‖, ‖u + v‖) of the unit vectors u and v, which is exact near 0° and 180° where an arc cosine is not
    (Kahan).

    Args:
        network: the layers; a chain, or a combination of one.
        params: of the network.
        direction: d, in the structure of the params, such as the result of a rule.
        gradient: g, likewise.

    Raises:
        ValueError: not a network with weights and its params, or a direction or gradient of another structure or shape.
    """
    check_layer("alignment", network)
    for name, tree in (("direction", direction), ("gradient", gradient)):
        check_like("alignment", name, tree, "params", params)
        check_real("alignment", name, tree)
    check_real("alignment", "params", params)
    pairs = list(_by_units(network, params, direction, gradient))
    if not pairs:
        raise ValueError(f"`alignment` expected a network with weights, got {network.name} without.")
    aligned = [_aligned(jnp, _flat(d), _flat(g)) for d, g in pairs]
    return Alignment(*map(jnp.stack, zip(*aligned, strict=True)))


def alignment_on_host(network: Layer, params: Params, direction: Params, gradient: Params) -> Alignment:
    """`alignment` in float64 by NumPy, whatever the dtype: nothing is compiled.

    Args: as those of `alignment`.
    """
    with np.errstate(all="ignore"):  # NaN where there is no angle
        aligned = [_aligned(np, flat(d), flat(g)) for d, g in _by_units(network, params, direction, gradient)]
    return Alignment(*map(np.array, zip(*aligned, strict=True)))


def _by_units(network: Layer, params: Params, direction: Params, gradient: Params):
    """Pairs (d, g), one for each layer of units."""
    layers = units_within(network, params)
    return zip(split_units(layers, direction), split_units(layers, gradient), strict=True)


def _aligned(xp, d, g):
    """Angle, ratio and signs of two vectors; `xp` is `numpy` or `jax.numpy`."""
    size_d, size_g = xp.linalg.norm(d), xp.linalg.norm(g)
    u, v = d / size_d, g / size_g
    angle = xp.degrees(2 * xp.arctan2(xp.linalg.norm(u - v), xp.linalg.norm(u + v)))
    ratio = xp.where(size_g > 0, size_d / size_g, xp.nan)
    same = xp.sum((xp.sign(d) == xp.sign(g)) & (g != 0)) / xp.sum(g != 0)
    return angle, ratio, same.astype(angle.dtype)


def _flat(tree) -> Array:
    return ravel_pytree(jax.tree.map(widen, tree))[0]


def name_of(unit: Unit) -> str:
    """The names of its layers, "dense, tanh"."""
    return ", ".join(layer.name for layer in (*unit.net.layers, *unit.activation.layers))


# --- During a training -----------------------------------------------------------------------------------------------


class RecordingState(NamedTuple):
    """State of a `recording` rule."""

    step: Array  # () int32, how often the rule has run
    at: Array  # (S,) int32, the steps at which it is compared with the gradient, counted from 0
    record: Alignment  # (S, L); NaN for steps not reached
    rule: RuleState


def recording(rule: Rule, at, reference: Rule | None = None) -> Rule:
    """The rule, with a state that records its alignment with the gradient at the steps `at`, counted from 0.

        rule = bp.analysis.recording(bp.feedback_alignment(network, loss), at=[0, 100, 1000])
        fit = bp.fit(rule, optimizer, params, data, key=key)
        fit.state.rule.record.angle  # (3, L) degrees, layers of units from the input side

    A step is one weight update. The direction is compared with the gradient of the same batch, which is computed at
    those steps only (under `jax.vmap`, at every step). A sweep stores the record with
    `outcome=lambda run: run.state.rule.record._asdict()`.

    Args:
        rule: any rule that names its network and loss.
        at: indices of steps, integers ≥ 0.
        reference: computes the gradient, a rule without a state; `backprop` if None.

    Raises:
        ValueError: no steps, or one that is not an integer ≥ 0; a rule that does not name its network and loss.
    """
    check_rule("recording", rule)
    if reference is not None:
        check_instance("recording", "reference", reference, Rule, "bp.autodiff(network, loss)")
    if isinstance(at, jax.Array) and not jnp.issubdtype(at.dtype, jax.dtypes.prng_key):
        at = np.asarray(at)
    at = np.atleast_1d(at) if isinstance(at, np.ndarray) else at
    given = at if isinstance(at, tuple | list | range | np.ndarray) else [at]
    steps = [check_count("recording", "at", step, least=0) for step in given]
    if not steps:
        raise ValueError("`recording` expected `at` to hold at least one step, got none.")
    network, loss = rule.network, rule.loss
    if network is None or loss is None:
        raise ValueError(
            f"`recording` expected a rule that names what it was made from: `Rule(..., network, loss)` for {rule.name}."
        )
    truth = backprop(network, loss) if reference is None else reference

    def init(key, params):
        shape = len(steps), len(units_within(network, params))
        dtype = jnp.result_type(widen(jax.tree.leaves(params)[0]))
        unknown = Alignment(*(jnp.full(shape, jnp.nan, dtype) for _ in Alignment._fields))
        return RecordingState(jnp.zeros((), jnp.int32), jnp.asarray(steps, jnp.int32), unknown, rule.init(key, params))

    def grads(params, state, batch):
        value, direction, inner = rule.grads(params, state.rule, batch)
        now = state.at == state.step

        def measured(record):
            found = alignment(network, params, direction, truth.grads(params, (), batch)[1])
            return jax.tree.map(lambda old, new: jnp.where(now[:, None], new, old), record, found)

        record = jax.lax.cond(now.any(), measured, lambda record: record, state.record)
        return value, direction, RecordingState(state.step + 1, state.at, record, inner)

    return rule._replace(name=f"{rule.name}, recorded", init=init, grads=grads)
