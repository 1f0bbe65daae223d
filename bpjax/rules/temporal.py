"""Temporal backpropagation (Wan 1990): networks of FIR filters that learn at every time step of a series."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from bpjax.layers.activations import tanh
from bpjax.layers.dense import Affine
from bpjax.layers.layer import Kind, Layer
from bpjax.layers.recurrent.fir import fir
from bpjax.types import Array, Params
from bpjax.util.call_text import shown
from bpjax.util.checks import as_floating, check_finite, check_instance, check_number, check_same_dtype


class TemporalEpoch(NamedTuple):
    """One pass over a series."""

    params: Params  # after the pass, in the structure of those before
    errors: Array  # (N, T, O) e = target − y as each time step met it; 0 before the first output with full filters


class _Lines(NamedTuple):
    """The delay lines of one filter and of the units behind it, newest entry first."""

    inputs: Array  # (taps + delay, N, D) x
    residuals: Array  # (delay + 1, N, H) of the activation
    deltas: Array  # (taps, N, H) error signals


def temporal_epoch(
    params: Params, x: Array, target: Array, learning_rate: float | Array, activation: Layer = tanh
) -> TemporalEpoch:
    """One pass of stochastic temporal backpropagation: the weights change after each time step.

    The network is `chain(fir(...), activation, fir(...), …, fir(...))` with linear outputs. At time i, with the weights
    of that moment, it computes its output and all error signals that are known by then. Layer l gets the one of
    Dₗ = Σ_{m>l} (tapsₘ − 1) steps ago: later ones need errors that are still to come.

        δ_L(i) = e(i) = target(i) − y(i)
        δₗ(j)  = φ′(aₗ(j)) ⊙ Σₖ δₗ₊₁(j + k) Wₗ₊₁,ₖᵀ       j = i − Dₗ,   k = 0 … tapsₗ₊₁ − 1
        Wₗ,ₖ  ← Wₗ,ₖ + μ xₗ(j − k)ᵀ δₗ(j)      bₗ ← bₗ + μ δₗ(j)

    Training begins at the first time whose filters all are filled, F = Σₗ (tapsₗ − 1); hidden units get no error signal
    for earlier times. After the last time D₁ steps follow without errors, until every error signal has arrived.

    With weights that are constant over the pass the changes add up to −μ times `temporal_gradient`.

    Args:
        params: of the network, as its `init` makes them: `Affine(w (taps, D, H), b (H,))` for each filter, () for each
            activation.
        x: inputs (N, T, D). N series are learnt at the same time; their changes are added.
        target: (N, T, O), for series prediction the x of the next time.
        learning_rate: μ.
        activation: φ of the hidden units.

    Raises:
        ValueError: the params are not those of such a network, x or target do not fit them, T is at most F, or a number
            is not finite.

    Reference: Wan, "Temporal backpropagation for FIR neural networks", IJCNN 1990; "Time series prediction by using a
    connectionist network with internal delay lines", in Weigend & Gershenfeld (eds.), Time Series Prediction, 1993.
    """
    who = "temporal_epoch"
    check_number(who, "learning_rate", learning_rate, least=0.0)
    filters, x, target = _checked(who, params, x, target, activation)
    taps = [len(w) for w, _ in filters]
    delays = [sum(later - 1 for later in taps[l + 1 :]) for l in range(len(taps))]
    first, steps, series = sum(taps) - len(taps), x.shape[1], len(x)
    rate = jnp.asarray(learning_rate, x.dtype)

    def step(carry, at):
        filters, lines = carry
        i, x, target = at
        lines, y = _forward(filters, lines, delays, x, activation)
        error = jnp.where((i >= first) & (i < steps), target - y, 0)
        delta, changed = error, list(filters)
        for l in reversed(range(len(filters))):
            w, b = filters[l]
            own = lines[l].inputs[delays[l] : delays[l] + taps[l]]
            dw = jnp.einsum("knd,nh->kdh", own, delta)
            changed[l] = Affine(w + rate * dw, b + rate * delta.sum(axis=0))
            if l:
                deltas = _pushed(lines[l].deltas, delta)
                lines[l] = lines[l]._replace(deltas=deltas)
                dy = _columns(deltas[::-1]) @ jnp.swapaxes(w, 1, 2).reshape(-1, w.shape[1])
                _, delta = activation.backward((), lines[l - 1].residuals[delays[l - 1]], dy)
                delta = jnp.where(i - delays[l - 1] >= first, delta, 0)
        return (changed, lines), error

    def zeros(*shape):
        return jnp.zeros(shape, x.dtype)

    lines = []
    for (w, _), delay in zip(filters, delays, strict=True):
        _, in_features, features = w.shape
        inputs, deltas = zeros(len(w) + delay, series, in_features), zeros(len(w), series, features)
        lines.append(_Lines(inputs, zeros(delay + 1, series, features), deltas))
    flushed = [jnp.pad(jnp.swapaxes(a, 0, 1), ((0, delays[0]), (0, 0), (0, 0))) for a in (x, target)]
    times = jnp.arange(steps + delays[0])
    (changed, _), errors = jax.lax.scan(step, (filters, lines), (times, *flushed))
    spread = [changed[place // 2] if place % 2 == 0 else () for place in range(len(params))]
    return TemporalEpoch(_like(params, spread), jnp.swapaxes(errors[:steps], 0, 1))


def temporal_gradient(params: Params, x: Array, target: Array, activation: Layer = tanh) -> tuple[Array, Params]:
    """The value and the direction of `temporal_epoch` in batch mode: with weights that are constant over the pass.

        E = ½ Σ_{n, t ≥ F} |target(t) − y(t)|²             F = Σₗ (tapsₗ − 1)
        dWₗ,ₖ = −Σ_{n, t ≥ F} xₗ(t − k)ᵀ δₗ(t)             δₗ as in `temporal_epoch`

    It is the gradient of E without the edge terms: hidden units at times before F count as constant, though outputs
    from F on depend on them through the filters. Of a long series the edge is a small part.

    Args:
        params: of `chain(fir(...), activation, fir(...), …, fir(...))`.
        x: inputs (N, T, D).
        target: (N, T, O).
        activation: φ of the hidden units.

    Returns:
        E and the direction in the structure of params; optimizers descend along it.

    Raises:
        ValueError: as `temporal_epoch`.
    """
    filters, x, target = _checked("temporal_gradient", params, x, target, activation)
    layers = [fir(w.shape[2], len(w)) for w, _ in filters]
    y, stored = x, []
    for l, (layer, own) in enumerate(zip(layers, filters, strict=True)):
        y, inputs = layer.forward(own, y)
        residual = ()
        if l < len(layers) - 1:
            y, residual = activation.forward((), y)
        stored.append((inputs, residual))
    first = sum(len(w) - 1 for w, _ in filters)
    counted = (jnp.arange(x.shape[1]) >= first)[None, :, None]
    dy = jnp.where(counted, y - target, 0)
    value, found = jnp.sum(dy * dy) / 2, []
    for l in reversed(range(len(layers))):
        inputs, residual = stored[l]
        if l < len(layers) - 1:
            _, dy = activation.backward((), residual, dy)
            dy = jnp.where(counted, dy, 0)
        dparams, dy = layers[l].backward(filters[l], inputs, dy)
        found.append(dparams)
    found = found[::-1]
    return value, _like(params, [found[place // 2] if place % 2 == 0 else () for place in range(len(params))])


def _forward(filters, lines, delays, x, activation) -> tuple[list[_Lines], Array]:
    """The delay lines and the output (N, O) of one more time step, whose input is x (N, D)."""
    lines, y = list(lines), x
    for l, (w, b) in enumerate(filters):
        inputs = _pushed(lines[l].inputs, y)
        a = _columns(inputs[: len(w)]) @ w.reshape(-1, w.shape[2]) + b[None]
        y, residual = activation.forward((), a) if l < len(filters) - 1 else (a, a)
        lines[l] = lines[l]._replace(inputs=inputs, residuals=_pushed(lines[l].residuals, residual))
    return lines, y


def _pushed(line: Array, newest: Array) -> Array:
    """A delay line with one more entry; the oldest leaves."""
    return jnp.concatenate([newest[None], line[:-1]])


def _columns(line: Array) -> Array:
    """(taps, N, D) to (N, taps D)."""
    return jnp.swapaxes(line, 0, 1).reshape(line.shape[1], -1)


def _like(params: Params, entries: list) -> Any:
    """The entries as a tuple, or as the list that params are."""
    return entries if isinstance(params, list) else tuple(entries)


def _checked(who: str, params, x, target, activation) -> tuple[list[Affine], Array, Array]:
    """The filters and the arrays, or a `ValueError`."""
    check_instance(who, "activation", activation, Layer, "bp.tanh")
    if activation.kind is not Kind.ACTIVATION:
        raise ValueError(f"`{who}` expected an activation such as `bp.tanh`, got the layer {activation!r}.")
    filters = list(params[::2]) if isinstance(params, tuple | list) and not isinstance(params, Affine) else []
    fits = bool(filters) and len(params) % 2 == 1 and not jax.tree.leaves(params[1::2])
    fits = fits and all(isinstance(own, Affine) and jnp.ndim(own.w) == 3 for own in filters)
    fits = fits and all(jnp.shape(own.b) == own.w.shape[2:] for own in filters)
    fits = fits and all(a.w.shape[2] == b.w.shape[1] for a, b in zip(filters, filters[1:], strict=False))
    if not fits:
        raise ValueError(
            f"`{who}` expected the params of `chain(fir(...), tanh, fir(...), …, fir(...))`, got "
            f"{shown(jax.tree.map(jnp.shape, params))}. Make them with its `init`."
        )
    check_finite(who, "params", params)
    x, target = as_floating(who, "x", x), as_floating(who, "target", target)
    check_finite(who, "x", x)
    check_finite(who, "target", target)
    in_features, features = filters[0].w.shape[1], filters[-1].w.shape[2]
    if x.ndim != 3 or x.shape[2] != in_features or target.shape != (*x.shape[:2], features) or not len(x):
        raise ValueError(
            f"`{who}` expected x (N, T, {in_features}) and target (N, T, {features}) with the same N and T, got "
            f"{x.shape} and {target.shape}."
        )
    check_same_dtype(who, x, filters[0].w)
    check_same_dtype(who, target, filters[0].w)
    filled = sum(len(own.w) - 1 for own in filters)
    if x.shape[1] <= filled:
        raise ValueError(f"`{who}` expected more than {filled} time steps, which fill the filters, got {x.shape[1]}.")
    return filters, x, target
