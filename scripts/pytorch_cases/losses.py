"""Losses of `torch.nn.functional`."""

# ruff: noqa: E501  (a table)

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F

import bpjax as bp
from bpjax import losses
from pytorch_cases.case import Case, gradients, random, tensor

N, T, K = 6, 7, 5
O = random(N, K)
NEAR = random(N, K, seed=1) * 0.3 + O
UNIT = 1 / (1 + np.exp(-random(N, K, seed=2)))
ROWS = np.exp(O[::-1]) / np.exp(O[::-1]).sum(1, keepdims=True)
LABELS = np.array([0, 4, 2, 1, 3, 2])
IGNORED = np.array([0, -100, 2, 1, -100, 2])
SIGNS = np.where(random(N, K, seed=3) > 0, 1.0, -1.0)
SAME = np.array([1.0, -1, 1, -1, 1, -1])
WEIGHTS = np.array([0.5, 1.0, 2.0, 0.25, 1.5])
SEQUENCE, TOKENS = random(N, T, K, seed=4), np.arange(N * T).reshape(N, T) % K
REDUCTIONS = {"none": "none", "sum": "sum", "mean": "mean_of_terms"}
"""PyTorch's name of a reduction, and ours."""


def case(name: str, loss: bp.losses.Loss | None, theirs: Callable, output, target, new: bool = True, **options):
    """The cases of a loss in all three reductions; `theirs` is a function of PyTorch with `options`."""
    for theirs_name, ours_name in REDUCTIONS.items():

        def by_torch(reduction=theirs_name):
            o = tensor(output)
            return gradients(theirs(o, torch.tensor(np.asarray(target)), reduction=reduction, **options), o)

        def by_us(reduction=ours_name):
            ours = losses.reduced(loss, reduction)
            value = np.asarray(ours.value(output, target))
            return [value, ours.gradient(output, target)]

        ours = None if loss is None else by_us
        yield Case(f"{name}, reduction={theirs_name!r}", by_torch, ours, new or theirs_name == "none")


def per_example(theirs: Callable) -> Callable:
    """With reduction="none" the sum over the entries of each example, as ours."""

    def reduced(o, t, reduction, **options):
        value = theirs(o, t, reduction=reduction, **options)
        return value.reshape(len(value), -1).sum(1) if reduction == "none" else value

    return reduced


def over_time(theirs: Callable) -> Callable:
    """PyTorch has the classes on the second axis."""
    return per_example(lambda o, t, **options: theirs(o.transpose(1, 2), t, **options))


def of_members(theirs: Callable) -> Callable:
    """The members (N, F) of each example as arguments."""
    return lambda o, t, **options: theirs(*o.unbind(1), t, **options)


def scaled(factor: float, loss: bp.losses.Loss) -> bp.losses.Loss:
    """A multiple of a loss: `F.mse_loss` has no ½, `F.multi_margin_loss` divides by K."""
    return loss._replace(
        value=lambda o, t: factor * loss.value(o, t), gradient=lambda o, t: factor * loss.gradient(o, t)
    )


def kl(o, t, reduction, log_target=False):
    """`F.kl_div`, whose "mean" would warn."""
    value = F.kl_div(o, t, reduction="none", log_target=log_target)
    return {"none": value.sum(1), "sum": value.sum(), "mean": value.mean()}[reduction]


def ctc_cases():
    """`F.ctc_loss` in its reductions "sum" and "none"; its "mean" divides each example by its own length."""
    o, lengths, frames = random(N, T, K), np.array([0, 1, 2, 3, 3, 2]), np.array([7, 7, 6, 7, 5, 4])
    target = np.array([[1, 1, 1], [2, 1, 1], [3, 3, 1], [1, 2, 3], [4, 4, 2], [1, 2, 4]])
    ours = np.where(np.arange(3) < lengths[:, None], target, -1)

    def theirs(o, reduction, zero=False, feasible=frames):
        log_p = o.log_softmax(2).transpose(0, 1)
        arguments = (torch.tensor(a) for a in (target, feasible, lengths))
        return F.ctc_loss(log_p, *arguments, reduction=reduction, zero_infinity=zero)

    def by_torch(reduction, zero=False, feasible=frames):
        x = tensor(o)
        return gradients(theirs(x, reduction, zero, feasible), x)

    def by_us(reduction, zero=False, feasible=frames):
        loss = losses.reduced(losses.ctc(zero_infinity=zero, with_frames=True), reduction)
        with_frames = np.concatenate([feasible[:, None], ours], axis=1)
        return [np.asarray(loss.value(o, with_frames)), loss.gradient(o, with_frames)]

    short = np.array([7, 7, 2, 7, 3, 1])  # too short for the labels of the third, the fifth and the sixth
    for reduction in ("sum", "none"):
        yield Case(
            f"ctc_loss, reduction={reduction!r}", lambda r=reduction: by_torch(r), lambda r=reduction: by_us(r), True
        )
    yield Case(
        "ctc_loss(zero_infinity=True), impossible labels",
        lambda: by_torch("sum", True, short), lambda: by_us("sum", True, short), True,
    )  # fmt: skip


PAIRS, TRIPLETS = random(N, 2, K, seed=5), random(N, 3, K, seed=6)
ce, nll, bce = F.cross_entropy, F.nll_loss, per_example(F.binary_cross_entropy_with_logits)
w = torch.tensor(WEIGHTS)

CASES = [
    *case("mse_loss", scaled(2, losses.squared_error), per_example(F.mse_loss), O, NEAR, new=False),
    *case("l1_loss", losses.absolute_error, per_example(F.l1_loss), O, NEAR),
    *case("huber_loss(delta=0.3)", losses.huber(0.3), per_example(F.huber_loss), O, NEAR, new=False, delta=0.3),
    *case(
        "smooth_l1_loss(beta=0.3)", scaled(1 / 0.3, losses.huber(0.3)), per_example(F.smooth_l1_loss), O, NEAR,
        new=False, beta=0.3,
    ),
    *case("cross_entropy", losses.softmax_cross_entropy, ce, O, LABELS, new=False),
    *case("cross_entropy, soft targets", losses.softmax_cross_entropy, ce, O, ROWS, new=False),
    *case("cross_entropy, sequences", losses.softmax_cross_entropy, over_time(ce), SEQUENCE, TOKENS, new=False),
    *case("cross_entropy(label_smoothing)", losses.cross_entropy(0.1), ce, O, LABELS, label_smoothing=0.1),
    *case("cross_entropy(weight)", losses.cross_entropy(class_weights=WEIGHTS), ce, O, LABELS, weight=w),
    *case("cross_entropy(ignore_index)", losses.cross_entropy(ignore_index=-100), ce, O, IGNORED),
    *case(
        "cross_entropy(weight, label_smoothing, ignore_index)",
        losses.cross_entropy(0.2, WEIGHTS, -100), ce, O, IGNORED, weight=w, label_smoothing=0.2,
    ),
    *case(
        "cross_entropy(weight, label_smoothing), soft targets",
        losses.cross_entropy(0.2, WEIGHTS), ce, O, ROWS, weight=w, label_smoothing=0.2,
    ),
    *case(
        "cross_entropy(weight, ignore_index), sequences",
        losses.cross_entropy(0.0, WEIGHTS, 2), over_time(ce), SEQUENCE, TOKENS, weight=w, ignore_index=2,
    ),
    *case("nll_loss", losses.negative_log_likelihood(), nll, O, LABELS),
    *case("nll_loss(weight, ignore_index)", losses.negative_log_likelihood(WEIGHTS, -100), nll, O, IGNORED, weight=w),
    *case("kl_div", losses.kl_divergence(), kl, O, ROWS),
    *case("kl_div(log_target=True)", losses.kl_divergence(True), kl, O, np.log(ROWS), log_target=True),
    *case("binary_cross_entropy_with_logits", losses.binary_cross_entropy, bce, O, UNIT, new=False),
    *case("binary_cross_entropy_with_logits(weight)", losses.weighted_binary_cross_entropy(1.0, WEIGHTS), bce, O, UNIT, weight=w),
    *case(
        "binary_cross_entropy_with_logits(pos_weight)",
        losses.weighted_binary_cross_entropy(WEIGHTS), bce, O, UNIT, pos_weight=w,
    ),
    *case("multi_margin_loss", scaled(1 / K, losses.multiclass_hinge()), F.multi_margin_loss, O, LABELS),
    *case("multi_margin_loss(p=2, margin)", scaled(1 / K, losses.multiclass_hinge(0.5, "squared")), F.multi_margin_loss, O, LABELS, p=2, margin=0.5),
    *case("multi_margin_loss(weight)", scaled(1 / K, losses.multiclass_hinge(class_weights=WEIGHTS)), F.multi_margin_loss, O, LABELS, weight=w),
    *case("cosine_embedding_loss(margin=0.2)", losses.cosine_embedding(0.2), of_members(F.cosine_embedding_loss), PAIRS, SAME, margin=0.2),
    *case(
        "triplet_margin_loss", losses.triplet(offset=1e-6),
        lambda o, t, **options: F.triplet_margin_loss(*o.unbind(1), **options), TRIPLETS, np.zeros(N),
    ),
    *case(
        "triplet_margin_loss(swap=True, margin=2)", losses.triplet(2.0, True, 1e-6),
        lambda o, t, **options: F.triplet_margin_loss(*o.unbind(1), **options), TRIPLETS, np.zeros(N), swap=True, margin=2.0,
    ),
    *ctc_cases(),
    *case(
        "soft_margin_loss", losses.binary_cross_entropy, per_example(lambda o, t, **k: F.soft_margin_loss(o, 2 * t - 1, **k)),
        O, (SIGNS + 1) / 2, new=False,
    ),
    *case("hinge_embedding_loss", None, F.hinge_embedding_loss, O, SIGNS),
    *case("poisson_nll_loss", None, F.poisson_nll_loss, O, UNIT),
    *case("gaussian_nll_loss", None, F.gaussian_nll_loss, O, UNIT),
    *case("multilabel_margin_loss", None, F.multilabel_margin_loss, O, LABELS),
]  # fmt: skip
