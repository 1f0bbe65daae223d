"""Modules of other libraries as layers: the same outputs, the gradients of their own jax.grad, and back to modules."""

import builtins

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.example_libraries import stax
from oracles import relative_error
from passes import compiled_rules

import bpjax as bp
from bpjax.interop.adapters import from_equinox, from_linen, from_nnx, from_stax, to_equinox, to_nnx
from bpjax.interop.from_function import from_function


@pytest.fixture(autouse=True)
def ranks():
    """The libraries add biases (H,) to (N, H)."""
    with jax.numpy_rank_promotion("allow"):
        yield


def fits_in(layer, params, x, keys):
    """Learns, alone and in a chain with `dense`; `compare` is content. Returns the params trained alone."""
    out_shape = layer.forward(params, x)[0].shape
    batch = (x, jax.random.normal(next(keys), out_shape, x.dtype))
    rule = bp.backprop(layer, bp.squared_error)
    trained = bp.fit(rule, optax.sgd(0.01), params, batch, key=next(keys), epochs=3, chunk=3).params
    error = lambda p: float(bp.squared_error.value(layer.forward(p, x)[0], batch[1]))
    assert error(trained) < error(params)

    network = bp.chain(layer, bp.tanh, bp.dense(2))
    mixed, shape = network.init(next(keys), x.shape[1:])
    mixed = bp.util.cast(mixed, x.dtype)
    assert shape == (2,)
    rules = compiled_rules(network, bp.squared_error)
    assert bp.compare(*rules, mixed, (x, batch[1][:, :2]), timed=False, show=False).ok
    return trained


def gradients(layer, params, x):
    def run(params, x):
        y, residuals = layer.forward(params, x)
        return layer.backward(params, residuals, 2 * y)[0]  # of Σ y²

    return jax.jit(run)(params, x)


@pytest.mark.thorough
def test_nnx(keys):
    nnx = pytest.importorskip("flax.nnx")

    class Net(nnx.Module):
        def __init__(self, rngs):
            self.first = nnx.Linear(4, 5, rngs=rngs, param_dtype=jnp.float64)
            self.rest = nnx.List([nnx.LayerNorm(5, rngs=rngs, param_dtype=jnp.float64)])
            self.last = nnx.Linear(5, 3, rngs=rngs, param_dtype=jnp.float64)

        def __call__(self, x):
            return self.last(self.rest[0](jnp.tanh(self.first(x))))

    module, x = Net(nnx.Rngs(1)), jax.random.normal(next(keys), (6, 4))
    layer = from_nnx(module)
    params, out_shape = layer.init(next(keys), (4,))
    assert (layer.name, out_shape) == ("Net", (3,))
    assert params["first"]["kernel"].shape == (4, 5)
    np.testing.assert_array_equal(layer.forward(params, x)[0], module(x))
    own = nnx.to_pure_dict(nnx.state(nnx.grad(lambda m: (m(x) ** 2).sum())(module), nnx.Param))
    assert relative_error(gradients(layer, params, x), own) < 1e-12

    before = module(x)
    trained = fits_in(layer, params, x, keys)
    back = to_nnx(module, trained)
    np.testing.assert_array_equal(back(x), layer.forward(trained, x)[0])
    assert not np.allclose(back(x), before)
    np.testing.assert_array_equal(module(x), before)  # the module itself never changes


def test_nnx_refuses_what_changes(keys):
    nnx = pytest.importorskip("flax.nnx")
    norm, dropout = nnx.BatchNorm(3, rngs=nnx.Rngs(0)), nnx.Dropout(0.5, rngs=nnx.Rngs(0))
    for module, kind in ((norm, "BatchStat"), (dropout, "RngCount")):
        with pytest.raises(ValueError, match=rf"changes its {kind}: switch it to evaluation, `module.eval\(\)`"):
            from_nnx(module).init(next(keys), (3,))
        with pytest.raises(ValueError, match=rf"changes its {kind}: switch"):
            from_nnx(module).forward(nnx.to_pure_dict(nnx.state(module, nnx.Param)), jnp.ones((2, 3), jnp.float32))
    with pytest.raises(ValueError, match=r"expected a module of Flax NNX, such as .*, got the class Linear"):
        from_nnx(nnx.Linear)
    with pytest.raises(ValueError, match=r"expected a module of Flax NNX, such as .*, got a Layer"):
        from_nnx(bp.tanh)


def test_linen(keys):
    nn = pytest.importorskip("flax.linen")
    dense = lambda features: nn.Dense(features, param_dtype=jnp.float64)
    module = nn.Sequential([dense(5), nn.tanh, nn.LayerNorm(param_dtype=jnp.float64), dense(3)])
    x, key = jax.random.normal(next(keys), (6, 4)), next(keys)
    layer = from_linen(module)
    params, out_shape = layer.init(key, (4,))
    assert (layer.name, out_shape) == ("Sequential", (3,))
    variables = module.init(key, x)
    assert relative_error(params, variables["params"]) == 0
    np.testing.assert_array_equal(layer.forward(params, x)[0], module.apply(variables, x))
    own = jax.grad(lambda p: (module.apply({"params": p}, x) ** 2).sum())(params)
    assert relative_error(gradients(layer, params, x), own) < 1e-12
    trained = fits_in(layer, params, x, keys)
    np.testing.assert_array_equal(module.apply({"params": trained}, x), layer.forward(trained, x)[0])


def test_linen_refuses_what_changes(keys):
    nn = pytest.importorskip("flax.linen")
    with pytest.raises(ValueError, match=r"only collection is 'params', got \['batch_stats', 'params'\] of BatchNorm"):
        from_linen(nn.BatchNorm(use_running_average=False)).init(next(keys), (3,))
    with pytest.raises(ValueError, match=r"expected a module of Flax Linen, such as .*, got the class Dense"):
        from_linen(nn.Dense)


def test_equinox(keys):
    eqx = pytest.importorskip("equinox")
    module, x = eqx.nn.MLP(4, 3, 5, 1, key=next(keys)), jax.random.normal(next(keys), (6, 4))
    layer = from_equinox(module)
    params, out_shape = layer.init(next(keys), (4,))
    assert (layer.name, out_shape) == ("MLP", (3,))
    np.testing.assert_array_equal(layer.forward(params, x)[0], jax.vmap(module)(x))
    own = eqx.filter_grad(lambda m: (jax.vmap(m)(x) ** 2).sum())(module)
    found = gradients(layer, params, x)
    assert relative_error(jax.tree.leaves(found), jax.tree.leaves(own)) < 1e-12
    trained = fits_in(layer, params, x, keys)
    back = to_equinox(module, trained)
    np.testing.assert_array_equal(jax.vmap(back)(x), layer.forward(trained, x)[0])
    assert not np.allclose(jax.vmap(back)(x), jax.vmap(module)(x))


@pytest.mark.thorough
def test_equinox_of_a_whole_batch(keys):
    eqx = pytest.importorskip("equinox")

    class Centred(eqx.Module):
        w: jax.Array

        def __call__(self, x):
            return (x - x.mean(axis=0, keepdims=True)) @ self.w

    x = jax.random.normal(next(keys), (6, 4))
    layer = from_equinox(Centred(jnp.ones((4, 2))), per_example=False)
    params, out_shape = layer.init(next(keys), (4,))
    assert out_shape == (2,)
    np.testing.assert_allclose(layer.forward(params, x)[0].sum(axis=0), 0, atol=1e-12)


def test_equinox_refuses_what_needs_more_than_x(keys):
    eqx = pytest.importorskip("equinox")
    dropout = eqx.nn.Sequential([eqx.nn.Linear(4, 3, key=next(keys)), eqx.nn.Dropout(0.5)])
    with pytest.raises(ValueError, match=r"needs no key, got dropout in Sequential"):
        from_equinox(dropout)
    layer = from_equinox(eqx.nn.inference_mode(dropout))
    assert layer.init(next(keys), (4,))[1] == (3,)
    with pytest.raises(ValueError, match=r"without state, got BatchNorm"):
        from_equinox(eqx.nn.BatchNorm(3, axis_name="batch", mode="batch"))
    with pytest.raises(ValueError, match=r"expected an Equinox module, such as .*, got the class Linear"):
        from_equinox(eqx.nn.Linear)

    class Mute(eqx.Module):
        w: jax.Array

    with pytest.raises(ValueError, match=r"with `__call__\(x\)`, got Mute"):
        from_equinox(Mute(jnp.ones(3)))


def test_stax(keys):
    pair = stax.serial(stax.Dense(5), stax.Tanh, stax.Dense(3))
    x, key = jax.random.normal(next(keys), (6, 4)), next(keys)
    layer = from_stax(pair)
    params, out_shape = layer.init(key, (4,))
    params = bp.util.cast(params, jnp.float64)
    assert (layer.name, out_shape) == ("stax", (3,))
    assert relative_error(params, bp.util.cast(pair[0](key, (-1, 4))[1], jnp.float64)) == 0
    np.testing.assert_array_equal(layer.forward(params, x)[0], pair[1](params, x))
    own = jax.grad(lambda p: (pair[1](p, x) ** 2).sum())(params)
    assert relative_error(gradients(layer, params, x), own) < 1e-12
    trained = fits_in(layer, params, x, keys)
    np.testing.assert_array_equal(pair[1](trained, x), layer.forward(trained, x)[0])


@pytest.mark.thorough
def test_stax_on_images(keys):
    layer = from_stax(stax.serial(stax.Conv(3, (2, 2)), stax.Relu, stax.Flatten, stax.Dense(2)))
    params, out_shape = layer.init(next(keys), (5, 6, 2))
    assert layer.forward(params, jnp.ones((4, 5, 6, 2)))[0].shape == (4, *out_shape) == (4, 2)


@pytest.mark.parametrize("wrong", [stax.Dense, (1, 2), stax.Dense(3)[0]], ids=["not called", "numbers", "init alone"])
def test_stax_refuses_what_is_no_pair(wrong):
    with pytest.raises(ValueError, match=r"`from_stax` expected a pair of functions \(init, apply\)"):
        from_stax(wrong)


def test_haiku_needs_no_adapter(keys):
    hk = pytest.importorskip("haiku")
    model = hk.without_apply_rng(hk.transform(lambda x: hk.nets.MLP([5, 3])(x)))
    layer = from_function(lambda key, shape: (model.init(key, jnp.zeros((1, *shape))), (3,)), model.apply, "haiku")
    params, _ = layer.init(next(keys), (4,))
    x = jax.random.normal(next(keys), (6, 4))
    own = jax.grad(lambda p: (model.apply(p, x) ** 2).sum())(params)
    assert relative_error(gradients(layer, params, x), own) < 1e-12
    fits_in(layer, params, x, keys)


@pytest.mark.parametrize(("adapter", "package"), [(from_nnx, "flax"), (from_linen, "flax"), (from_equinox, "equinox")])
def test_a_missing_package_is_named(adapter, package, monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.split(".")[0] == package:
            raise ModuleNotFoundError(f"No module named '{name}'")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ModuleNotFoundError, match=rf"needs the package {package}, .*pip install {package}"):
        adapter(None)
