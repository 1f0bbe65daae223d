"""The inputs of PyTorch's own operator tests (`op_db`), each given to the layer of bpjax that computes the same.

`op_db` needs the package expecttest. PyTorch has channels on the second axis, bpjax on the last; inputs without a batch
axis get one. Sizes that bpjax refuses in a sentence, empty batches and images, count as missing.
"""

import functools
import itertools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
import torch

import bpjax as bp
from pytorch_cases import operator_layers
from pytorch_cases.case import Case, random
from pytorch_cases.operator_layers import Missing, Same


class Compared(NamedTuple):
    """A sample of PyTorch and what makes the same of it; `same` is None where bpjax has no such option."""

    name: str
    call: Callable
    sample: Any
    same: Same | None
    new: bool


FAMILIES = {
    "activations": "relu relu6 elu celu selu leaky_relu hardtanh hardsigmoid hardswish softsign tanhshrink softshrink "
    "hardshrink threshold logsigmoid mish silu gelu softplus prelu glu softmax log_softmax rrelu",
    "pooling": "avg_pool1d avg_pool2d avg_pool3d max_pool1d max_pool2d max_pool3d adaptive_avg_pool1d "
    "adaptive_avg_pool2d adaptive_avg_pool3d adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d lp_pool1d "
    "lp_pool2d fractional_max_pool2d fractional_max_pool3d max_unpool1d max_unpool2d max_unpool3d",
    "padding": "pad",
    "up-sampling": "interpolate upsample_nearest upsample_bilinear pixel_shuffle pixel_unshuffle channel_shuffle",
    "convolution": "conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d unfold fold",
    "normalization": "layer_norm rms_norm group_norm instance_norm batch_norm local_response_norm",
    "linear maps": "linear bilinear",
}
"""Family to the names of PyTorch's operators."""


def operators() -> Iterator[tuple[str, Any]]:
    """(family, operator) of `op_db`, without the variants for complex numbers and single devices."""
    from torch.testing._internal.common_methods_invocations import op_db

    names = {f"nn.functional.{name}": family for family, listed in FAMILIES.items() for name in listed.split()}
    names |= {"softmax": "activations", "log_softmax": "activations"}
    for operator in op_db:
        variant = operator.variant_test_name
        if operator.name in names and variant not in ("complex", "grad", "with_dtype", "without_cudnn"):
            yield names[operator.name], operator


def compared(operator) -> Iterator[Compared]:
    """The samples of an operator; those that differ only in what bpjax does not distinguish share their result."""
    make = getattr(operator_layers, operator.name.split(".")[-1], None)
    torch.manual_seed(0)
    for index, sample in enumerate(operator.sample_inputs("cpu", torch.float64, requires_grad=True)):
        same, new = None, True
        if make is not None:
            try:
                same = make(sample.input, *sample.args, **sample.kwargs)
                new = same.new
            except Missing:
                pass
        name = f"{operator.name.split('.')[-1]} {operator.variant_test_name} {index} {text(sample)}"
        yield Compared(name, operator.op, sample, same, new)


def text(sample) -> str:
    """The arguments of a sample."""
    shown = lambda a: tuple(a.shape) if isinstance(a, torch.Tensor) else a
    args, kwargs = map(shown, (sample.input, *sample.args)), {k: shown(v) for k, v in sample.kwargs.items()}
    return ", ".join([*map(str, args), *(f"{k}={v}" for k, v in kwargs.items())])


def by_torch(one: Compared) -> list[np.ndarray]:
    """y and the gradients by the tensors that the layer has, in PyTorch's layout."""
    assert one.same is not None
    y = one.call(one.sample.input, *one.sample.args, **one.sample.kwargs)
    y = y[0] if isinstance(y, tuple) else y
    seed = torch.tensor(random(*y.shape))
    return [y.detach().numpy(), *(d.numpy() for d in torch.autograd.grad(y, trained(one.same), seed))]


def by_us(one: Compared) -> list[np.ndarray]:
    """The same by the passes written out by hand."""
    same = one.same
    assert same is not None
    shape = jax.eval_shape(same.layer.forward, same.params, same.x)[0].shape
    dy = np.asarray(same.from_torch(random(*same.to_torch(np.zeros(shape)).shape)))
    y, (dparams, dx) = passes(same.layer)(same.params, same.x, dy)
    found = zip(same.tensors, same.gradients(dparams, dx), strict=True)
    return [np.asarray(same.to_torch(y)), *(np.asarray(d) for tensor, d in found if tensor.requires_grad)]


def trained(same: Same) -> list[torch.Tensor]:
    """The tensors whose gradient PyTorch computes."""
    return [tensor for tensor in same.tensors if tensor.requires_grad]


@functools.cache
def passes(layer: bp.Layer) -> Callable:
    """Both passes of a layer as one compiled program."""

    @jax.jit
    def run(params, x, dy):
        y, residuals = layer.forward(params, x)
        return y, layer.backward(params, residuals, dy)

    return run


def cases(family: str) -> list[Case]:
    """All samples of a family."""
    found = itertools.chain.from_iterable(compared(operator) for f, operator in operators() if f == family)
    return [
        Case(
            one.name,
            functools.partial(by_torch, one),
            None if one.same is None else functools.partial(by_us, one),
            one.new,
        )
        for one in found
    ]
