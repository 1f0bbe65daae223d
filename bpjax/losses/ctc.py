"""Connectionist temporal classification: labels in order, their times unknown (Graves et al. 2006).

A path assigns a class to each of T times; blanks and repetitions are removed to read its labels. The probability of the
labels is the sum over all paths that read so. z (S = 2 U + 1) are the labels with a blank before, between and after
them; in logarithms, with ⊕ for ln(eᵃ + eᵇ) and s the number of entries of z that a path has come to:

    αₜ(s) = (αₜ₋₁(s) ⊕ αₜ₋₁(s−1) ⊕ αₜ₋₁(s−2)) + ln pₜ(z_s)              the last of the three only if it may skip
    βₜ(s) = (βₜ₊₁(s) + ln pₜ₊₁(z_s)) ⊕ (βₜ₊₁(s+1) + ln pₜ₊₁(z_s₊₁)) ⊕ (βₜ₊₁(s+2) + ln pₜ₊₁(z_s₊₂))
    E = −ln P,  ln P = α_T(S) ⊕ α_T(S−1)          ∂E/∂oₜₖ = pₜₖ − Σ_{s: z_s = k} e^(αₜ(s) + βₜ(s) − ln P)

A path may skip from s − 2 to s if z_s is a label other than z_s₋₂. The last term is the posterior probability of class
k at time t, given the labels.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bpjax.losses.loss import Loss, call_of, make_loss
from bpjax.types import Array
from bpjax.util.checks import as_floating, check_count, check_flag, is_concrete
from bpjax.util.on_host import on_host
from bpjax.util.precision import widen
from bpjax.util.targets import is_integral


def ctc(blank: int = 0, zero_infinity: bool = False, with_frames: bool = False) -> Loss:
    """The loss of connectionist temporal classification, on logits (N, T, K) and labels (N, U).

    E = −ln P(labels | softmax(o)), summed over the examples     ∂E/∂o = softmax(o) − posterior

    Labels are integers other than the blank; negative ones pad shorter sequences and must be at the end. Where no path
    of T times has the labels (U labels need T ≥ U, and one time more for each that repeats the one before), E is +∞ and
    its gradient 0, so that the other examples of the batch still teach.

    Args:
        blank: The class that stands for no label.
        zero_infinity: Labels that are impossible add 0 to the error instead of +∞.
        with_frames: The targets are (N, 1 + U), with the number of times of each example in front of its labels; times
            beyond it neither count nor have a gradient.

    Raises:
        ValueError: an argument is out of range; the output is not (N, T, K) with the blank below K; a target, where its
            values are known, is not a class other than the blank, has padding before a label, or frames beyond T.
    """
    blank = check_count("ctc", "blank", blank, least=0)
    zero_infinity = check_flag("ctc", "zero_infinity", zero_infinity)
    with_frames = check_flag("ctc", "with_frames", with_frames)

    def check(who, target, output):
        check_ctc_target(who, target, np.shape(output), blank, with_frames)

    def prepare(name, output, target):
        output = as_floating(name, "output", output)
        check(name, target, output)
        target = jnp.asarray(target)
        frames = target[:, 0] if with_frames else jnp.full(len(target), output.shape[1])
        return widen(output), _paths(target[:, 1:] if with_frames else target, frames, blank, output.shape[2])

    def value(o, paths):
        errors = -_log_probability(paths, *_forward(paths, _emissions(paths, o)))
        return jnp.sum(jnp.where(errors == jnp.inf, 0.0, errors) if zero_infinity else errors)

    def gradient(o, paths):
        log_p = _emissions(paths, o)
        alpha, _ = _forward(paths, log_p)
        of_paths = alpha + _backward(paths, log_p)
        total = _log_sum(of_paths, axis=2)[..., None]
        of_paths = jnp.exp(of_paths - jnp.where(total == -jnp.inf, 0, total))
        posterior = jax.vmap(lambda z, gamma: jnp.zeros(o.shape[1:], o.dtype).at[:, z].add(gamma))(paths.z, of_paths)
        counts = jnp.all(total > -jnp.inf, axis=1, keepdims=True) & paths.counts(o.shape[1])
        signal = jnp.where(counts, jax.nn.softmax(o, axis=-1) - posterior, 0.0)
        return jnp.where(paths.wrong[:, None, None], jnp.nan, signal)

    options = {"zero_infinity": (zero_infinity, False), "with_frames": (with_frames, False)}
    call = call_of("ctc", blank=(blank, 0), **options)
    return make_loss("ctc", value, gradient, prepare, check=check, terms=_labels(with_frames), call=call)


def _labels(with_frames: bool):
    """The number of labels of each example, at least 1."""

    def count(output, target):
        labels = jnp.asarray(target)[:, int(with_frames) :]
        return jnp.maximum(1, jnp.sum(labels >= 0, axis=1)).astype(jnp.result_type(float))

    return count


class Paths(NamedTuple):
    """The labels of a batch with blanks between them."""

    z: Array  # (N, S) classes
    skip: Array  # (N, S) booleans: whether a path may come from s − 2
    last: Array  # (N,) the last s, a blank
    frames: Array  # (N,) the number of times
    wrong: Array  # (N,) booleans: whether a label is out of range

    def ends(self) -> Array:
        """(N, S) booleans: where a path may end, at the last label or the blank after it."""
        s = jnp.arange(self.z.shape[1])[None, :]
        return (s == self.last[:, None]) | (s == self.last[:, None] - 1)

    def counts(self, times: int) -> Array:
        """(N, T, 1) booleans: whether a time is one of an example."""
        return jnp.arange(times)[None, :, None] < self.frames[:, None, None]


def _paths(labels: Array, frames: Array, blank: int, classes: int) -> Paths:
    n, u = labels.shape
    lengths = jnp.sum(labels >= 0, axis=1)
    z = jnp.full((n, 2 * u + 1), blank, jnp.int32).at[:, 1::2].set(jnp.maximum(labels, 0).astype(jnp.int32))
    before = jnp.pad(z, ((0, 0), (2, 0)), constant_values=blank)[:, :-2]
    wrong = jnp.any((labels >= classes) | (labels == blank), axis=1)
    return Paths(z, (z != blank) & (z != before), 2 * lengths, frames, wrong)


def _emissions(paths: Paths, o: Array) -> Array:
    """ln pₜ(z_s), (N, T, S)."""
    log_p = jax.nn.log_softmax(o, axis=-1)
    return jnp.take_along_axis(log_p, paths.z[:, None, :], axis=2, mode="clip")


def _shifted(a: Array, by: int) -> Array:
    """a (N, S) moved along s, −∞ where nothing comes from: (s − by) for a positive `by`."""
    pad = ((0, 0), (by, 0)) if by > 0 else ((0, 0), (0, -by))
    a = jnp.pad(a, pad, constant_values=-jnp.inf)
    return a[:, :-by] if by > 0 else a[:, -by:]


def _log_sum(terms: Array, axis: int) -> Array:
    """ln Σ eˣ, −∞ where all terms are; there the derivative of `jax.nn.logsumexp` is NaN."""
    top = _top(terms, axis)
    total = jnp.sum(jnp.exp(terms - top), axis=axis)
    return jnp.where(total == 0, -jnp.inf, jnp.squeeze(top, axis) + jnp.log(jnp.where(total == 0, 1, total)))


def _top(terms: Array, axis: int) -> Array:
    """The largest term, or 0 where all are −∞; a shift, which no result depends on."""
    top = jax.lax.stop_gradient(terms.max(axis=axis, keepdims=True))
    return jnp.where(top == -jnp.inf, 0, top)


def _forward(paths: Paths, log_p: Array) -> tuple[Array, Array]:
    """αₜ(s) less its largest entry at each time, (N, T, S), and the sum of these (N,): large numbers would cost digits.

    Beyond the frames of an example α is that of its last one.
    """

    def shifted(alpha):
        top = _top(alpha, 1)
        return alpha - top, top[:, 0]

    def step(carry, at):
        (alpha, total), (t, emission) = carry, at
        skipped = jnp.where(paths.skip, _shifted(alpha, 2), -jnp.inf)
        after, top = shifted(_log_sum(jnp.stack([alpha, _shifted(alpha, 1), skipped]), 0) + emission)
        counts = t < paths.frames
        alpha, total = jnp.where(counts[:, None], after, alpha), total + jnp.where(counts, top, 0)
        return (alpha, total), alpha

    start = shifted(jnp.where(jnp.arange(log_p.shape[2])[None, :] < 2, log_p[:, 0], -jnp.inf))
    times = (jnp.arange(1, log_p.shape[1]), jnp.moveaxis(log_p[:, 1:], 1, 0))
    (_, total), later = jax.lax.scan(step, start, times)
    return jnp.concatenate([start[0][:, None], jnp.moveaxis(later, 0, 1)], axis=1), total


def _backward(paths: Paths, log_p: Array) -> Array:
    """βₜ(s) less its largest entry at each time, (N, T, S): of the labels that remain after time t."""
    last = jnp.where(paths.ends(), 0.0, -jnp.inf).astype(log_p.dtype)

    def step(beta, at):
        t, emission = at  # of the time after t
        rest = beta + emission
        skipped = _shifted(jnp.where(paths.skip, rest, -jnp.inf), -2)
        before = _log_sum(jnp.stack([rest, _shifted(rest, -1), skipped]), 0)
        beta = jnp.where((t + 1 < paths.frames)[:, None], before - _top(before, 1), last)
        return beta, beta

    times = (jnp.arange(log_p.shape[1] - 1), jnp.moveaxis(log_p[:, 1:], 1, 0))
    _, earlier = jax.lax.scan(step, last, times, reverse=True)
    return jnp.concatenate([jnp.moveaxis(earlier, 0, 1), last[:, None]], axis=1)


def _log_probability(paths: Paths, alpha: Array, total: Array) -> Array:
    """ln P (N,); −∞ where the labels are impossible, NaN where a label is out of range."""
    log_p = _log_sum(jnp.where(paths.ends(), alpha[:, -1], -jnp.inf), 1) + total
    return jnp.where(paths.wrong, jnp.nan, log_p)


def check_ctc_target(who: str, target, shape, blank: int, with_frames: bool) -> None:
    """Raise a `ValueError` unless a target holds padded labels for outputs of a shape (N, T, K)."""
    if len(shape) != 3 or 0 in shape or not blank < shape[2]:
        raise ValueError(f"`{who}` expected outputs (N, T, K) with the blank {blank} below K, got {shape}.")
    found, least = np.shape(target), 1 + int(with_frames)
    if not is_integral(target) or len(found) != 2 or found[0] != shape[0] or found[1] < least:
        form = "(N, 1 + U), the number of times and then labels" if with_frames else "(N, U), labels"
        raise ValueError(f"`{who}` expected integer targets {form}, padded by −1, got {found} for outputs {shape}.")
    if not is_concrete(target):
        return
    values = on_host(target)
    frames, labels = (values[:, 0], values[:, 1:]) if with_frames else (np.full(len(values), shape[1]), values)
    if (frames < 1).any() or (frames > shape[1]).any():
        raise ValueError(
            f"`{who}` expected 1 to {shape[1]} times for each example, got {frames.min()} … {frames.max()}."
        )
    if (labels >= shape[2]).any() or (labels == blank).any():
        raise ValueError(
            f"`{who}` expected labels from 0 to {shape[2] - 1} other than the blank {blank}, got "
            f"{labels[(labels >= shape[2]) | (labels == blank)][0]}."
        )
    if ((labels[:, :-1] < 0) & (labels[:, 1:] >= 0)).any():
        raise ValueError(f"`{who}` expected the padding −1 after all labels of an example, got a label after it.")
