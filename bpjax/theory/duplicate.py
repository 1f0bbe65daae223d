"""Duplicate a hidden unit: a small network's minimum in a larger one's error surface (Fukumizu & Amari 2000)."""

import jax
import jax.numpy as jnp

from bpjax.layers.dense import Affine
from bpjax.types import Params
from bpjax.util.call_text import shown
from bpjax.util.checks import as_floating, check_count, check_number, is_concrete


def duplicate_unit(params: Params, unit: int, share: float) -> Params:
    """Params of a network with one more hidden unit that computes the same function.

    A copy of the hidden unit, with its incoming weights and bias, becomes the last hidden unit. The outgoing weights a
    of the unit are divided: the unit has `share` · a, the copy (1 − share) · a.

    The larger network's error is the same for every share. Where the smaller network's gradient is 0, the larger one's
    is 0 for every share. A minimum thus becomes a line of critical points, some of them minima and the others saddles:
    a plateau.

    Args:
        params: of a `bp.mlp((D, H, K))`: two `Affine`, and () for each activation.
        unit: index of the hidden unit, from 0 to H − 1.
        share: any finite number; 0 and 1 remove the outgoing weights of one of the two.

    Raises:
        ValueError: params of another network, a unit that does not exist, a share that is not finite.
    """
    who = "duplicate_unit"
    places = [i for i, entry in enumerate(params) if isinstance(entry, Affine)] if isinstance(params, tuple) else []
    if len(places) != 2 or jax.tree.leaves([entry for entry in params if not isinstance(entry, Affine)]):
        raise ValueError(
            f"`{who}` expected params of an mlp with one hidden layer, (Affine, (), Affine), "
            f"got {shown(params)}. Make the network with `bp.mlp((inputs, hidden, outputs))`."
        )
    first, second = (_arrays(who, params[i]) for i in places)
    hidden = first.w.shape[1]
    if second.w.shape[0] != hidden:
        raise ValueError(
            f"`{who}` expected as many rows in the second layer's weights as the first layer has units, {hidden}, "
            f"got {second.w.shape[0]}."
        )
    unit = check_count(who, "unit", unit, least=0, most=hidden - 1)
    check_number(who, "share", share)
    share = float(share) if is_concrete(share) else share
    column = slice(unit, unit + 1)
    incoming = Affine(
        jnp.concatenate([first.w, first.w[:, column]], axis=1),
        None if first.b is None else jnp.concatenate([first.b, first.b[column]]),
    )
    outgoing = second.w[column]
    scaled = second.w.at[column].set(share * outgoing)
    second = second._replace(w=jnp.concatenate([scaled, (1 - share) * outgoing], axis=0))
    return tuple(incoming if i == places[0] else second if i == places[1] else e for i, e in enumerate(params))


def _arrays(who: str, layer: Affine) -> Affine:
    """The layer's params as floating-point arrays, w (D, H) and b (H,) or None, or a `ValueError`."""
    w = as_floating(who, "w", layer.w)
    b = None if layer.b is None else as_floating(who, "b", layer.b)
    if w.ndim != 2 or (b is not None and b.shape != w.shape[1:]):
        raise ValueError(
            f"`{who}` expected weights w (D, H) and biases b (H,), got {w.shape} and {b if b is None else b.shape}."
        )
    return Affine(w, b)
