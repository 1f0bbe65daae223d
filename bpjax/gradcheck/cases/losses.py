"""Cases of losses: outputs and targets at which the derivative exists."""

from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from bpjax.losses import (
    Loss,
    absolute_error,
    batch_mean,
    binary_cross_entropy,
    contrastive,
    cosine_distance,
    cosine_embedding,
    cross_entropy,
    ctc,
    hinge,
    huber,
    hyper_error,
    kl_divergence,
    mean_squared_error,
    multiclass_hinge,
    negative_log_likelihood,
    quantile,
    reduced,
    softmax_cross_entropy,
    squared_error,
    triplet,
    weighted_binary_cross_entropy,
)
from bpjax.types import Array


class Draw(Protocol):
    """Draw outputs or targets of a loss for a batch of `shape[0]` examples and `shape[1]` classes."""

    def __call__(self, key, shape, /) -> Array:
        """An array of this shape, labels for it, or sequences of its examples."""
        ...


class LossCase(NamedTuple):
    """A loss with the outputs and targets it is checked at."""

    loss: Loss
    output: Draw
    target: Draw


def near_targets(key, shape):
    """Targets from 0 to 1, outputs less than 1 away from them."""
    return jax.random.uniform(key, shape)


def labels(key, shape):
    """Labels from 0 to K − 1."""
    return jax.random.randint(key, shape[:1], 0, shape[1])


def some_ignored(key, shape):
    """Labels, −1 for every third example."""
    return jnp.where(jnp.arange(shape[0]) % 3 == 1, -1, labels(key, shape))


def one_hot(key, shape):
    """One-hot rows."""
    return jax.nn.one_hot(labels(key, shape), shape[1])


def rows(key, shape):
    """Probabilities of classes."""
    return jax.nn.softmax(jax.random.normal(key, shape))


def signs(key, shape):
    """Targets −1 and 1."""
    return jnp.where(jax.random.bernoulli(key, shape=shape), 1.0, -1.0)


def same(key, shape):
    """Whether a pair belongs together, 1 or 0."""
    return jnp.arange(shape[0]) % 2


def vectors(count: int) -> Draw:
    """So many vectors for each example, all entries but the first between −1 and 1, so that no two are alike."""

    def draw(key, shape):
        return jax.random.uniform(key, (shape[0], count, 3), minval=-1.0).at[..., 0].set(0.5 * jnp.arange(count))

    return draw


def logits_over_time(key, shape):
    """Logits of four classes at five times."""
    return jax.random.normal(key, (shape[0], 5, 4))


def sequences(key, shape):
    """Labels from 1 to 3 of different lengths, with repetitions: no label in the first example."""
    lengths = np.arange(shape[0]) % 4
    drawn = jax.random.randint(key, (shape[0], 3), 1, 4).at[1::4, 0].set(2).at[3::4, :2].set(2)
    return jnp.where(jnp.arange(3)[None, :] < lengths[:, None], drawn, -1)


def frames_and_sequences(key, shape):
    """The number of times, 4 or 5, and labels."""
    return jnp.concatenate([4 + jnp.arange(shape[0])[:, None] % 2, sequences(key, shape)], axis=1)


normal = jax.random.normal

LOSSES: dict[str, LossCase] = {
    "squared_error": LossCase(squared_error, normal, near_targets),
    "mean_squared_error": LossCase(mean_squared_error, normal, near_targets),
    "absolute_error": LossCase(absolute_error, normal, near_targets),
    "softmax_cross_entropy, labels": LossCase(softmax_cross_entropy, normal, labels),
    "softmax_cross_entropy, one-hot": LossCase(softmax_cross_entropy, normal, one_hot),
    "softmax_cross_entropy, soft": LossCase(softmax_cross_entropy, normal, near_targets),
    "cross_entropy(0.1, ignore_index=-1)": LossCase(cross_entropy(0.1, 2.0, -1), normal, some_ignored),
    "negative_log_likelihood()": LossCase(negative_log_likelihood(), normal, labels),
    "kl_divergence()": LossCase(kl_divergence(), normal, rows),
    "kl_divergence(log_target=True)": LossCase(kl_divergence(log_target=True), normal, normal),
    "binary_cross_entropy": LossCase(binary_cross_entropy, normal, near_targets),
    "weighted_binary_cross_entropy(3, …)": LossCase(
        weighted_binary_cross_entropy(3.0, 0.5, label_smoothing=0.1), normal, near_targets
    ),
    "huber(0.7)": LossCase(huber(0.7), normal, near_targets),
    "quantile(0.9)": LossCase(quantile(0.9), normal, near_targets),
    "hyper_error": LossCase(hyper_error, near_targets, near_targets),
    "hinge()": LossCase(hinge(), normal, signs),
    "hinge(power='squared')": LossCase(hinge(0.5, "squared"), normal, signs),
    "multiclass_hinge()": LossCase(multiclass_hinge(), normal, labels),
    "multiclass_hinge(power='squared')": LossCase(multiclass_hinge(0.5, "squared"), normal, labels),
    "cosine_distance": LossCase(cosine_distance, normal, near_targets),
    "cosine_embedding(0.2)": LossCase(cosine_embedding(0.2), vectors(2), same),
    "contrastive()": LossCase(contrastive(), vectors(2), same),
    "triplet()": LossCase(triplet(), vectors(3), same),
    "triplet(swap=True)": LossCase(triplet(2.0, swap=True, offset=0.1), vectors(3), same),
    "ctc()": LossCase(ctc(), logits_over_time, sequences),
    "ctc(with_frames=True)": LossCase(ctc(with_frames=True), logits_over_time, frames_and_sequences),
    "batch_mean(squared_error)": LossCase(batch_mean(squared_error), normal, near_targets),
    "reduced(cross_entropy, 'mean_of_terms')": LossCase(
        reduced(cross_entropy(ignore_index=-1), "mean_of_terms"), normal, some_ignored
    ),
    "reduced(mean_squared_error, 'sum')": LossCase(reduced(mean_squared_error, "sum"), normal, near_targets),
    "reduced(huber(), 'none')": LossCase(reduced(huber(), "none"), normal, near_targets),
}
