"""Initializers of weights: functions `(key, shape, dtype) -> array`, as in `jax.nn.initializers`, or their names.

Weights have the shape (D, H), kernels (..., C, H): the product of all axes but the last is a unit's fan-in D.

    name                  variance of a weight     from
    lecun                 1 / D                    LeCun, Bottou, Orr & Müller 1998: signals keep their variance
    glorot                2 / (D + H)              Glorot & Bengio 2010: a compromise between signals and errors
    he                    2 / D                    He, Zhang, Ren & Sun 2015: as lecun, after a relu, which passes half
    orthogonal            1 / max(D, H)            Saxe, McClelland & Ganguli 2014: Wᵀ W = 1, lengths are preserved
    delta_orthogonal      (at the centre only)     Xiao et al. 2018: a kernel that is orthogonal at its centre, else 0
    sparse                15 / D                   Martens 2010: 15 normal weights per unit, all others 0
    zeros                 0                        the usual initial bias

The first three are normal distributions truncated at two standard deviations and rescaled to the given variance.
`lecun_uniform`, `glorot_uniform` and `he_uniform` are uniform on (−√(3 · variance), √(3 · variance)). For a kernel
D = positions · C, and the H of `glorot` is positions · H, as in `jax.nn.initializers`. A convolution in groups draws a
separate kernel for each group (`drawn_in_groups`), from C / groups channels to H / groups features.
"""

import difflib
import math
from typing import Any, Protocol

import jax
import jax.numpy as jnp

from bpjax.types import Array, Key, Shape
from bpjax.util.call_text import is_function, shown
from bpjax.util.checks import check_count, check_number
from bpjax.util.sequential_under_vmap import sequential_under_vmap


class Initializer(Protocol):
    """Draw initial weights."""

    def __call__(self, key: Key, shape: Shape, dtype: Any, /) -> Array:
        """An array of the given shape and dtype."""
        ...


def uniform(radius: float) -> Initializer:
    """Weights uniform on (−radius, radius): 0.3 in Rumelhart, Hinton & Williams (Nature 1986), 1 in Fahlman 1988.

    Raises:
        ValueError: `radius` is negative or not finite.
    """
    check_number("uniform", "radius", radius, least=0.0)

    def initializer(key, shape, dtype=jnp.float32):
        return jax.random.uniform(key, shape, dtype, minval=-radius, maxval=radius)

    return initializer


lecun_normal: Initializer = jax.nn.initializers.lecun_normal()
"""Normal with variance 1 / D: a unit's net input initially has the variance of its inputs."""

lecun_uniform: Initializer = jax.nn.initializers.lecun_uniform()
"""Uniform with variance 1 / D."""

glorot_normal: Initializer = jax.nn.initializers.glorot_normal()
"""Normal with variance 2 / (D + H), between 1 / D, which preserves the variance of signals, and 1 / H, of errors."""

glorot_uniform: Initializer = jax.nn.initializers.glorot_uniform()
"""Uniform with variance 2 / (D + H)."""

he_normal: Initializer = jax.nn.initializers.he_normal()
"""Normal with variance 2 / D: a relu passes half of its inputs, so the variance is twice that of `lecun_normal`."""

he_uniform: Initializer = jax.nn.initializers.he_uniform()
"""Uniform with variance 2 / D."""

unit_normal: Initializer = jax.nn.initializers.normal(1.0)
"""Normal with variance 1, the initializer of embeddings: as large as the sines that `sinusoidal_positions` adds."""

zeros: Initializer = jax.nn.initializers.zeros
"""All zero, the usual initial bias."""


def orthogonal(scale: float = 1.0) -> Initializer:
    """A random orthogonal matrix times `scale`: Wᵀ W = scale² · 1 where D ≥ H, W Wᵀ = scale² · 1 where D ≤ H.

    The distribution is uniform over all such matrices. A kernel is treated as the matrix (positions · C, H).

    Raises:
        ValueError: `scale` is not above 0.
    """
    check_number("orthogonal", "scale", scale, above=0.0)
    return _draw_sequentially(jax.nn.initializers.orthogonal(scale))


def delta_orthogonal(scale: float = 1.0) -> Initializer:
    """A kernel (..., C, H) that is an orthogonal matrix at its centre, the middle of every odd axis, and 0 elsewhere.

    Raises:
        ValueError: `scale` is not above 0; from the initializer, a shape without position axes, or with C > H.
    """
    check_number("delta_orthogonal", "scale", scale, above=0.0)
    draw = _draw_sequentially(jax.nn.initializers.delta_orthogonal(scale))

    def initializer(key, shape, dtype=jnp.float32):
        if not 3 <= len(shape) <= 5 or shape[-2] > shape[-1]:
            raise ValueError(
                "`delta_orthogonal` expected a kernel of shape (..., C, H) with one to three position axes and C ≤ H, "
                f"got {tuple(shape)}. Use `orthogonal`."
            )
        return draw(key, shape, dtype)

    return initializer


def _draw_sequentially(draw: Initializer) -> Initializer:
    """The initializer under `jax.vmap` as a loop over matrices, so that batched draws give the same values."""

    def initializer(key, shape, dtype=jnp.float32):
        return sequential_under_vmap(lambda key: draw(key, shape, dtype))(key)

    return initializer


def drawn_in_groups(draw: Initializer, key: Key, shape: Shape, groups: int, dtype) -> Array:
    """Weights (..., C, groups · F) of `groups` maps that share no inputs and no outputs, each drawn as (..., C, F).

    D and H of the variances are then those of one map. (PyTorch counts the outputs of all groups.)
    """
    if groups == 1:
        return draw(key, shape, dtype)
    one = (*shape[:-1], shape[-1] // groups)
    maps = jax.vmap(lambda key: draw(key, one, dtype))(jax.random.split(key, groups))
    return jnp.moveaxis(maps, 0, -2).reshape(shape)


def sparse_weights(connections: int = 15, scale: float = 1.0) -> Initializer:
    """`connections` random weights per unit, normal with standard deviation `scale`; all others are 0.

    Martens 2010: units differ from the start, and net inputs do not grow with the number of inputs. With fewer inputs
    than `connections` every weight is drawn. The zeros are trained as well; the layer `sparse` has none of them.

    Raises:
        ValueError: `connections` is not a positive integer, `scale` is not above 0.
    """
    connections = check_count("sparse_weights", "connections", connections)
    check_number("sparse_weights", "scale", scale, above=0.0)

    def initializer(key, shape, dtype=jnp.float32):
        key_order, key_weights = jax.random.split(key)
        order = jax.random.uniform(key_order, (math.prod(shape[:-1]), shape[-1]))
        rank = jnp.argsort(jnp.argsort(order, axis=0), axis=0)
        drawn = jnp.asarray(scale, dtype) * jax.random.normal(key_weights, shape, dtype)
        return jnp.where(rank.reshape(shape) < connections, drawn, jnp.zeros((), dtype))

    return initializer


NAMED: dict[str, Initializer] = {
    "lecun": lecun_normal,
    "lecun_normal": lecun_normal,
    "lecun_uniform": lecun_uniform,
    "glorot": glorot_normal,
    "glorot_normal": glorot_normal,
    "glorot_uniform": glorot_uniform,
    "he": he_normal,
    "he_normal": he_normal,
    "he_uniform": he_uniform,
    "orthogonal": orthogonal(),
    "delta_orthogonal": delta_orthogonal(),
    "sparse": sparse_weights(),
    "zeros": zeros,
}
"""The initializer of each name. One object per name, so that layers made with the same name are the same object."""


def initializer(weights: str | Initializer) -> Initializer:
    """The initializer with the given name; a function is returned unchanged.

    Raises:
        ValueError: `weights` is an unknown name, or neither a name nor a function.
    """
    if is_function(weights):
        return weights
    if isinstance(weights, str) and weights in NAMED:
        return NAMED[weights]
    near = difflib.get_close_matches(str(weights), NAMED, n=1, cutoff=0.5)
    cure = f"Did you mean {near[0]!r}?" if near else f"Use one of {', '.join(NAMED)}, or a function."
    raise ValueError(
        f"An initializer must be a name or a function (key, shape, dtype) -> array, got {shown(weights)}. {cure}"
    )
