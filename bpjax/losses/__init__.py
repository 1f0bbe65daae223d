"""Losses: the error of a batch and its derivative by the output, side by side.

A loss is an error for each example and a reduction. Every loss is a sum over the examples unless its name says mean;
`reduced(loss, reduction)` gives the mean, the mean of all terms, or the errors of the examples themselves.
Half-precision outputs are compared in float32: the value is float32, the gradient has the output's dtype.

    loss          the record `Loss`
    reductions    sum, mean, mean of terms, none
    regression    outputs that are numbers
    classes       one class out of K
    binary        independent classes
    margins       hinge losses
    embeddings    distances between outputs
    ctc           labels in order whose times are unknown
"""

from bpjax.losses.binary import binary_cross_entropy, weighted_binary_cross_entropy
from bpjax.losses.classes import cross_entropy, kl_divergence, negative_log_likelihood, softmax_cross_entropy
from bpjax.losses.ctc import ctc
from bpjax.losses.embeddings import contrastive, cosine_distance, cosine_embedding, triplet
from bpjax.losses.loss import Loss, LossGradient, LossValue
from bpjax.losses.margins import hinge, multiclass_hinge
from bpjax.losses.reductions import batch_mean, error_tolerance, reduced
from bpjax.losses.regression import (
    absolute_error,
    huber,
    hyper_error,
    mean_squared_error,
    quantile,
    squared_error,
)

__all__ = [
    "Loss",
    "LossGradient",
    "LossValue",
    "absolute_error",
    "batch_mean",
    "binary_cross_entropy",
    "contrastive",
    "cosine_distance",
    "cosine_embedding",
    "cross_entropy",
    "ctc",
    "error_tolerance",
    "hinge",
    "huber",
    "hyper_error",
    "kl_divergence",
    "mean_squared_error",
    "multiclass_hinge",
    "negative_log_likelihood",
    "quantile",
    "reduced",
    "softmax_cross_entropy",
    "squared_error",
    "triplet",
    "weighted_binary_cross_entropy",
]
