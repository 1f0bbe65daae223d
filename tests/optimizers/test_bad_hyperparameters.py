"""What invalid hyperparameters and missing arguments of `update` raise."""

import jax
import jax.numpy as jnp
import pytest
from quadratic import error, start

import bpjax as bp
from bpjax.optimizers.registry import OPTIMIZERS

INVALID = {
    "momentum": [
        lambda: bp.momentum(0.1, 1.1),
        lambda: bp.momentum(0.1, -0.1),
        lambda: bp.optimizers.bold_driver(0.1, 2.0),
        lambda: bp.optimizers.traingdx(0.1, momentum=-1.0),
        lambda: bp.optimizers.supersab(0.1, 1.5),
        lambda: bp.quickprop(0.1, momentum=1.5),
        lambda: bp.optimizers.convert_momentum(0.1, 1.5, "convex", "heavy_ball"),
    ],
    "learning_rate": [
        lambda: bp.momentum(0.0, 0.9),
        lambda: bp.momentum(float("nan"), 0.9),
        lambda: bp.optimizers.bold_driver(-1.0),
        lambda: bp.optimizers.traingda(0.0),
        lambda: bp.optimizers.traingdx(0.0),
        lambda: bp.optimizers.silva_almeida(0.0),
        lambda: bp.optimizers.delta_bar_delta(0.0),
        lambda: bp.optimizers.supersab(0.0),
        lambda: bp.quickprop(0.0),
    ],
    "growth": [
        lambda: bp.optimizers.bold_driver(0.1, growth=1.0),
        lambda: bp.optimizers.traingda(0.1, growth=0.9),
        lambda: bp.optimizers.silva_almeida(0.1, growth=1.0),
        lambda: bp.optimizers.supersab(0.1, growth=1.0),
        lambda: bp.quickprop(0.1, growth=0.0),
        lambda: bp.rprop(growth=1.0),
    ],
    "shrink": [
        lambda: bp.optimizers.bold_driver(0.1, shrink=1.0),
        lambda: bp.optimizers.silva_almeida(0.1, shrink=0.0),
        lambda: bp.optimizers.supersab(0.1, shrink=2.0),
        lambda: bp.rprop(shrink=1.0),
    ],
    "tolerance": [
        lambda: bp.optimizers.traingda(0.1, tolerance=0.9),
        lambda: bp.losses.error_tolerance(bp.squared_error, -0.1),
    ],
    "backoff": [lambda: bp.optimizers.silva_almeida(0.1, backoff=1.0)],
    "increase": [lambda: bp.optimizers.delta_bar_delta(0.1, increase=0.0)],
    "decrease": [lambda: bp.optimizers.delta_bar_delta(0.1, decrease=1.0)],
    "averaging": [lambda: bp.optimizers.delta_bar_delta(0.1, averaging=1.0)],
    "decay": [lambda: bp.quickprop(0.1, decay=1e-4)],
    "mode_switch": [lambda: bp.quickprop(0.1, mode_switch=-1.0)],
    "initial": [lambda: bp.rprop(0.0), lambda: bp.rprop(0.1, smallest=0.2)],
    "smallest": [lambda: bp.rprop(smallest=-1.0), lambda: bp.rprop(0.1, smallest=0.2)],
    "largest": [lambda: bp.rprop(0.1, largest=0.05), lambda: bp.optimizers.supersab(0.1, largest=0.05)],
    "variant": [lambda: bp.rprop(variant="rprop*")],  # type: ignore[arg-type]
    "form": [lambda: bp.momentum(0.1, 0.9, form="polyak")],  # type: ignore[arg-type]
    "source": [lambda: bp.optimizers.convert_momentum(0.1, 0.9, "polyak", "convex")],  # type: ignore[arg-type]
    "offset": [lambda: bp.layers.flat_spot(bp.sigmoid, -0.1)],
    "factor": [lambda: bp.layers.scaled_error(bp.dense(1), 0.0)],
}


@pytest.mark.parametrize(
    ("name", "call"), [(name, call) for name, calls in INVALID.items() for call in calls], ids=lambda x: str(x)[:12]
)
def test_a_number_outside_its_range_is_named(name, call):
    with pytest.raises(ValueError, match=f"`{name}`.*got "):
        call()


NEEDS_VALUE = ["bold_driver", "traingda", "traingdx", "silva_almeida", "irprop+"]


@pytest.mark.parametrize("name", NEEDS_VALUE)
def test_an_optimizer_that_needs_the_error_says_so(name):
    case, params = OPTIMIZERS[name], start()
    optimizer = case.make(case.hyperparameter)
    with pytest.raises(ValueError, match="value=error"):
        optimizer.update(jax.grad(error)(params), optimizer.init(params), params)


@pytest.mark.parametrize("name", ["bold_driver", "traingda", "traingdx", "silva_almeida", "quickprop"])
def test_an_optimizer_that_needs_the_weights_says_so(name):
    case, params = OPTIMIZERS[name], start()
    optimizer = case.make(case.hyperparameter)
    with pytest.raises(ValueError, match="expected the weights"):
        optimizer.update(jax.grad(error)(params), optimizer.init(params), value=1.0)


def test_momentum_of_one_cannot_be_converted_to_or_from_convex():
    for source, target in (("convex", "heavy_ball"), ("velocity", "convex")):
        with pytest.raises(ValueError, match="`momentum` < 1"):
            bp.optimizers.convert_momentum(0.1, 1.0, source, target)


def test_fan_in_counts_the_bias():
    network = bp.chain(bp.dense(3), bp.tanh, bp.dense(2, use_bias=False))
    params, _ = network.init(jax.random.key(0), (5,))
    assert bp.optimizers.fan_in(params) == (bp.layers.Affine(6, 6), (), bp.layers.Affine(3, None))
    assert bp.optimizers.fan_in({"kernel": jnp.ones((4, 2)), "bias": jnp.ones(2)}) == {"kernel": 5, "bias": 5}
    assert bp.optimizers.fan_in(jnp.ones(7)) == 1
