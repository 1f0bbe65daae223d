"""All built-in layers, activations and losses with inputs to check them at. A new row is in every table of tests."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import jax
import jax.numpy as jnp

from bpjax.gradcheck.agreement import Agreement, worst_of
from bpjax.gradcheck.cases import activations as more_activations
from bpjax.gradcheck.cases import (
    attention,
    combinators,
    convolution,
    further,
    interop,
    networks,
    normalization,
    pooling,
    recurrent,
    sparse,
    spatial,
    spiking,
)
from bpjax.gradcheck.cases.case import LayerCase
from bpjax.gradcheck.cases.losses import LOSSES, LossCase
from bpjax.gradcheck.per_layer import compare_layer, compare_loss
from bpjax.layers import activations
from bpjax.layers.combinators.chain import chain
from bpjax.layers.dense import dense
from bpjax.layers.layer import Layer
from bpjax.util.compilation import FAST_COMPILATION
from bpjax.util.float64 import cast_on_host, to_host
from bpjax.util.precision import cast

ACTIVATIONS: dict[str, Layer] = {
    "identity": activations.identity,
    "sigmoid": activations.sigmoid,
    "scaled_sigmoid(-0.5, 0.5)": activations.scaled_sigmoid(-0.5, 0.5),
    "tanh": activations.tanh,
    "relu": activations.relu,
    "leaky_relu()": activations.leaky_relu(),
    "elu()": activations.elu(),
    "softplus": activations.softplus,
    "gelu": activations.gelu,
    "gelu_tanh": activations.gelu_tanh,
    "silu": activations.silu,
    "softmax": activations.softmax,
}

LAYERS: dict[str, LayerCase] = {
    "dense(3)": LayerCase(dense(3), (5,)),
    "dense(3, use_bias=False)": LayerCase(dense(3, use_bias=False), (5,)),
    "dense(40)": LayerCase(dense(40), (30,)),
    "chain(dense(4), tanh, dense(3))": LayerCase(chain(dense(4), activations.tanh, dense(3)), (5,)),
    "chain of chains": LayerCase(chain(chain(dense(4), activations.relu), chain(dense(3))), (5,)),
    **more_activations.CASES,
    **combinators.CASES,
    **sparse.CASES,
    **convolution.CASES,
    **pooling.CASES,
    **spatial.CASES,
    **normalization.CASES,
    **further.CASES,
    **recurrent.CASES,
    **spiking.CASES,
    **attention.CASES,
    **interop.CASES,
    **networks.CASES,
}
"""Layers with the inputs they are checked at. Both forms of the matrix product occur, written out and not."""


DTYPES = ("float64", "float32", "bfloat16", "float16")


class Checked(NamedTuple):
    """A registry entry, checked in one dtype."""

    kind: str  # "layer", "activation" or "loss"
    name: str
    dtype: str
    worst: Agreement  # the quantity nearest to its tolerance, or farthest beyond it


def check_registry(examples: int = 16) -> Iterator[Checked]:
    """Check every entry in every dtype against `jax.vjp` in float64; yields a `Checked` for each.

    Entries are checked in parallel, on as many threads as there are cores: most of the time is compilation.
    """
    layers = {("layer", name): case for name, case in LAYERS.items()}
    layers |= {("activation", name): LayerCase(layer, (6,)) for name, layer in ACTIVATIONS.items()}
    pool = ThreadPoolExecutor(os.cpu_count())
    try:
        futures = [pool.submit(check_layer_case, *entry, case, examples) for entry, case in layers.items()]
        futures += [pool.submit(check_loss_case, name, case, examples) for name, case in LOSSES.items()]
        for future in futures:
            yield from future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def check_layer_case(kind: str, name: str, case: LayerCase, examples: int) -> list[Checked]:
    """Check a layer in every dtype.

    Args:
        kind: "layer" or "activation", for the result.
        name: for the result.
        case: the layer and its inputs.
        examples: in the batch.
    """

    def draw(key_params, key_x):
        return case.layer.init(key_params, case.in_shape)[0], case.inputs(key_x, examples, case.in_shape)

    with jax.enable_x64(True):
        drawn = to_host(jax.jit(draw, compiler_options=FAST_COMPILATION)(jax.random.key(0), jax.random.key(1)))
    rows = []
    for dtype in DTYPES:
        with jax.enable_x64(dtype == "float64"):
            found = compare_layer(case.layer, *cast_on_host(drawn, jnp.dtype(dtype)))
        rows.append(Checked(kind, name, dtype, worst_of([*found.dparams.values(), found.dx])))
    return rows


def check_loss_case(name: str, case: LossCase, examples: int) -> list[Checked]:
    """Check a loss in every dtype.

    Args:
        name: for the result.
        case: the loss with its outputs and targets.
        examples: in the batch.
    """
    rows, shape = [], (examples, 5)
    for dtype in DTYPES:
        with jax.enable_x64(dtype == "float64"):
            output = cast(case.output(jax.random.key(2), shape), dtype)
            target = cast(case.target(jax.random.key(3), shape), dtype)
            rows.append(Checked("loss", name, dtype, compare_loss(case.loss, output, target).gradient))
    return rows
