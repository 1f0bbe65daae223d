"""Mixture of experts: layers whose outputs are weighted by a gate that sees the input."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from bpjax.layers.combinators.chain import add_trees
from bpjax.layers.initializers import Initializer, initializer, lecun_normal
from bpjax.layers.layer import EMPTY, Kind, Layer, Parts, as_shape, check_layer, uses_of
from bpjax.layers.product import affine, input_gradient, weight_gradient
from bpjax.types import Array, Params
from bpjax.util.checks import as_floating, check_count, check_same_dtype, other_params
from bpjax.util.precision import widen


class Mixture(NamedTuple):
    """The parameters of a mixture of experts."""

    gate: Array  # (D, E)
    experts: tuple[Params, ...]  # one entry per expert


def mixture_of_experts(*experts: Layer, top: int | None = None, gate: str | Initializer = lecun_normal) -> Layer:
    """Layers with the same input, whose outputs are averaged with weights that depend on it, x (N, ..., D).

    forward    a = x W     p = softmax(a) over the chosen experts, 0 for the others     y = Σₑ pₑ fₑ(x)
    backward   dyₑ = pₑ dy     gₑ = ⟨dy, fₑ(x)⟩     daₑ = pₑ (gₑ − Σ p g)     dW = Σ xᵀ da
               dx = da Wᵀ + Σₑ (∂fₑ/∂x)ᵀ dyₑ

    Jacobs, Jordan, Nowlan & Hinton 1991, where all experts are chosen; with `top` = k those with the k largest a, as
    Shazeer et al. 2017 and Mixtral do. The choice is a constant of the derivative: experts that are not chosen receive
    no error, neither does their column of W. Of equal a the expert that comes first is chosen, as by `jax.lax.top_k`.
    Every expert computes every example; unchosen outputs are left out, a NaN in one does no harm. The params are
    `Mixture`. Residuals: x, p, the outputs of the experts, and their residuals.

    Args:
        *experts: E layers from (N, ..., D) to the same shape (N, ..., H).
        top: k, the number of experts for each example and position; all by default.
        gate: The initializer of W, or the name of one.

    Raises:
        ValueError: an argument is not a Layer, there is none, or `top` is not from 1 to E; in `init` and `forward`, the
            shapes do not fit; in `forward`, the params belong to another network.
    """
    if not experts:
        raise ValueError("`mixture_of_experts` expected at least one expert, got none.")
    for layer in experts:
        check_layer("mixture_of_experts", layer)
    count = len(experts)
    k = count if top is None else check_count("mixture_of_experts", "top", top, most=count)
    draw = initializer(gate)

    def init(key, in_shape):
        key_gate, *keys = jax.random.split(key, count + 1)
        pairs = [layer.init(k, in_shape) for layer, k in zip(experts, keys, strict=True)]
        in_shape, shapes = as_shape(in_shape), [as_shape(shape) for _, shape in pairs]
        _check_shapes(in_shape, shapes)
        w = draw(key_gate, (in_shape[-1], count), jnp.result_type(float))
        return Mixture(w, tuple(params for params, _ in pairs)), shapes[0]

    def forward(params, x, context=EMPTY):
        _check_params(params, count)
        x = as_floating("mixture_of_experts", "x", x)
        check_same_dtype("mixture_of_experts", x, params.gate)
        pairs = [
            layer.forward_in(context.for_part(index), part, x)
            for index, (layer, part) in enumerate(zip(experts, params.experts, strict=True))
        ]
        outputs, residuals = zip(*pairs, strict=True)
        _check_shapes(x.shape[1:], [y.shape[1:] for y in outputs])
        p = gate_weights(widen(affine(x, params.gate)), k)
        y = _weighted(p, outputs)
        return y.astype(x.dtype), (x, p, outputs, residuals)

    def backward(params, all_residuals, dy):
        x, p, outputs, residuals = all_residuals
        wide = widen(dy)
        g = jnp.stack(
            [jnp.where(p[..., e] > 0, (wide * widen(y)).sum(-1), 0.0) for e, y in enumerate(outputs)], axis=-1
        )
        da = (p * (g - (p * g).sum(axis=-1, keepdims=True))).astype(x.dtype)
        pairs = [
            layer.backward(part, of_layer, (p[..., e, None] * wide).astype(dy.dtype))
            for e, (layer, part, of_layer) in enumerate(zip(experts, params.experts, residuals, strict=True))
        ]
        dexperts, dxs = zip(*pairs, strict=True)
        return Mixture(weight_gradient(x, da), dexperts), add_trees(input_gradient(da, params.gate), *dxs)

    def rebuild(*layers: Layer) -> Layer:
        return mixture_of_experts(*layers, top=top, gate=gate)

    arguments = "{parts}" + ("" if top is None else f", top={top}")
    parts = Parts(experts, rebuild)
    return Layer("mixture of experts", init, forward, backward, Kind.COMBINATOR, parts, arguments, uses_of(experts))


def gate_weights(a: Array, k: int) -> Array:
    """p (..., E): the softmax of the k largest entries of a (..., E) among themselves, 0 elsewhere."""
    if k == a.shape[-1]:
        return jax.nn.softmax(a, axis=-1)
    _, index = jax.lax.top_k(jax.lax.stop_gradient(a), k)
    chosen = (index[..., None] == jnp.arange(a.shape[-1], dtype=index.dtype).reshape(*[1] * a.ndim, -1)).any(axis=-2)
    return jax.nn.softmax(jnp.where(chosen, a, -jnp.inf), axis=-1)


def _weighted(p: Array, outputs) -> Array:
    """Σₑ pₑ yₑ, without the experts whose weight is 0."""
    terms = [jnp.where(p[..., e, None] > 0, p[..., e, None] * widen(y), 0.0) for e, y in enumerate(outputs)]
    return sum(terms[1:], terms[0])


def _check_shapes(in_shape, shapes) -> None:
    if any(shape != shapes[0] or shape[:-1] != in_shape[:-1] for shape in shapes):
        raise ValueError(
            f"`mixture_of_experts` expected experts with outputs of one shape {(*in_shape[:-1], 'H')} for inputs "
            f"{tuple(in_shape)}, got {', '.join(map(str, shapes))}."
        )


def _check_params(params, count: int) -> None:
    if not isinstance(params, Mixture) or len(params.experts) != count or jnp.shape(params.gate)[1:] != (count,):
        raise other_params("`mixture_of_experts`", f"Mixture(gate=(D, {count}), experts of {count} layers)", params)
