"""The networks that forecast the series, and how they do it: one step ahead, and on their own output."""

import functools
from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

import bpjax as bp
from bpjax.types import Array, Key, Params

SIZES, TAPS = (1, 12, 12, 1), (25, 5, 5)
"""Units of Wan's network, and the coefficients of each filter between its layers."""
LAGS = sum(TAPS) - len(TAPS) + 1
"""Inputs that his output depends on: 33."""


class Start(Protocol):
    """Draw initial weights."""

    def __call__(self, key: Key, /) -> Params:
        """The params of one start."""
        ...


class Model(NamedTuple):
    """A network that reads a series (N, T, 1) and writes at each time a forecast of the next value."""

    name: str
    network: bp.Layer
    start: Start
    warm_up: int  # first outputs that do not count: their filters or states are not filled
    window: int  # latest inputs that a forecast reads

    @property
    def parameters(self) -> int:
        """How many."""
        return sum(leaf.size for leaf in jax.tree.leaves(jax.eval_shape(self.start, jax.random.key(0))))


def filters(name: str, sizes: tuple[int, ...], taps: tuple[int, ...]) -> Model:
    """FIR filters with tanh between them and linear outputs, with Wan's initial weights.

    Weights and biases are drawn from U(−½, ½) √(3 / (inputs · taps)), biases of the first layer without the taps.

    Args:
        name: of the model.
        sizes: units of each layer, inputs first.
        taps: coefficients of the filters of each layer.
    """
    shapes = list(zip(taps, sizes, sizes[1:], strict=False))
    between = [layer for own, _, units in shapes for layer in (bp.layers.fir(units, own), bp.tanh)]

    def start(key):
        sizes = [size for own, inputs, units in shapes for size in (own * inputs * units, units)]
        drawn = jax.random.uniform(key, (sum(sizes),), minval=-0.5, maxval=0.5)  # one draw: it compiles once
        parts, params = jnp.split(drawn, np.cumsum(sizes)[:-1]), []
        for shape, w, b in zip(shapes, parts[::2], parts[1::2], strict=True):
            own, inputs, _ = shape
            scale = (3 / (inputs * own)) ** 0.5
            params += [bp.layers.Affine(scale * w.reshape(shape), (scale if params else (3 / inputs) ** 0.5) * b), ()]
        return tuple(params[:-1])

    lags = sum(taps) - len(taps) + 1
    return Model(name, bp.chain(*between[:-1]), start, lags - 1, lags)


@functools.cache
def models() -> dict[str, Model]:
    """Wan's network and its rivals, by name."""
    network = bp.chain(bp.unroll(bp.layers.lstm(16)), bp.over_positions(bp.dense(1)))
    lstm = Model("LSTM", network, lambda key: network.init(key, (1, 1))[0], LAGS - 1, 4 * LAGS)
    fir = filters("FIR network", SIZES, TAPS), filters("delay-line MLP", (1, 20, 20, 1), (LAGS, 1, 1))
    return {model.name: model for model in (*fir, lstm)}


def next_value(model: Model, params: Params, windows: Array) -> Array:
    """Forecasts (N,) of what follows each of the windows (N, window)."""
    return model.network.forward(params, windows[:, :, None])[0][:, -1, 0]


@functools.partial(jax.jit, static_argnames=("model", "steps"))
def forecasts(model: Model, params: Params, series: Array, steps: int) -> tuple[Array, Array]:
    """The last values of the series from the ones before: one step ahead, and iterated.

    Iterated, a forecast is the next input in place of the true value, from the first of the `steps` on.

    Args:
        model: the network.
        params: of all starts, with a leading axis.
        series: (T,) standardized.
        steps: values to forecast.

    Returns:
        Both (starts, steps).
    """
    begin = len(series) - steps
    windows = series[jnp.arange(begin, len(series))[:, None] - model.window + jnp.arange(model.window)[None]]

    def of_start(params):
        def step(window, _):
            value = next_value(model, params, window[None])
            return jnp.concatenate([window[1:], value]), value[0]

        return next_value(model, params, windows), jax.lax.scan(step, windows[0], length=steps)[1]

    return jax.vmap(of_start)(params)


def autoregression(known: np.ndarray, future: np.ndarray, lags: int) -> tuple[np.ndarray, np.ndarray]:
    """Forecasts of `future` by the linear model with intercept that fits `known` best, one step ahead and iterated.

    Args:
        known: (T,) values to fit, by least squares.
        future: (n,) the values that follow.
        lags: number of past values that the model reads.
    """

    def row(past):
        return np.append(past[-lags:], 1.0)

    rows = np.stack([row(known[:t]) for t in range(lags, len(known))])
    weights = np.linalg.lstsq(rows, known[lags:], rcond=None)[0]
    series, iterated = np.concatenate([known, future]), list(known)
    one_step = [row(series[:t]) @ weights for t in range(len(known), len(series))]
    for _ in future:
        iterated.append(row(np.array(iterated)) @ weights)
    return np.array(one_step), np.array(iterated[len(known) :])
