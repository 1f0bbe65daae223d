"""Affine maps of low rank, and low-rank changes of a layer that is not trained itself (LoRA)."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from bpjax.layers.combinators.chain import chain
from bpjax.layers.dense import Affine, dense
from bpjax.layers.initializers import Initializer, initializer, lecun_normal, zeros
from bpjax.layers.layer import EMPTY, Kind, Layer, Parts, as_shape, check_layer
from bpjax.layers.params import check_params
from bpjax.layers.product import affine, input_gradient, weight_gradient
from bpjax.types import Array, Params
from bpjax.util.checks import as_floating, check_count, check_instance, check_number, check_same_dtype, other_params
from bpjax.util.precision import widen


def low_rank(
    features: int,
    rank: int,
    use_bias: bool = True,
    weights: str | Initializer = lecun_normal,
    biases: str | Initializer = zeros,
) -> Layer:
    """A dense layer whose matrix is a product of two thin ones, x (N, D) to y (N, H).

    forward    y = x U V + b               U (D, r), V (r, H): r (D + H) weights instead of D H
    backward   dV = (x U)ᵀ dy     db = Σₙ dyₙ     dU = xᵀ dy Vᵀ     dx = dy Vᵀ Uᵀ

    It is `chain(dense(rank, use_bias=False), dense(features))`.

    Args:
        features: H, the number of outputs.
        rank: r, the rank of the product.
        use_bias: Whether there is a bias b.
        weights: The initializer of U and V, or the name of one.
        biases: The initializer of b, or the name of one.

    Raises:
        ValueError: as `dense`; `rank` is not a positive integer.
    """
    rank = check_count("low_rank", "rank", rank)
    return chain(dense(rank, use_bias=False, weights=weights), dense(features, use_bias, weights, biases))


class Lora(NamedTuple):
    """The parameters of `lora`."""

    base: Params  # of the layer that is not trained
    a: Array  # (D, r)
    b: Array  # (r, H)


def lora(layer: Layer, rank: int, alpha: float | None = None, weights: str | Initializer = lecun_normal) -> Layer:
    """A layer that is not trained plus a map of low rank that is, x (N, ..., D) to y (N, ..., H).

    forward    y = f(x) + s x A B                s = α / r, A (D, r), B (r, H)
    backward   dbase = 0     dB = s (x A)ᵀ dy     dA = s xᵀ dy Bᵀ     dx = (∂f/∂x)ᵀ dy + s dy Bᵀ Aᵀ

    Hu et al. 2022. B is 0 initially, so that y = f(x). The params are `Lora`; put trained weights of f into
    `params._replace(base=...)`, and `merge_lora` makes one dense layer of both. Residuals: x, and those of f.

    Args:
        layer: f, usually a `dense` layer; of its input only the last axis may change.
        rank: r.
        alpha: α; r by default, so that s = 1.
        weights: The initializer of A, or the name of one.

    Raises:
        ValueError: `layer` is not a Layer, `rank` is not a positive integer or `alpha` not above 0; in `init`, f
            changes another axis than the last; in `forward`, the params belong to another layer.
    """
    check_layer("lora", layer)
    rank = check_count("lora", "rank", rank)
    scale = _scale("lora", alpha, rank)
    draw = initializer(weights)

    def init(key, in_shape):
        key_base, key_a = jax.random.split(key)
        base, out_shape = layer.init(key_base, in_shape)
        in_shape, out_shape = as_shape(in_shape), as_shape(out_shape)
        if in_shape[:-1] != out_shape[:-1]:
            raise ValueError(
                f"`lora` expected a layer that changes at most the last axis, got {layer.name} from {in_shape} to "
                f"{out_shape}."
            )
        dtype = jnp.result_type(float)
        a = draw(key_a, (in_shape[-1], rank), dtype)
        return Lora(base, a, jnp.zeros((rank, out_shape[-1]), dtype)), out_shape

    def forward(params, x, context=EMPTY):
        if not isinstance(params, Lora) or jnp.shape(params.a)[1:] != (rank,):
            raise other_params(f"`lora` of rank {rank}", f"Lora(base, a=(D, {rank}), b=({rank}, H))", params)
        x = as_floating("lora", "x", x)
        y, residuals = layer.forward_in(context, jax.lax.stop_gradient(params.base), x)
        check_same_dtype("lora", x, params.a)
        change = widen(affine(affine(x, params.a), params.b))
        return (widen(y) + scale * change).astype(y.dtype), (x, residuals)

    def backward(params, residuals, dy):
        x, of_layer = residuals
        dbase, dx = layer.backward(params.base, of_layer, dy)
        dy_scaled = (scale * widen(dy)).astype(dy.dtype)
        dhidden = input_gradient(dy_scaled, params.b)
        dparams = Lora(
            jax.tree.map(jnp.zeros_like, dbase),
            weight_gradient(x, dhidden),
            weight_gradient(affine(x, params.a), dy_scaled),
        )
        return dparams, dx + input_gradient(dhidden, params.a)

    def rebuild(layer: Layer) -> Layer:
        return lora(layer, rank, alpha, weights)

    arguments = f"{{parts}}, {rank}" + ("" if alpha is None else f", alpha={alpha:g}")
    return Layer("lora", init, forward, backward, Kind.COMBINATOR, Parts((layer,), rebuild), arguments, layer.uses)


class Matrices(NamedTuple):
    """What `merge_lora` multiplies, for its messages."""

    w: Array  # (D, H)
    a: Array  # (D, r)
    b: Array  # (r, H)


def merge_lora(params: Any, alpha: float | None = None) -> Affine:
    """The params of one dense layer that computes the same: w = w of the base + α / r · A B.

    Args:
        params: The params of `lora(dense(...), rank, alpha)`.
        alpha: As in `lora`.

    Raises:
        ValueError: `params` are not `Lora`, its base is not `Affine`, the shapes do not fit, or `alpha` is not above 0.
    """
    example = "bp.layers.lora(bp.dense(3), 2).init(key, (4,))[0]"
    lora_params = check_instance("merge_lora", "params", params, Lora, example)
    base = check_instance("merge_lora", "params.base", lora_params.base, Affine, "bp.layers.Affine(w, b)")
    matrices = Matrices(base.w, lora_params.a, lora_params.b)
    check_params("`merge_lora`", matrices, Matrices, {"w": ("D", "H"), "a": ("D", "r"), "b": ("r", "H")})
    change = _scale("merge_lora", alpha, lora_params.a.shape[1]) * (lora_params.a @ lora_params.b)
    return base._replace(w=base.w + change.astype(base.w.dtype))


def _scale(who: str, alpha: float | None, rank: int) -> float:
    """s = α / r."""
    if alpha is None:
        return 1.0
    check_number(who, "alpha", alpha, above=0.0)
    return float(alpha) / rank
