"""Any JAX function as a layer: what it keeps, what it costs, and what it does with feedback weights."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from oracles import relative_error
from passes import compiled_rules

import bpjax as bp
from bpjax.interop.from_function import from_function, output_shape
from bpjax.layers.layer import no_gradient


def affine(params, x):
    return x @ params["w"] + params["b"][None, :]


def nonlinear(params, x):
    return jnp.tanh(affine(params, x))


def init(features):
    def make(key, in_shape):
        w = jax.random.normal(key, (*in_shape, features)) / np.sqrt(in_shape[0])
        return {"w": w, "b": jnp.full(features, 0.1)}, (features,)

    return make


def backward(layer, params, weights, x, dy):
    """(dparams, dx) by a backward pass that receives `weights`, compiled."""
    run = lambda params, weights, x, dy: layer.backward(weights, layer.forward(params, x)[1], dy)
    return jax.jit(run)(params, weights, x, dy)


def test_by_hand():
    # y = w x² at w = 3, x = 2: y = 12; dy = 5: dw = 5 · 2² = 20, dx = 5 · 2 · 3 · 2 = 60
    layer = from_function(lambda key, shape: (jnp.array(1.0), shape), lambda w, x: w * x**2, "square")
    x = jnp.array([[2.0]])
    y, residual = layer.forward(jnp.array(3.0), x)
    dw, dx = layer.backward(jnp.array(3.0), residual, jnp.array([[5.0]]))
    assert (layer.name, float(y[0, 0]), float(dw), float(dx[0, 0])) == ("square", 12, 20, 60)
    assert residual is x


@pytest.mark.thorough
def test_hand_written_and_automatic_layers_mix_and_learn(keys):
    network = bp.chain(bp.dense(4), from_function(init(4), nonlinear), bp.dense(3))
    params, out_shape = network.init(next(keys), (5,))
    assert out_shape == (3,)
    batch = (jax.random.normal(next(keys), (6, 5)), jax.random.normal(next(keys), (6, 3)))
    assert bp.compare(*compiled_rules(network, bp.squared_error), params, batch, timed=False, show=False).ok
    rule = bp.backprop(network, bp.squared_error)
    trained = bp.fit(rule, optax.sgd(0.02), params, batch, key=next(keys), epochs=20, chunk=20).params
    error = lambda p: float(bp.squared_error.value(network.forward(p, batch[0])[0], batch[1]))
    assert error(trained) < 0.7 * error(params)


def test_tokens_masks_and_several_inputs(keys):
    def apply(params, x):
        tokens, mask, numbers = x
        return jnp.where(mask[:, None], params[tokens] * numbers, 0.0)

    layer = from_function(lambda key, shape: (jax.random.normal(key, (7, 3)), (3,)), apply)
    params, _ = layer.init(next(keys), ((), (), (3,)))
    x = (jnp.array([1, 6, 1]), jnp.array([True, True, False]), jax.random.normal(next(keys), (3, 3)))
    dparams, dx = backward(layer, params, params, x, jnp.ones((3, 3)))
    assert relative_error(dx[:2], (no_gradient(x[0]), no_gradient(x[1]))) == 0
    expected = np.zeros((7, 3))
    expected[1], expected[6] = x[2][0], x[2][1]
    np.testing.assert_allclose(dparams, expected)


def test_a_linear_function_takes_feedback_weights_as_dense_does(keys):
    ours, theirs = bp.dense(3), from_function(init(3), affine)
    params, feedback = ours.init(next(keys), (5,))[0], ours.init(next(keys), (5,))[0]
    x, dy = jax.random.normal(next(keys), (6, 5)), jax.random.normal(next(keys), (6, 3))
    (dw, db), dx = backward(ours, params, feedback, x, dy)
    found = backward(theirs, params._asdict(), feedback._asdict(), x, dy)
    assert relative_error(found, ({"w": dw, "b": db}, dx)) < 1e-12
    np.testing.assert_allclose(found[1], dy @ feedback.w.T, rtol=1e-12)


def test_a_nonlinear_function_takes_its_slope_at_the_feedback_weights_and_a_chain_does_not(keys):
    fused, split = from_function(init(3), nonlinear), bp.chain(from_function(init(3), affine), bp.tanh)
    params, feedback = fused.init(next(keys), (5,))[0], fused.init(next(keys), (5,))[0]
    x, dy = jax.random.normal(next(keys), (6, 5)), jax.random.normal(next(keys), (6, 3))
    slope = lambda at: 1 - np.tanh(np.asarray(x) @ np.asarray(at["w"]) + np.asarray(at["b"])) ** 2
    alignment = (np.asarray(dy) * slope(params)) @ np.asarray(feedback["w"]).T
    own = (np.asarray(dy) * slope(feedback)) @ np.asarray(feedback["w"]).T
    _, dx_split = backward(split, (params, ()), (feedback, ()), x, dy)
    _, dx_fused = backward(fused, params, feedback, x, dy)
    np.testing.assert_allclose(dx_split, alignment, rtol=1e-12)
    np.testing.assert_allclose(dx_fused, own, rtol=1e-12)
    assert relative_error(dx_fused, alignment) > 0.1


def perceptron(params, x):
    for w in params:
        x = jnp.tanh(x @ w)
    return x


def looped(params, x):
    return jax.lax.scan(lambda x, w: (jnp.tanh(x @ w), None), x, params)[0]


@pytest.mark.parametrize(("apply", "loops"), [(perceptron, (0, 0)), (looped, (3, 2))], ids=["layers", "a loop"])
def test_under_jit_the_forward_pass_is_computed_once_but_for_loops(apply, loops, keys):
    params = jax.random.normal(next(keys), (3, 32, 32))
    x, dy = jnp.ones((64, 32)), jnp.ones((64, 32))
    layer = from_function(lambda key, shape: (params, shape), apply)

    def ours(params, x, dy):
        y, residual = layer.forward(params, x)
        return y, layer.backward(params, residual, dy)

    def automatic(params, x, dy):
        y, vjp = jax.vjp(apply, params, x)
        return y, vjp(dy)

    programs = [jax.jit(function).lower(params, x, dy).compile() for function in (ours, automatic)]
    assert tuple((program.as_text() or "").count(" while(") for program in programs) == loops
    flops = [(program.cost_analysis() or {})["flops"] for program in programs]
    assert apply is looped or flops[0] == pytest.approx(flops[1], rel=0.01)


def test_output_shape():
    params = {"w": jnp.zeros((5, 3)), "b": jnp.zeros(3)}
    assert output_shape(affine, params, (5,)) == (3,)
    assert output_shape(lambda p, x: (x, x[:, 0]), (), (5, 2)) == ((5, 2), (2,))
    assert output_shape(lambda p, x: p[x], jnp.zeros((7, 3)), (4,), jnp.int32) == (4, 3)


def test_what_does_not_fit_is_refused(keys):
    with pytest.raises(ValueError, match=r"expected `apply` to be a function, got 3"):
        from_function(init(3), 3)  # type: ignore[arg-type]
    for made in (jnp.ones((2, 3)), {"w": jnp.ones(2)}, (jnp.ones(2), jnp.ones(2)), ((3,), {"w": jnp.ones(2)})):
        with pytest.raises(ValueError, match=r"expected `init` of 'mine' to return \(params, out_shape\)"):
            from_function(lambda key, shape, made=made: made, affine, "mine").init(next(keys), (5,))
