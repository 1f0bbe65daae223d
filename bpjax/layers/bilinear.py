"""A bilinear map of two inputs."""

import functools
import math

import jax
import jax.numpy as jnp

from bpjax.layers.dense import Affine
from bpjax.layers.initializers import Initializer, initializer, lecun_normal, zeros
from bpjax.layers.layer import Layer, check_in_shape
from bpjax.layers.params import check_params
from bpjax.layers.product import affine, bias_gradient, input_gradient, weight_gradient
from bpjax.util.call_text import call_text, shown
from bpjax.util.checks import check_count, check_features, check_flag, check_same_dtype


def bilinear(
    features: int,
    use_bias: bool = True,
    weights: str | Initializer = lecun_normal,
    biases: str | Initializer = zeros,
) -> Layer:
    """Every product of entries of two inputs, weighted, x = (u (N, D), v (N, E)) to y (N, H).

    forward    yₕ = Σᵢⱼ uᵢ Wᵢⱼₕ vⱼ + bₕ
    backward   dWᵢⱼₕ = Σₙ uᵢ vⱼ dyₕ     db = Σₙ dy     duᵢ = Σⱼ vⱼ Gᵢⱼ     dvⱼ = Σᵢ uᵢ Gᵢⱼ     Gᵢⱼ = Σₕ Wᵢⱼₕ dyₕ

    A dense layer on the outer product u vᵀ. The params are `Affine`, w (D, E, H) and b (H,); `torch.nn.Bilinear` has
    the axes (H, D, E). `init` takes the pair of shapes ((D,), (E,)). Residuals: u and v.

    Args:
        features: H, the number of outputs.
        use_bias: Whether there is a bias b.
        weights: The initializer of W as the matrix (D · E, H), or the name of one.
        biases: The initializer of b, or the name of one.

    Raises:
        ValueError: `features` is not a positive integer; in `init`, `in_shape` is not a pair of shapes of one axis; in
            `forward`, `x` is not a pair of such inputs with as many examples, its dtype is not that of the weights, or
            the params belong to another layer.
    """
    features = check_count("bilinear", "features", features)
    use_bias = check_flag("bilinear", "use_bias", use_bias)
    return _bilinear(features, use_bias, initializer(weights), initializer(biases))


@functools.cache
def _bilinear(features: int, use_bias: bool, weights: Initializer, biases: Initializer) -> Layer:
    """The cached factory: equal arguments give the same Layer object, so jitted functions of it compile once."""
    shapes = {"w": ("D", "E", features), "b": (features,) if use_bias else None}

    def init(key, in_shape):
        if not isinstance(in_shape, tuple | list) or len(in_shape) != 2:
            raise ValueError(f"`bilinear` expected a pair of shapes ((D,), (E,)) in `init`, got {shown(in_shape)}.")
        (d,), (e,) = (check_in_shape("bilinear", shape, rank=1) for shape in in_shape)
        key_w, key_b = jax.random.split(key)
        dtype = jnp.result_type(float)
        w = weights(key_w, (d * e, features), dtype).reshape(d, e, features)
        return Affine(w, biases(key_b, (features,), dtype) if use_bias else None), (features,)

    def forward(params, x):
        check_params(f"`bilinear({features})`", params, Affine, shapes)
        u, v = check_pair(params.w, x)
        return affine(outer(u, v), flat(params.w), params.b), (u, v)

    def backward(params, residuals, dy):
        u, v = residuals
        dw = weight_gradient(outer(u, v), dy).reshape(params.w.shape)
        g = input_gradient(dy, flat(params.w)).reshape(len(u), u.shape[1], v.shape[1])
        du, dv = jnp.einsum("nij,nj->ni", g, v), jnp.einsum("nij,ni->nj", g, u)
        return Affine(dw, bias_gradient(dy) if use_bias else None), (du.astype(u.dtype), dv.astype(v.dtype))

    def outer(u, v):
        return (u[:, :, None] * v[:, None, :]).reshape(len(u), u.shape[1] * v.shape[1])

    def flat(w):
        return w.reshape(math.prod(w.shape[:2]), features)

    return Layer("bilinear", init, forward, backward, arguments=call_text(features, use_bias=(use_bias, True)))


def check_pair(w, x):
    """(u, v) as float arrays (N, D) and (N, E), or a `ValueError`."""
    if not isinstance(x, tuple | list) or len(x) != 2:
        raise ValueError(f"`bilinear` expected `x` to be a pair (u, v) of inputs, got {shown(x)}.")
    u, v = (check_features("bilinear", part, size) for part, size in zip(x, w.shape[:2], strict=True))
    if len(u) != len(v):
        raise ValueError(f"`bilinear` expected as many examples in both inputs, got {len(u)} and {len(v)}.")
    check_same_dtype("bilinear", u, w)
    check_same_dtype("bilinear", v, w)
    return u, v
