"""Losses of embeddings: how near or far outputs should be from each other.

An example may consist of several outputs, such as (N, 3, F) for the anchor, the positive and the negative of a triplet:
`over_positions(network)` applies a network to each of them with the same weights.

    name                   E                                              ∂E/∂o
    cosine_distance        Σ 1 − cos(o, t)                                −(t̂ − cos ô) / ‖o‖
    cosine_embedding(m)    Σ 1 − cos(a, b), or max(0, cos(a, b) − m)      likewise by a and by b
    contrastive(m)         Σ ½ d², or ½ max(0, m − d)²                    ± d û, or ∓ (m − d) û        d = ‖a − b‖
    triplet(m)             Σ max(0, m + ‖a − p‖ − ‖a − n‖)                û_ap − û_an, −û_ap, û_an     û = (a − b) / d

Where a norm is 0 its unit vector û counts as 0, so every gradient is finite.
"""

import jax.numpy as jnp
import numpy as np

from bpjax.losses.loss import Loss, call_of, make_loss, rows_of_examples
from bpjax.types import Array
from bpjax.util.checks import as_floating, check_flag, check_number, is_concrete
from bpjax.util.on_host import on_host
from bpjax.util.precision import widen
from bpjax.util.targets import same_shape


def _norm(x):
    """The length of the last axis; at 0 its derivative is 0, not NaN."""
    squares = jnp.sum(x * x, axis=-1, keepdims=True)
    return jnp.where(squares == 0, 0, jnp.sqrt(jnp.where(squares == 0, 1, squares)))


def _unit(x):
    """x / ‖x‖, or 0 where ‖x‖ is 0."""
    norm = _norm(x)
    return jnp.where(norm == 0, 0, x / jnp.where(norm == 0, 1, norm))


def _cosine(a, b):
    return jnp.sum(_unit(a) * _unit(b), axis=-1, keepdims=True)


def _cosine_gradient(a, b):
    """∂ cos(a, b) / ∂a = (b̂ − cos â) / ‖a‖."""
    norm = _norm(a)
    return jnp.where(norm == 0, 0, (_unit(b) - _cosine(a, b) * _unit(a)) / jnp.where(norm == 0, 1, norm))


cosine_distance = make_loss(
    "cosine distance",
    lambda o, t: jnp.sum(1 - _cosine(o, t)),
    lambda o, t: -_cosine_gradient(o, t),
    same_shape,
    terms=rows_of_examples,
)
"""Σ 1 − cos(o, t) over the vectors along the last axis: from 0 for the same direction to 2 for the opposite one.

The cosine with a vector of zeros counts 0, and its gradient is 0."""


def _members(count: int):
    """Preparation of outputs (N, count, F): the members (N, F) of each example, and the target (N,)."""

    def prepare(name, output, target):
        output = as_floating(name, "output", output)
        if output.ndim != 3 or output.shape[1] != count or output.shape[0] == 0:
            raise ValueError(
                f"`{name}` expected outputs (N, {count}, F), {count} vectors for each example, got {output.shape}."
            )
        if np.shape(target)[:1] != output.shape[:1]:
            raise ValueError(f"`{name}` expected a target for each of {len(output)} examples, got {np.shape(target)}.")
        wide = widen(output)
        return wide, jnp.asarray(target)

    return prepare


def _one_term(output, target) -> Array:
    return jnp.ones(np.shape(output)[0])


def _same(target):
    """(N, 1) booleans: whether a pair belongs together, of targets 1 and 0, 1 and −1 or booleans (N,) or (N, 1)."""
    return target.reshape(-1, 1) > 0


def check_pairs(who: str, target, output) -> None:
    """Raise a `ValueError` unless a target is (N,) or (N, 1) and its known values are booleans, 0, 1 or −1."""
    shape, examples = np.shape(target), np.shape(output)[0]
    if shape not in ((examples,), (examples, 1)):
        raise ValueError(f"`{who}` expected one target for each of {examples} pairs, (N,), got {shape}.")
    if is_concrete(target) and not np.isin(on_host(target), (-1, 0, 1)).all():
        raise ValueError(f"`{who}` expected targets 1 for pairs that belong together and 0 or −1 for others.")


def _pair_loss(name: str, value, gradient, call: str) -> Loss:
    """A loss of pairs, from formulas of (a, b, same)."""
    members = _members(2)

    def prepare(name, output, target):
        check_pairs(name, target, output)
        wide, target = members(name, output, target)
        return wide[:, 0], wide[:, 1], _same(target)

    def stacked(a, b, same):
        return jnp.stack(gradient(a, b, same), axis=1)

    return make_loss(name, value, stacked, prepare, check=check_pairs, terms=_one_term, call=call)


def cosine_embedding(margin: float | Array = 0.0) -> Loss:
    """Pairs (N, 2, F): the same direction for those that belong together, an angle between the others.

    E = Σ 1 − cos(a, b) where t = 1, max(0, cos(a, b) − m) where t = 0 or −1

    Args:
        margin: m, from −1 to 1, the cosine that pairs which do not belong together may have without an error.

    Raises:
        ValueError: `margin` is out of range; the output is not (N, 2, F), or a known target not −1, 0 or 1.
    """
    check_number("cosine_embedding", "margin", margin, least=-1.0, most=1.0)

    def value(a, b, same):
        cosine = _cosine(a, b)
        return jnp.sum(jnp.where(same, 1 - cosine, jnp.maximum(0, cosine - margin)))

    def gradient(a, b, same):
        slope = jnp.where(same, -1, jnp.where(_cosine(a, b) > margin, 1, 0))
        return slope * _cosine_gradient(a, b), slope * _cosine_gradient(b, a)

    return _pair_loss("cosine embedding", value, gradient, call_of("cosine_embedding", margin=(margin, 0.0)))


def contrastive(margin: float | Array = 1.0) -> Loss:
    """Pairs (N, 2, F): those that belong together attract each other, others repel each other up to a margin.

    E = Σ ½ d² where t = 1, ½ max(0, m − d)² where t = 0 or −1     d = ‖a − b‖
    ∂E/∂a = d û where t = 1, −max(0, m − d) û else                  û = (a − b) / d,  ∂E/∂b = −∂E/∂a

    Hadsell, Chopra & LeCun 2006, eq. 4, with t for their 1 − Y.

    Args:
        margin: m, above 0.

    Raises:
        ValueError: `margin` is out of range; the output is not (N, 2, F), or a known target not −1, 0 or 1.
    """
    check_number("contrastive", "margin", margin, above=0.0)

    def value(a, b, same):
        d = _norm(a - b)
        return 0.5 * jnp.sum(jnp.where(same, d, jnp.maximum(0, margin - d)) ** 2)

    def gradient(a, b, same):
        slope = jnp.where(same, 1, jnp.where(_norm(a - b) < margin, 1, 0))
        da = slope * jnp.where(same, a - b, -(margin - _norm(a - b)) * _unit(a - b))
        return da, -da

    return _pair_loss("contrastive", value, gradient, call_of("contrastive", margin=(margin, 1.0)))


def triplet(margin: float | Array = 1.0, swap: bool = False, offset: float = 0.0) -> Loss:
    """Triplets (N, 3, F), anchor, positive and negative: the anchor is nearer to the positive by a margin.

    E = Σ max(0, m + d(a, p) − d(a, n))     d(x, y) = ‖x − y + ε‖
    ∂E/∂a = û_ap − û_an     ∂E/∂p = −û_ap     ∂E/∂n = û_an, where the maximum is not 0     û_xy = (x − y + ε) / d(x, y)

    The target is not used; it needs an entry for each example, such as `jnp.zeros(N)`. Schroff et al. 2015 use d²;
    this is the form of Balntas et al. 2016 and PyTorch, which adds ε = 10⁻⁶.

    Args:
        margin: m, above 0.
        swap: Use the distance from the positive to the negative where it is the smaller one (Balntas et al. 2016).
        offset: ε, added to every entry of a difference.

    Raises:
        ValueError: an argument is out of range; the output is not (N, 3, F).
    """
    check_number("triplet", "margin", margin, above=0.0)
    check_number("triplet", "offset", offset)
    swap = check_flag("triplet", "swap", swap)

    def distances(o):
        """a − p and the difference to the negative, (N, F) each, and whether the latter is that of the positive."""
        a, p, n = o[:, 0], o[:, 1], o[:, 2]
        to_p, to_n, between = (x - y + offset for x, y in ((a, p), (a, n), (p, n)))
        nearer = (_norm(between) < _norm(to_n)) & swap
        return to_p, jnp.where(nearer, between, to_n), nearer

    def value(o, target):
        to_p, to_n, _ = distances(o)
        return jnp.sum(jnp.maximum(0, margin + _norm(to_p) - _norm(to_n)))

    def gradient(o, target):
        to_p, to_n, nearer = distances(o)
        active = margin + _norm(to_p) - _norm(to_n) > 0
        u_p, u_n = (jnp.where(active, _unit(d), 0) for d in (to_p, to_n))
        da = u_p - jnp.where(nearer, 0, u_n)
        dp = -u_p - jnp.where(nearer, u_n, 0)
        return jnp.stack([da, dp, u_n], axis=1)

    call = call_of("triplet", margin=(margin, 1.0), swap=(swap, False), offset=(offset, 0.0))
    return make_loss("triplet", value, gradient, _members(3), terms=_one_term, call=call)
