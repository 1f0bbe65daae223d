"""A computation that PyTorch and bpjax both make: what is compared, and how."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch

import bpjax as bp

Arrays = Sequence[np.ndarray]


class Case(NamedTuple):
    """A value with its gradients, by PyTorch and by bpjax, all in float64."""

    name: str
    """The call in PyTorch: "cross_entropy(label_smoothing=0.1)"."""
    theirs: Callable[[], Arrays]
    ours: Callable[[], Arrays] | None = None
    """The same arrays in the same order; None if bpjax has no such option."""
    new: bool = False
    """Whether version 0.2.0 of bpjax has it and earlier ones did not."""


def tensor(array, requires_grad: bool = True) -> torch.Tensor:
    """A NumPy array as a tensor, of which PyTorch computes the gradient."""
    return torch.tensor(np.asarray(array), requires_grad=requires_grad)


def gradients(value: torch.Tensor, *inputs: torch.Tensor, cotangent=None) -> list[np.ndarray]:
    """[value, the gradient by each input]; for a value that is no scalar with a cotangent, by default of ones."""
    seed = torch.ones_like(value) if cotangent is None else torch.tensor(np.asarray(cotangent))
    found = torch.autograd.grad(value, inputs, seed, allow_unused=True)
    zeros = [torch.zeros_like(x) if d is None else d for d, x in zip(found, inputs, strict=True)]
    return [value.detach().numpy(), *(d.numpy() for d in zeros)]


def of_layer(layer: bp.Layer, params, x, dy) -> tuple[np.ndarray, object, object]:
    """(y, dparams, dx) of a layer, by the passes written out by hand."""
    y, residuals = layer.forward(params, x)
    return np.asarray(y), *layer.backward(params, residuals, dy)


def random(*shape: int, seed: int = 0) -> np.ndarray:
    """Normally distributed numbers, the same each time."""
    return np.random.default_rng(seed).normal(size=shape)
