"""Dropout; networks that take its key as input, and networks without it."""

import jax
import jax.numpy as jnp
import numpy as np

from bpjax.layers.activations import identity
from bpjax.layers.layer import EMPTY, Kind, Layer, Parts, check_any_shape, check_layer, map_layers
from bpjax.types import Array
from bpjax.util.call_text import call_text, shown
from bpjax.util.checks import as_floating, check_number, is_concrete
from bpjax.util.precision import widen
from bpjax.util.trees import described


def dropout(rate: float | Array) -> Layer:
    """Set entries to 0 with probability p and scale the others so that the expected value stays the same.

    forward    y = m ⊙ x / (1 − p)          m: 1 with probability 1 − p, else 0      (Srivastava et al. 2014)
    backward   dx = m ⊙ dy / (1 − p)

    Any shape (N, ...), every entry independently. m is drawn from the key of the context: use `keyed(network)`, or
    train with the rule transform `fresh_keys(rule)`, and predict with `without_dropout(network)`. Residuals: m, one
    byte per entry; drawing it again from the key would cost more than the rest of the layer. The same key gives the
    same m in every dtype.

    Raises:
        ValueError: `rate` is not in [0, 1); in `forward`, the context has no key.
    """
    check_number("dropout", "rate", rate, least=0.0)
    if is_concrete(rate) and not float(rate) < 1:
        raise ValueError(f"`dropout` expected `rate` below 1, the fraction that is dropped, got {shown(rate)}.")

    def init(key, in_shape):
        return (), check_any_shape("dropout", in_shape)

    def forward(params, x, context=EMPTY):
        if context.key is None:
            raise ValueError(
                "`dropout` expected a key: train with `bp.layers.keyed(network)` or the rule transform "
                "`bp.rules.fresh_keys(rule)`, predict with `bp.layers.without_dropout(network)`."
            )
        x = as_floating("dropout", "x", x)
        mask = jax.random.uniform(context.key, x.shape, jnp.float32) >= jnp.asarray(rate, jnp.float32)
        return scaled(mask, x), mask

    def backward(params, mask, dy):
        return (), scaled(mask, dy)

    def scaled(mask, a):
        scale = 1 / (1 - jnp.asarray(rate, widen(a).dtype))
        return jnp.where(mask, widen(a) * scale, 0).astype(a.dtype)

    uses = frozenset({"key"})
    return Layer("dropout", init, forward, backward, Kind.DROPOUT, arguments=call_text(rate), uses=uses)


def keyed(network: Layer) -> Layer:
    """The network with a key as part of its input, (x, key); every dropout in it draws from its own fold of the key.

    forward    y = f(x; key)
    backward   dparams, (dx, no gradient)

    Params and residuals are those of the network; `init` takes the `in_shape` of x. The examples of a batch share the
    key and have different masks. `forward` puts the key into the `Context`; each combinator folds in the index of the
    part, so that the dropout at `network.layers[i].layers[j]` draws from `fold_in(fold_in(key, i), j)`.

    Raises:
        ValueError: `network` is not a Layer, or has no dropout; in `forward`, the input is not `(x, key)`.
    """
    check_layer("keyed", network)
    if "key" not in network.uses:
        raise ValueError(
            f"`keyed` expected a network with a layer that takes a key, such as `dropout`, got {network.name} without. "
            "Use the network itself."
        )
    return _keyed(network)


def _keyed(network: Layer) -> Layer:
    def forward(params, x_and_key, context=EMPTY):
        x, key = _check_keyed(x_and_key)
        return network.forward_in(context._replace(key=key), params, x)

    def backward(params, residuals, dy):
        dparams, dx = network.backward(params, residuals, dy)
        return dparams, (dx, np.zeros((), jax.dtypes.float0))

    parts = Parts((network,), _keyed)
    return Layer("keyed", network.init, forward, backward, Kind.KEYED, parts, uses=network.uses - {"key"})


def _check_keyed(pair):
    if not isinstance(pair, tuple | list) or len(pair) != 2 or not _is_key(pair[1]):
        raise ValueError(
            f"`keyed` expected the input `(x, key)`, the key of `jax.random.key(seed)`, got {described(pair)}."
        )
    return pair


def _is_key(key) -> bool:
    return isinstance(key, jax.Array) and jnp.issubdtype(key.dtype, jax.dtypes.prng_key) and key.shape == ()


def without_dropout(network: Layer) -> Layer:
    """The network for predictions: every dropout is replaced by the identity, and the input of a `keyed` network is x.

    The params are the same.

    Raises:
        ValueError: `network` is not a Layer.
    """
    check_layer("without_dropout", network)
    if network.kind is Kind.KEYED:
        return without_dropout(network.layers[0])
    return map_layers(lambda layer: identity if layer.kind is Kind.DROPOUT else layer, network)
