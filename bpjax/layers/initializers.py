"""How weights begin: functions `(key, shape, dtype) -> array`, as in `jax.nn.initializers`, or their names.

Weights are (D, H), kernels (..., C, H): all axes but the last are what comes into a unit, its fan-in D.

    name                  variance of a weight     from
    lecun                 1 / D                    LeCun, Bottou, Orr & Müller 1998: what comes in keeps its variance
    glorot                2 / (D + H)              Glorot & Bengio 2010: and so does the error that goes back, nearly
    he                    2 / D                    He, Zhang, Ren & Sun 2015: the same behind a relu, which lets half in
    orthogonal            1 / max(D, H)            Saxe, McClelland & Ganguli 2014: Wᵀ W = 1, lengths are kept exactly
    delta_orthogonal      (the centre alone)       Xiao et al. 2018: orthogonal where the kernel meets its own position
    sparse                15 / D                   Martens 2010: 15 normal weights a unit, all others 0
    zeros                 0                        the usual start of a bias

The first three are normal, cut off at two standard deviations and stretched to the variance named; `lecun_uniform`,
`glorot_uniform` and `he_uniform` are drawn evenly from (−√(3 · variance), √(3 · variance)). For a kernel over positions
D = positions · C, and H of `glorot` is positions · H.
"""

import difflib
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from bpjax.util.checks import check_count, check_number
from bpjax.util.sequential_under_vmap import sequential_under_vmap

Initializer = Callable[..., jax.Array]
"""(key, shape, dtype) -> array."""


def uniform(radius: float) -> Initializer:
    """Weights drawn evenly from (−r, r), the choice of the classics: 0.3 in Nature 1986, 1 in Fahlman 1988.

    Raises:
        ValueError: `radius` is negative or not finite.
    """
    check_number("uniform", "radius", radius, least=0.0)

    def initializer(key, shape, dtype=jnp.float32):
        return jax.random.uniform(key, shape, dtype, minval=-radius, maxval=radius)

    return initializer


lecun_normal: Initializer = jax.nn.initializers.lecun_normal()
"""Normal with variance 1 / D: a unit's net input begins with the variance of its inputs."""

lecun_uniform: Initializer = jax.nn.initializers.lecun_uniform()
"""Even with variance 1 / D."""

glorot_normal: Initializer = jax.nn.initializers.glorot_normal()
"""Normal with variance 2 / (D + H): between what keeps the signals' variance and what keeps the errors'."""

glorot_uniform: Initializer = jax.nn.initializers.glorot_uniform()
"""Even with variance 2 / (D + H)."""

he_normal: Initializer = jax.nn.initializers.he_normal()
"""Normal with variance 2 / D: a relu lets half through, so twice as much comes in."""

he_uniform: Initializer = jax.nn.initializers.he_uniform()
"""Even with variance 2 / D."""

unit_normal: Initializer = jax.nn.initializers.normal(1.0)
"""Normal with variance 1: rows as large as the sines and cosines that `sinusoidal_positions` adds to an embedding's."""

zeros: Initializer = jax.nn.initializers.zeros
"""All zero: the usual start of a bias."""


def orthogonal(scale: float = 1.0) -> Initializer:
    """A random matrix that keeps lengths: Wᵀ W = scale² · 1 where D ≥ H, W Wᵀ = scale² · 1 where D ≤ H.

    Even over all such matrices. A kernel counts as the matrix (positions · C, H).

    Raises:
        ValueError: `scale` is not above 0.
    """
    check_number("orthogonal", "scale", scale, above=0.0)
    return _drawn_one_by_one(jax.nn.initializers.orthogonal(scale))


def delta_orthogonal(scale: float = 1.0) -> Initializer:
    """A kernel (..., C, H) that is an orthogonal matrix at its centre, the middle of every odd axis, and 0 elsewhere.

    Raises:
        ValueError: `scale` is not above 0; of the initializer, a shape without position axes, or with C > H.
    """
    check_number("delta_orthogonal", "scale", scale, above=0.0)
    draw = _drawn_one_by_one(jax.nn.initializers.delta_orthogonal(scale))

    def initializer(key, shape, dtype=jnp.float32):
        if not 3 <= len(shape) <= 5 or shape[-2] > shape[-1]:
            raise ValueError(
                "`delta_orthogonal` expected a kernel of shape (..., C, H) with one to three position axes and C ≤ H, "
                f"got {tuple(shape)}. Take `orthogonal`."
            )
        return draw(key, shape, dtype)

    return initializer


def _drawn_one_by_one(draw: Initializer) -> Initializer:
    """The same numbers, drawn matrix by matrix where networks are made by `jax.vmap`."""

    def initializer(key, shape, dtype=jnp.float32):
        return sequential_under_vmap(lambda key: draw(key, shape, dtype))(key)

    return initializer


def sparse_weights(connections: int = 15, scale: float = 1.0) -> Initializer:
    """Of every unit so many weights, picked at random, normal with standard deviation `scale`; all others 0.

    Martens 2010: units differ from the first, and a net input does not grow with the number of inputs. Where there are
    fewer inputs than `connections` all have weights. To keep the zeros zero, use the layer `sparse`.

    Raises:
        ValueError: `connections` is not a positive integer, `scale` is not above 0.
    """
    check_count("sparse_weights", "connections", connections)
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
"""What `weights="he"` stands for. One object each, so that the same name makes the same layer."""


def initializer(weights: str | Initializer) -> Initializer:
    """The initializer of that name; a function stays what it is.

    Raises:
        ValueError: there is none of that name, or it is neither a name nor a function.
    """
    if callable(weights):
        return weights
    if weights in NAMED:
        return NAMED[weights]
    near = difflib.get_close_matches(str(weights), NAMED, n=1, cutoff=0.5)
    cure = f"Did you mean {near[0]!r}?" if near else f"Take one of {', '.join(NAMED)}, or a function."
    raise ValueError(
        f"An initializer is a name or a function (key, shape, dtype) -> array; there is no {weights!r}. {cure}"
    )
