"""The direction of largest curvature: weights that oscillate across a minimum, and the edge of stability.

Along the direction v of largest curvature λ, gradient descent on a quadratic multiplies the distance from the minimum
by 1 − ηλ at every step:

    c(t) = (w(t) − w*)·v = c(0) (1 − ηλ)ᵗ

Below ηλ = 1 there is no oscillation; from 1 to 2 it is damped; above 2 it grows.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import xarray as xr
from jax.flatten_util import ravel_pytree

import bpjax as bp
from bpjax.training.step import TrainState, make_train_step
from bpjax.util.trees import select
from experiments.common.networks import sigmoid_network
from experiments.common.starts import compiled_once, first_start

LINEAR, NETWORK = "linear unit on the digits", "XOR network near its minimum"
RATES_OVER_LIMIT = (0.25, 0.75, 0.95, 1.025)
"""η ÷ 2/λ: ηλ is 0.5, 1.5, 1.9 and 2.05."""


class Minimum(NamedTuple):
    """A minimum of an error, and a start near it."""

    name: str
    rule: bp.Rule
    batch: tuple
    weights: object  # w*
    start: Callable  # v -> weights


def linear_unit(key) -> Minimum:
    """Classify digits as odd or even with a linear unit and mean ½ (t − o)²: exactly a quadratic."""
    x, labels = bp.digits("train").present(None)
    batch = x, (labels[:, None] % 2).astype(x.dtype)
    network = bp.chain(bp.dense(1))
    params = first_start(network, key, (64,))
    rule = bp.backprop(network, bp.losses.batch_mean(bp.squared_error))
    with_one = np.concatenate([np.asarray(x), np.ones((len(x), 1))], axis=1)
    solution = np.linalg.lstsq(with_one, np.asarray(batch[1]), rcond=None)[0]
    minimum = jax.tree.unflatten(jax.tree.structure(params), [jnp.asarray(solution[:64]), jnp.asarray(solution[64])])
    return Minimum(LINEAR, rule, batch, minimum, lambda v: params)


def xor_minimum(key, displacement: float) -> Minimum | None:
    """XOR with targets 0.1 and 0.9, trained until the gradient vanishes; starts at w* + `displacement` v.

    The first of 20 starts that converges to an error of 0; None if none does.
    """
    batch = bp.xor(target_levels=(0.1, 0.9)).present(None)
    network = sigmoid_network((2, 2, 1))
    rule = bp.backprop(network, bp.squared_error)
    for attempt in range(20):
        own = jax.random.fold_in(key, attempt)
        params = first_start(network, own, (2,))
        stops = (bp.training.gradient_below(1e-12),)
        fit = bp.fit(rule, optax.sgd(3.0), params, batch, key=own, epochs=20_000, stops=stops, chunk=1000)
        if fit.reason == "gradient below floor" and fit.history.error[-1] < 1e-12:
            displaced = partial(jax.tree.map, lambda w, d: w + displacement * d, fit.params)
            return Minimum(NETWORK, rule, batch, fit.params, displaced)
    return None


def coordinates(near: Minimum, key, epochs: int) -> xr.Dataset:
    """c(t)/c(0) of gradient descent at rates around 2/λ, and the closed form (1 − ηλ)ᵗ."""
    minimum, over = ravel_pytree(near.weights)[0], jnp.asarray(RATES_OVER_LIMIT)

    def path(rate, v):
        optimizer = optax.sgd(rate)
        train_step = make_train_step(near.rule, optimizer)
        params, along = near.start(v), ravel_pytree(v)[0]

        def step(state, _):
            return train_step(state, near.batch)[0], (ravel_pytree(state.params)[0] - minimum) @ along

        return jax.lax.scan(step, TrainState(params, optimizer.init(params), ()), None, length=epochs + 1)[1]

    @compiled_once
    def measure(key):
        steep = bp.analysis.steepest_direction(near.rule, near.weights, near.batch, key, steps=64)
        return steep, jax.vmap(path, (0, None))(over * 2 / steep.value, steep.direction)

    steep, coordinate = measure(key)
    coordinate = np.asarray(coordinate, float)
    predicted = (1 - 2 * np.asarray(over)[:, None]) ** np.arange(epochs + 1)
    return xr.Dataset(
        {
            "coordinate": (("over_limit", "epoch"), coordinate / coordinate[:, :1], {"long_name": "c(t)/c(0)"}),
            "predicted": (("over_limit", "epoch"), predicted, {"long_name": "(1 − ηλ)ᵗ"}),
        },
        coords={"over_limit": np.asarray(over), "epoch": np.arange(epochs + 1)},
        attrs={"problem": near.name, "curvature": float(steep.value), "residual": float(steep.residual)},
    )


def oscillation(key, epochs: int, displacement: float) -> list[xr.Dataset]:
    """`coordinates` of a linear unit and of a network, in float64."""
    with jax.enable_x64(True):
        minima = (linear_unit(key), xor_minimum(key, displacement))
        return [coordinates(near, key, epochs) for near in minima if near is not None]


class EdgeRun(NamedTuple):
    """A training whose curvature is measured every few epochs."""

    params: bp.types.Params
    epoch: jax.Array  # () int32, measurements made
    reason: jax.Array  # () int32
    sharpness: jax.Array  # (samples,) λ_max, NaN where not yet measured
    error: jax.Array  # (samples,)


class Record(NamedTuple):
    """What `bp.sweep` records of each step."""

    error: jax.Array  # ()


def edge_trial(rule: bp.Rule, batch, samples: int, every: int, lanczos_steps: int) -> Callable:
    """Full-batch gradient descent for `bp.sweep`, which measures λ_max and the error now and then.

    Args:
        rule: the gradient.
        batch: examples and targets.
        samples: how many times they are measured.
        every: epochs between two measurements.
        lanczos_steps: of the estimate of λ_max.
    """

    def trial(key, learning_rate):
        weights_key, lanczos_key = jax.random.split(key)
        optimizer = optax.sgd(learning_rate)
        train_step = make_train_step(rule, optimizer)

        def epoch(run):
            curvature = bp.analysis.largest_curvature(rule, run.params, batch, lanczos_key, steps=lanczos_steps)
            state = TrainState(run.params, optimizer.init(run.params), ())
            state, metrics = jax.lax.scan(lambda s, _: train_step(s, batch), state, None, length=every)
            error = metrics.value[0]
            done = jnp.where(run.epoch + 1 >= samples, 2, 0)
            exploded = ~jnp.isfinite(metrics.value).all() | ~jnp.isfinite(curvature)
            new = EdgeRun(
                state.params,
                run.epoch + 1,
                jnp.where(exploded, 1, done).astype(jnp.int32),
                run.sharpness.at[run.epoch].set(curvature),
                run.error.at[run.epoch].set(error),
            )
            after = select(run.reason == 0, new, run)
            return after, Record(error)

        params, _ = rule.network.init(weights_key, batch[0].shape[1:])  # type: ignore[union-attr]
        unknown = jnp.full(samples, jnp.nan, jnp.result_type(float))
        start = EdgeRun(params, jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32), unknown, unknown)
        return bp.training.Trial(
            start,
            bp.training.Program(
                epoch,
                lambda run: {"epochs": run.epoch * every, "sharpness": run.sharpness, "value": run.error},
                ("running", "diverged", "epochs done"),
            ),
        )

    return trial


def edge_rules(hidden: int) -> dict[str, tuple[bp.Rule, tuple]]:
    """{loss: (rule, batch)}: digits with squared error, centred pixels and one-hot labels, and with cross entropy.

    With uncentred pixels, the mean image is the direction of largest curvature throughout training.
    """
    x, labels = bp.digits("train").present(None)
    network = bp.mlp((64, hidden, 10), bp.tanh)
    squared = x - x.mean(axis=0, keepdims=True), jax.nn.one_hot(labels, 10, dtype=x.dtype)
    return {
        "squared error": (bp.backprop(network, bp.losses.batch_mean(bp.squared_error)), squared),
        "cross entropy": (bp.backprop(network, bp.losses.batch_mean(bp.softmax_cross_entropy)), (x, labels)),
    }


def edge(
    name: str, hidden: int, rates, seeds: int, epochs: int, samples: int, key, on_progress: Callable
) -> xr.Dataset:
    """λ_max during training, (learning_rate, seed, epoch).

    Args:
        name: of the loss, a key of `edge_rules`.
        hidden: hidden units.
        rates: learning rates.
        seeds: initial weights for each rate.
        epochs: of each training.
        samples: how many times λ_max is measured.
        key: for the initial weights.
        on_progress: called with the state of the sweep, see `bp.sweep`.
    """
    rule, batch = edge_rules(hidden)[name]
    every = max(1, epochs // samples)
    result = bp.sweep(
        edge_trial(rule, batch, samples, every, lanczos_steps=16),
        {"learning_rate": rates, "seed": range(seeds)},
        key=key,
        layout="single",
        progress=on_progress,
    )
    result = result.rename({"sharpness_0": "epoch"}).assign_coords(epoch=every * np.arange(samples))
    value = (result.sharpness.dims, result.value.values)
    return result.drop_vars("value").assign(error=value).assign_attrs(title=name)


def saturation(result: xr.Dataset) -> list[dict]:
    """For each rate: 2/η, λ_max at the start, at its peak and in the last quarter (median), and the diverged runs."""
    rows = []
    for rate in result.learning_rate.values:
        at = result.sel(learning_rate=rate)
        finite = at.sharpness.values[~at.diverged.values]
        late = finite[:, -max(1, finite.shape[1] // 4) :]
        rows.append(
            {
                "loss": result.attrs["title"],
                "rate": float(rate),
                "limit": 2 / float(rate),
                "start": float(np.median(at.sharpness.values[:, 0])),
                "peak": float(np.median(finite.max(axis=1))) if len(finite) else np.nan,
                "late": float(np.median(late)) if len(finite) else np.nan,
                "diverged": int(at.diverged.sum()),
                "runs": at.sizes["seed"],
            }
        )
    return rows
