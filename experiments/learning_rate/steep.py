"""Steep directions for `learning_rate.py`: weights that jump from side to side, and training at the edge of stability.

Along the direction v of largest curvature λ, gradient descent on a quadratic multiplies the distance from the minimum
by 1 − ηλ at every step:

    c(t) = (w(t) − w*)·v = c(0) (1 − ηλ)ᵗ        no jumps below ηλ = 1, jumps that die out up to 2, beyond it growth
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

LINEAR, NETWORK = "linear unit on the digits", "XOR network near its minimum"
RATES_OVER_LIMIT = (0.25, 0.75, 0.95, 1.025)
"""η ÷ 2/λ: ηλ is 0.5, 1.5, 1.9 and 2.05."""


class Bowl(NamedTuple):
    """A minimum, and a place to set out from."""

    name: str
    rule: bp.Rule
    batch: tuple
    minimum: object  # the weights w*
    start: Callable  # v -> weights


def linear_unit(key) -> Bowl:
    """Which digits are odd, by a linear unit and ½ (t − o)² in the mean: exactly a quadratic. From fresh weights."""
    x, labels = bp.digits("train").present(None)
    batch = x, (labels[:, None] % 2).astype(x.dtype)
    network = bp.chain(bp.dense(1))
    params, _ = network.init(key, (64,))
    rule = bp.backprop(network, bp.losses.batch_mean(bp.squared_error))
    with_one = np.concatenate([np.asarray(x), np.ones((len(x), 1))], axis=1)
    solution = np.linalg.lstsq(with_one, np.asarray(batch[1]), rcond=None)[0]
    minimum = jax.tree.unflatten(jax.tree.structure(params), [jnp.asarray(solution[:64]), jnp.asarray(solution[64])])
    return Bowl(LINEAR, rule, batch, minimum, lambda v: params)


def xor_minimum(key, displacement: float) -> Bowl | None:
    """XOR with the targets 0.1 and 0.9, trained until the gradient has vanished; set out `displacement` along v.

    The first of 20 starts that comes to rest with all examples learnt; None where there is no such one.
    """
    batch = bp.xor(target_levels=(0.1, 0.9)).present(None)
    network = bp.mlp((2, 2, 1), bp.sigmoid, bp.sigmoid, weights=bp.uniform(1.0), biases=bp.uniform(1.0))
    rule = bp.backprop(network, bp.squared_error)
    for attempt in range(20):
        own = jax.random.fold_in(key, attempt)
        params, _ = network.init(own, (2,))
        stops = (bp.training.gradient_below(1e-12),)
        fit = bp.fit(rule, optax.sgd(3.0), params, batch, key=own, epochs=20_000, stops=stops, chunk=1000)
        if fit.reason == "gradient below floor" and fit.history.error[-1] < 1e-12:
            away = partial(jax.tree.map, lambda w, d: w + displacement * d, fit.params)
            return Bowl(NETWORK, rule, batch, fit.params, away)
    return None


def jumps(bowl: Bowl, key, epochs: int) -> xr.Dataset:
    """c(t)/c(0) of gradient descent at rates around 2/λ, beside (1 − ηλ)ᵗ; float64 where that is on."""
    minimum, over = ravel_pytree(bowl.minimum)[0], jnp.asarray(RATES_OVER_LIMIT)

    def path(rate, v):
        optimizer = optax.sgd(rate)
        train_step = make_train_step(bowl.rule, optimizer)
        params, along = bowl.start(v), ravel_pytree(v)[0]

        def step(state, _):
            return train_step(state, bowl.batch)[0], (ravel_pytree(state.params)[0] - minimum) @ along

        return jax.lax.scan(step, TrainState(params, optimizer.init(params), ()), None, length=epochs + 1)[1]

    @jax.jit
    def measure(key):
        steep = bp.analysis.steepest_direction(bowl.rule, bowl.minimum, bowl.batch, key, steps=64)
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
        attrs={"bowl": bowl.name, "curvature": float(steep.value), "residual": float(steep.residual)},
    )


def oscillation(key, epochs: int, displacement: float) -> list[xr.Dataset]:
    """The jumps of a linear unit and of a network, in float64."""
    with jax.enable_x64(True):
        bowls = (linear_unit(key), xor_minimum(key, displacement))
        return [jumps(bowl, key, epochs) for bowl in bowls if bowl is not None]


class EdgeRun(NamedTuple):
    """A training whose curvature is looked at now and then."""

    params: bp.types.Params
    epoch: jax.Array  # () int32, looks taken
    reason: jax.Array  # () int32
    sharpness: jax.Array  # (looks,) λ_max, NaN before
    error: jax.Array  # (looks,)


class Look(NamedTuple):
    """What `bp.sweep` is told of each step."""

    error: jax.Array  # ()


def edge_trial(rule: bp.Rule, batch, looks: int, every: int, lanczos_steps: int) -> Callable:
    """Full-batch gradient descent for `bp.sweep`: λ_max and the error after every `every` epochs, `looks` times."""

    def trial(key, learning_rate):
        weights_key, lanczos_key = jax.random.split(key)
        optimizer = optax.sgd(learning_rate)
        train_step = make_train_step(rule, optimizer)

        def epoch(run):
            curvature = bp.analysis.largest_curvature(rule, run.params, batch, lanczos_key, steps=lanczos_steps)
            state = TrainState(run.params, optimizer.init(run.params), ())
            state, metrics = jax.lax.scan(lambda s, _: train_step(s, batch), state, None, length=every)
            error = metrics.value[0]
            done = jnp.where(run.epoch + 1 >= looks, 2, 0)
            exploded = ~jnp.isfinite(metrics.value).all() | ~jnp.isfinite(curvature)
            new = EdgeRun(
                state.params,
                run.epoch + 1,
                jnp.where(exploded, 1, done).astype(jnp.int32),
                run.sharpness.at[run.epoch].set(curvature),
                run.error.at[run.epoch].set(error),
            )
            after = select(run.reason == 0, new, run)
            return after, Look(error)

        params, _ = rule.network.init(weights_key, batch[0].shape[1:])  # type: ignore[union-attr]
        unknown = jnp.full(looks, jnp.nan, jnp.result_type(float))
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
    """The digits with a squared error, pixels centred and labels as one-hot rows, and with the cross entropy.

    Uncentred pixels make the mean picture the steepest direction, from the start and for good.
    """
    x, labels = bp.digits("train").present(None)
    network = bp.mlp((64, hidden, 10), bp.tanh)
    squared = x - x.mean(axis=0, keepdims=True), jax.nn.one_hot(labels, 10, dtype=x.dtype)
    return {
        "squared error": (bp.backprop(network, bp.losses.batch_mean(bp.squared_error)), squared),
        "cross entropy": (bp.backprop(network, bp.losses.batch_mean(bp.softmax_cross_entropy)), (x, labels)),
    }


def edge(name: str, hidden: int, rates, seeds: int, epochs: int, looks: int, key, tell: Callable) -> xr.Dataset:
    """λ_max along training, (learning_rate, seed, epoch), for one of `edge_rules`."""
    rule, batch = edge_rules(hidden)[name]
    every = max(1, epochs // looks)
    result = bp.sweep(
        edge_trial(rule, batch, looks, every, lanczos_steps=16),
        {"learning_rate": rates, "seed": range(seeds)},
        key=key,
        layout="single",
        progress=tell,
    )
    result = result.rename({"sharpness_0": "epoch"}).assign_coords(epoch=every * np.arange(looks))
    value = (result.sharpness.dims, result.value.values)
    return result.drop_vars("value").assign(error=value).assign_attrs(title=name)


def saturation(result: xr.Dataset) -> list[dict]:
    """For each rate: 2/η, λ_max at the start, its peak and its median over the last quarter, and who diverged."""
    rows = []
    for rate in result.learning_rate.values:
        at = result.sel(learning_rate=rate)
        going = at.sharpness.values[~at.diverged.values]
        late = going[:, -max(1, going.shape[1] // 4) :]
        rows.append(
            {
                "loss": result.attrs["title"],
                "rate": float(rate),
                "limit": 2 / float(rate),
                "start": float(np.median(at.sharpness.values[:, 0])),
                "peak": float(np.median(going.max(axis=1))) if len(going) else np.nan,
                "late": float(np.median(late)) if len(going) else np.nan,
                "diverged": int(at.diverged.sum()),
                "runs": at.sizes["seed"],
            }
        )
    return rows
