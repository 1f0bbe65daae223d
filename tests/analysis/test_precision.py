"""What a network loses in each number format."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bpjax as bp
from bpjax.losses import Loss


def linear(weight):
    """One dense layer y = w x without a bias."""
    return bp.dense(1, use_bias=False), bp.layers.Affine(jnp.full((1, 1), weight))


def test_the_rounding_of_one_weight():
    """y = w x with x = 1: y is the rounded w, and E = ½ y² with target 0 has the gradient y."""
    network, params = linear(0.1)
    found = bp.precision(network, bp.squared_error, params, (jnp.ones((1, 1)), jnp.zeros((1, 1))), forecast=False)
    for name, dtype in (("float32", np.float32), ("float16", np.float16), ("bfloat16", jnp.bfloat16)):
        rounding = abs(float(dtype(0.1)) - 0.1) / 0.1
        (layer,) = found[name].layers
        np.testing.assert_allclose([layer.output.error, layer.output.alone, layer.gradient.error], rounding, rtol=1e-6)
    assert found.value == pytest.approx(0.005) and found.left_out == ("tf32",)


def test_saturated_tanh_in_float16_is_rounding_and_no_mistake():
    """tanh(5.5) = 0.99997 is 1 in float16, so the slope 1 − y² is 0."""
    network = bp.chain(bp.dense(1, use_bias=False), bp.tanh)
    batch = jnp.ones((1, 1)), jnp.zeros((1, 1))
    found = bp.precision(network, bp.squared_error, (linear(5.5)[1], ()), batch, "float16", forecast=False)["float16"]
    dense, tanh = found.layers
    assert tanh.output.alone < 1e-3 and tanh.error_signal.alone == 1 and dense.gradient.error == 1
    text = " ".join(found.findings)
    assert "layer 1 (tanh) alone loses 100% of the error" in text and "rounding, not a mistake" in text


def test_overflow_and_underflow_are_shares_with_a_remedy():
    network, params = linear(4e4)
    batch = jnp.array([[1.0], [2.0]]), jnp.zeros((2, 1))
    found = bp.precision(network, bp.squared_error, params, batch, forecast=False)
    assert found["float16"].layers[0].output.overflow == 0.5 and found["bfloat16"].layers[0].output.overflow == 0
    assert "50% of the outputs of layer 0 (dense) are infinite" in found["float16"].findings[0]

    tiny = Loss("tiny", lambda o, t: 1e-5 * jnp.sum(o - t), lambda o, t: jnp.full_like(o, 1e-5))
    found = bp.precision(network, tiny, params._replace(w=params.w / 4e4), batch, "float16", forecast=False)
    (layer,) = found["float16"].layers
    assert layer.error_signal.underflow == 1 and layer.gradient.underflow == 1
    assert "Multiply the loss by a constant" in str(found).replace("\n", " ")


@pytest.mark.thorough
def test_the_forecast_names_the_operation_and_its_line(keys):
    network = bp.mlp((4, 3, 2))
    params, _ = network.init(next(keys), (4,))
    batch = jax.random.normal(next(keys), (3, 4)), jnp.array([0, 1, 1])
    found = bp.precision(network, bp.softmax_cross_entropy, params, batch, ["bfloat16"])["bfloat16"]
    assert found.forecast is not None and found.forecast.is_valid
    assert abs(found.forecast.measured) <= found.forecast.bound
    assert "In E the operation" in found.findings[-1] and ".py:" in found.findings[-1]
    assert max(map(len, str(found).split("\n"))) <= 80


def test_a_figure_has_a_line_for_each_format():
    network, params = linear(0.1)
    batch = jnp.ones((1, 1)), jnp.zeros((1, 1))
    found = bp.precision(network, bp.squared_error, params, batch, ("float32", "float16"), forecast=False)
    assert [len(axis.lines) for axis in found.plot().axes] == [2, 2, 2]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"formats": "float8"}, "float8"),
        ({"loss": None}, "expected a Loss"),
        ({"params": bp.layers.Affine(jnp.full((1, 1), 1e300))}, "finite in float64"),
        ({"batch": (jnp.ones((1, 2)), jnp.zeros((1, 1)))}, "expected"),
    ],
)
def test_bad_input_gets_a_sentence(change, message):
    network, params = linear(0.1)
    right = {"network": network, "loss": bp.squared_error, "params": params}
    arguments = right | {"batch": (jnp.full((1, 1), 2.0), jnp.zeros((1, 1)))} | change
    with pytest.raises(ValueError, match=message):
        bp.precision(**arguments)
