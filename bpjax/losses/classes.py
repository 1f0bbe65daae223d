"""Losses of one class out of K, on logits or on logarithms of probabilities.

o is the output (N, ..., K), t the weights of the classes in the same shape: one-hot rows, or any others. What a loss of
classes offers beyond this formula changes t and nothing else: label smoothing mixes it with equal weights, class
weights scale it, a label that is ignored has a row of zeros. Value and gradient are written with the same ln p.

    name                           E                                 ∂E/∂o
    softmax_cross_entropy          −Σ t ln p,  p = softmax(o)        (Σₖ t) p − t
    cross_entropy(…)               the same with smoothing, weights, ignored labels
    negative_log_likelihood(…)     −Σ t o                            −t
    kl_divergence(…)               Σ t (ln t − o)                    −t
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from bpjax.losses.loss import Loss, call_of, make_loss, rows_of_examples
from bpjax.losses.weights import check_weights, weights_like
from bpjax.types import Array
from bpjax.util.checks import check_count, check_flag, check_number
from bpjax.util.targets import check_classes, is_integral, logits_and_weights, same_shape


def _softmax_value(o, t):
    log_p = jax.nn.log_softmax(o, axis=-1)
    return -jnp.sum(jnp.where((t == 0) & (log_p == -jnp.inf), 0.0, t * log_p))  # t ln p → 0 where t = 0


def _softmax_gradient(o, t):
    return jnp.sum(t, axis=-1, keepdims=True) * jnp.exp(jax.nn.log_softmax(o, axis=-1)) - t


softmax_cross_entropy = make_loss(
    "softmax cross entropy",
    _softmax_value,
    _softmax_gradient,
    logits_and_weights,
    check=check_classes,
    terms=rows_of_examples,
)
"""−Σ t ln softmax(o) on logits (N, K), or (N, T, K) at every time step.

Targets are labels, integers in the shape of the logits without the last axis, or weights in the shape of the logits,
one-hot or soft. Labels outside 0 … K − 1 raise where their values are known; inside `jit` they give NaN.

A logit −∞ rules a class out: p = 0, and the class adds 0 to the error, or +∞ where it is the target. A row that holds
+∞, or −∞ alone, has no probabilities: its error and gradient are NaN, as in `jax.nn.log_softmax` and optax."""


class _Classes(NamedTuple):
    """What changes the weights of the classes."""

    class_weights: Any = 1.0
    label_smoothing: Any = 0.0
    ignore_index: int | None = None

    def prepare(self, name, output, target):
        """The output and the weights of its classes; a row that is ignored has weights of 0, and an output of 0."""
        ignored = self.ignored(output, target)
        if ignored is not None:
            output = jnp.where(ignored[..., None], 0, output)
            target = jnp.where(ignored, 0, target)
        o, t = logits_and_weights(name, output, target)
        mean = jnp.sum(t, axis=-1, keepdims=True) / t.shape[-1]
        t = ((1 - self.label_smoothing) * t + self.label_smoothing * mean).astype(o.dtype)
        t = t * weights_like(name, self.class_weights, o)
        return o, t if ignored is None else jnp.where(ignored[..., None], 0, t)

    def check(self, who, target, output):
        """Raise a `ValueError` for labels out of range, ignored ones excepted."""
        ignored = self.ignored(output, target)
        check_classes(who, target if ignored is None else jnp.where(ignored, 0, target), output)

    def terms(self, output, target) -> Array:
        """The weights of the labels, summed over each example; 1 for a row of weights, as in PyTorch."""
        if not is_integral(target) or np.shape(target) == np.shape(output):
            return rows_of_examples(output, target)
        target, classes = jnp.asarray(target), np.shape(output)[-1]
        weights = jnp.broadcast_to(jnp.asarray(self.class_weights, jnp.result_type(float)), classes)
        each = jnp.take(weights, target, mode="fill", fill_value=jnp.nan)
        ignored = self.ignored(output, target)
        each = each if ignored is None else jnp.where(ignored, 0, each)
        return each.reshape(len(each), -1).sum(axis=1)

    def ignored(self, output, target):
        """(N, ...), where a label is the one to ignore; None where the target is not labels or all count."""
        is_labels = is_integral(target) and np.shape(target) == np.shape(output)[:-1]
        return jnp.asarray(target) == self.ignore_index if self.ignore_index is not None and is_labels else None


def _classes(who: str, class_weights, label_smoothing, ignore_index) -> _Classes:
    """The options of a loss of classes, checked."""
    class_weights = check_weights(who, "class_weights", class_weights)
    check_number(who, "label_smoothing", label_smoothing, least=0.0, most=1.0)
    if ignore_index is not None:
        ignore_index = check_count(who, "ignore_index", ignore_index, least=-(2**31))
    return _Classes(class_weights, label_smoothing, ignore_index)


def cross_entropy(
    label_smoothing: float | Array = 0.0, class_weights: ArrayLike = 1.0, ignore_index: int | None = None
) -> Loss:
    """`softmax_cross_entropy` with smoothed labels, weights of classes, and labels that do not count.

    E = −Σ t′ ln p     ∂E/∂o = (Σₖ t′) p − t′     t′ₖ = wₖ ((1 − ε) tₖ + ε / K)      p = softmax(o)

    A row whose label is `ignore_index` has t′ = 0: no error and no gradient, whatever its logits. In
    `reduced(..., "mean_of_terms")` a label counts w, an ignored one 0. Szegedy et al. 2016 (smoothing).

    Args:
        label_smoothing: ε, from 0 to 1.
        class_weights: w, an array (K,), finite and at least 0.
        ignore_index: A label that does not count, such as −1 for padding; it may be outside 0 … K − 1.

    Raises:
        ValueError: an argument is out of range; the class weights are not as many as the outputs.
    """
    options = _classes("cross_entropy", class_weights, label_smoothing, ignore_index)
    loss = make_loss("cross entropy", _softmax_value, _softmax_gradient, options.prepare)
    return _with_options(loss, "cross_entropy", options)


def negative_log_likelihood(class_weights: ArrayLike = 1.0, ignore_index: int | None = None) -> Loss:
    """−Σ t ln p on logarithms of probabilities, o = ln p, such as a network makes that ends in `log_softmax`.

    E = −Σ w t o     ∂E/∂o = −w t

    Args:
        class_weights: w, an array (K,), finite and at least 0.
        ignore_index: A label that does not count; it may be outside 0 … K − 1.

    Raises:
        ValueError: an argument is out of range; the class weights are not as many as the outputs.
    """
    options = _classes("negative_log_likelihood", class_weights, 0.0, ignore_index)

    def value(o, t):
        return -jnp.sum(jnp.where(t == 0, 0.0, t * o))  # 0 ln 0 counts 0

    loss = make_loss("negative log likelihood", value, lambda o, t: -t, options.prepare)
    return _with_options(loss, "negative_log_likelihood", options)


def _with_options(loss: Loss, function: str, options: _Classes) -> Loss:
    """The loss with what its options say about targets, and the call that makes it."""
    pairs = {"label_smoothing": (options.label_smoothing, 0.0), "class_weights": (options.class_weights, 1.0)}
    call = call_of(function, **pairs, ignore_index=(options.ignore_index, None))
    return loss._replace(check=options.check, terms=options.terms, call=call)


def kl_divergence(log_target: bool = False) -> Loss:
    """The Kullback–Leibler divergence Σ t ln(t / p) of o = ln p from the target t; 0 ln 0 counts 0.

    E = Σ t (ln t − o)     ∂E/∂o = −t

    On logits use `softmax_cross_entropy`: its gradient is the same, its value larger by the entropy of t.

    Args:
        log_target: The target is ln t.

    Raises:
        ValueError: `log_target` is not a boolean.
    """
    log_target = check_flag("kl_divergence", "log_target", log_target)

    def value(o, target):
        t = jnp.exp(target) if log_target else target
        log_t = target if log_target else jnp.log(jnp.where(t > 0, t, 1))
        return jnp.sum(jnp.where(t == 0, 0.0, t * (jnp.where(t == 0, 0.0, log_t) - o)))

    def gradient(o, target):
        return -jnp.exp(target) if log_target else -target

    call = call_of("kl_divergence", log_target=(log_target, False))
    return make_loss("KL divergence", value, gradient, same_shape, call=call)
