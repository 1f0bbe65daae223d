"""Tokens, several inputs, evaluation mode and constants through the adapters; gradients by two other ways."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import relative_error

import bpjax as bp
from bpjax.interop import as_function, export_network, from_equinox, from_linen, from_nnx, from_stax, to_nnx
from bpjax.interop.from_function import from_function

pytestmark = pytest.mark.usefixtures("as_a_user_runs_it")

TOKENS = np.array([[0, 3, 3], [10, 1, 0]], np.int32)


def check(layer, in_shape, x, original, params=None):
    """out_shape, y and the gradients of Σ y² are those of the original model, by `jax.vjp` and by differences."""
    made, out_shape = layer.init(jax.random.key(0), in_shape)
    params = made if params is None else params
    y, residuals = layer.forward(params, x)
    expected, vjp = jax.vjp(lambda p: original(p, x), params)
    assert jax.tree.map(lambda a: a.shape[1:], y) == out_shape
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)
    found = layer.backward(params, residuals, 2 * y)[0]
    assert relative_error(jax.tree.leaves(found), jax.tree.leaves(vjp(2 * expected)[0])) < 1e-5
    direction = jax.tree.map(lambda p: jnp.cos(jnp.arange(p.size, dtype=p.dtype)).reshape(p.shape), params)
    value = lambda h: float((original(jax.tree.map(lambda p, d: p + h * d, params, direction), x) ** 2).sum())
    slope = sum(float((g * d).sum()) for g, d in zip(*map(jax.tree.leaves, (found, direction)), strict=True))
    assert slope == pytest.approx((value(1e-2) - value(-1e-2)) / 2e-2, rel=1e-2, abs=1e-2)
    return params


def test_linen_tokens():
    nn = pytest.importorskip("flax.linen")
    module = nn.Sequential([nn.Embed(11, 4), nn.Dense(2)])
    check(from_linen(module), (3,), TOKENS, lambda p, x: module.apply({"params": p}, x))


@pytest.mark.thorough
def test_linen_in_evaluation():
    nn = pytest.importorskip("flax.linen")

    class Model(nn.Module):
        @nn.compact
        def __call__(self, x, train):
            x = nn.BatchNorm(use_running_average=not train)(nn.Dense(3)(x))
            return nn.Dropout(0.5, deterministic=not train)(x)

    x = np.array([[1, 2], [3, -1], [0, 1]], np.float32)
    variables = Model().init(jax.random.key(0), x, train=False)
    variables = variables | {"batch_stats": jax.tree.map(lambda a: a + 0.5, variables["batch_stats"])}
    original = lambda p, x: Model().apply(variables | {"params": p}, x, train=False)
    params = check(from_linen(Model(), variables, train=False), (2,), x, original)
    assert relative_error(params, variables["params"]) == 0
    with pytest.raises(ValueError, match=r"without state and random numbers, Model needs them: pass the argument"):
        from_linen(Model(), variables, train=True).init(jax.random.key(0), (2,))
    with pytest.raises(ValueError, match=r"only collection is 'params', got .*batch_stats"):
        from_linen(Model(), train=False).init(jax.random.key(0), (2,))
    with pytest.raises(ValueError, match=r"expected `variables` of the form"):
        from_linen(Model(), x)


@pytest.mark.thorough
def test_nnx_tokens_in_evaluation_with_constants():
    nnx = pytest.importorskip("flax.nnx")

    class Model(nnx.Module):
        def __init__(self, rngs):
            self.embed, self.norm = nnx.Embed(11, 4, rngs=rngs), nnx.BatchNorm(4, rngs=rngs)
            self.drop, self.scale, self.shift = nnx.Dropout(0.5, rngs=rngs), jnp.full(4, 2.0), np.ones(4, np.float32)

        def __call__(self, x):
            return self.drop(self.norm(self.embed(x))) * self.scale + self.shift

    module = Model(nnx.Rngs(0))
    module(TOKENS)  # statistics that are not those of the start
    module.eval()
    graph, state, rest = nnx.split(module, nnx.Param, ...)

    def original(params, x):
        ours = jax.tree.map(lambda leaf: leaf, state)
        nnx.replace_by_pure_dict(ours, params)
        return nnx.merge(graph, ours, rest)(x)

    params = check(from_nnx(module), (3,), TOKENS, original)
    assert set(params) == {"embed", "norm"}
    np.testing.assert_array_equal(to_nnx(module, params)(TOKENS), module(TOKENS))


def test_nnx_plain_arrays_are_constants_unless_chosen():
    nnx = pytest.importorskip("flax.nnx")

    class Plain(nnx.Module):
        def __init__(self):
            self.w = jnp.arange(6.0).reshape(2, 3)

        def __call__(self, x):
            return x @ self.w

    x = np.array([[1, 2], [3, 4]], np.float32)
    assert from_nnx(Plain()).init(jax.random.key(0), (2,)) == ({}, (3,))
    trained = from_nnx(Plain(), wrt=jax.Array)
    params = check(trained, (2,), x, lambda p, x: x @ p["w"])
    twice = to_nnx(Plain(), jax.tree.map(lambda w: 2 * w, params), wrt=jax.Array)
    np.testing.assert_array_equal(twice(x), 2 * Plain()(x))


@pytest.mark.thorough
def test_equinox_tokens_and_a_dictionary():
    eqx = pytest.importorskip("equinox")

    class Model(eqx.Module):
        embed: Any
        linear: Any

        def __call__(self, x):
            return self.linear(x["numbers"]) + jax.vmap(self.embed)(x["tokens"]).sum(axis=0)

    module = Model(eqx.nn.Embedding(11, 4, key=jax.random.key(0)), eqx.nn.Linear(2, 4, key=jax.random.key(1)))
    x = {"tokens": TOKENS, "numbers": np.array([[1, 2], [3, 4]], np.float32)}
    shapes = {"tokens": (3,), "numbers": (2,)}
    check(from_equinox(module), shapes, x, lambda p, x: jax.vmap(p)(x))
    dtype = {"tokens": jnp.int32, "numbers": jnp.float32}
    assert from_equinox(module, dtype=dtype).init(jax.random.key(0), shapes)[1] == (4,)
    with pytest.raises(ValueError, match=r"`from_equinox` cannot call Model on x of .*float32\[2, 3\].*: TypeError"):
        from_equinox(module, dtype=jnp.float32).init(jax.random.key(0), shapes)


def test_equinox_state_in_inference():
    eqx = pytest.importorskip("equinox")

    class Model(eqx.Module):
        linear: Any
        norm: Any

        def __call__(self, x, state):
            return self.norm(self.linear(x), state)

    make = lambda key: Model(eqx.nn.Linear(2, 3, key=key), eqx.nn.BatchNorm(3, "batch", mode="ema"))
    module, state = eqx.nn.make_with_state(make)(jax.random.key(0))
    x = np.array([[1, 2], [3, -1]], np.float32)
    run = jax.vmap(module, axis_name="batch", in_axes=(0, None), out_axes=(0, None))
    _, state = run(x, state)
    inference = eqx.nn.inference_mode(module)
    original = lambda p, x: jax.vmap(p, axis_name="batch", in_axes=(0, None), out_axes=(0, None))(x, state)[0]
    layer = from_equinox(inference, state=state)
    params = layer.init(jax.random.key(0), (2,))[0]
    np.testing.assert_allclose(layer.forward(params, x)[0], original(inference, x), rtol=1e-6)
    with pytest.raises(ValueError, match=r"expected a module without state, got Model: pass its state"):
        from_equinox(inference)


def test_stax_of_several_inputs():
    from jax.example_libraries import stax

    init, apply = stax.serial(stax.FanOut(2), stax.parallel(stax.Dense(3), stax.Dense(2)))
    assert from_stax((init, apply)).init(jax.random.key(0), (4,))[1] == ((3,), (2,))


def test_shapes_as_users_write_them(keys):
    apply = lambda p, x: x @ p
    init = lambda key, shape: (jnp.ones((shape[0], 3)), (np.int64(3),))
    for made in (from_function(init, apply), from_function(jax.jit(init, static_argnums=1), functools.partial(apply))):
        params, out_shape = made.init(next(keys), (4,))
        assert out_shape == (3,)
    pytest.importorskip("flatbuffers")
    for in_shape in ((np.int64(4),), [4], 4):
        assert export_network(made, params, in_shape)
    for wrong in (None, "4", (4.5,), (-1,), jax.random.key(0)):
        with pytest.raises(ValueError, match=r"`export_network` expected `in_shape` to be a shape"):
            export_network(made, params, wrong)
    with pytest.raises(
        ValueError, match=r"`export_network` expected `params` to be a pytree of arrays, got str at 'name'"
    ):
        export_network(made, bp.dense(3), (4,))
    with pytest.raises(ValueError, match=r"`from_function` expected `name` to be a text"):
        from_function(init, apply, 3)  # type: ignore[arg-type]


@pytest.mark.thorough
def test_shard_map_sums_the_gradient_of_shared_params(keys):
    network = bp.chain(bp.dense(4), bp.tanh, bp.dense(3))
    params, _ = network.init(next(keys), (5,))
    x = jax.random.normal(next(keys), (6, 5))
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:1]), ("data",))
    shared, split = jax.sharding.PartitionSpec(), jax.sharding.PartitionSpec("data")

    def gradients(function):
        step = jax.grad(lambda p, x: (function(p, x) ** 2).sum(), argnums=(0, 1))
        return jax.jit(jax.shard_map(step, mesh=mesh, in_specs=(shared, split), out_specs=(shared, split)))(params, x)

    expected = jax.grad(lambda p, x: (network.forward(p, x)[0] ** 2).sum(), argnums=(0, 1))(params, x)
    assert relative_error(gradients(as_function(network)), expected) < 1e-5
