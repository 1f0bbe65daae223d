"""A layer as a function: its hand-written backward inside other people's transformations and models."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import relative_error

import bpjax as bp
from bpjax.interop.as_function import as_function
from bpjax.layers.embedding import embedding
from bpjax.layers.layer import Layer, no_gradient

NETWORK = bp.chain(bp.dense(4), bp.tanh, bp.dense(3))
DOUBLED = (
    NETWORK._replace(  # its derivative is twice the right one, which distinguishes it from automatic differentiation
        backward=lambda params, residuals, dy: jax.tree.map(lambda d: 2 * d, NETWORK.backward(params, residuals, dy))
    )
)
doubled = as_function(DOUBLED)


def automatic(params, x):
    return NETWORK.forward(params, x)[0]


def error(function):
    return lambda params, x: (function(params, x) ** 2).sum()


def gradient(function, params, x):
    return jax.jit(jax.grad(error(function), argnums=(0, 1)))(params, x)


def twice(tree):
    return jax.tree.map(lambda leaf: 2 * leaf, tree)


@pytest.fixture
def params(keys):
    return NETWORK.init(next(keys), (5,))[0]


@pytest.fixture
def x(keys):
    return jax.random.normal(next(keys), (6, 5))


def test_the_gradient_is_that_of_the_forward_pass(params, x):
    found = gradient(as_function(NETWORK), params, x)
    assert relative_error(found, gradient(automatic, params, x)) < 1e-12


def test_the_gradient_is_the_layers_own_backward_even_where_it_is_wrong(params, x):
    found = gradient(doubled, params, x)
    assert relative_error(found, twice(gradient(automatic, params, x))) < 1e-12


TRANSFORMED = {
    "jit": lambda f: jax.jit(f),
    "checkpoint": lambda f: jax.checkpoint(f),
    "vmap": lambda f: lambda p, x: jax.vmap(lambda one: f(p, one[None, :])[0])(x),
    "vmap over params": lambda f: lambda p, x: jax.vmap(f, (0, None))(jax.tree.map(lambda a: a[None], p), x)[0],
    "scan": lambda f: lambda p, x: jax.lax.scan(lambda s, one: (s, f(p, one[None, :])[0]), 0.0, x)[1],
}


@pytest.mark.parametrize("name", TRANSFORMED)
def test_it_goes_through_the_transformations_of_jax(name, params, x):
    changed = TRANSFORMED[name](doubled)
    found = gradient(changed, params, x)
    assert relative_error(changed(params, x), automatic(params, x)) < 1e-12
    assert relative_error(found, twice(gradient(automatic, params, x))) < 1e-12


def test_per_example_gradients(params, x):
    each = jax.jit(jax.vmap(jax.grad(lambda p, one: error(doubled)(p, one[None, :])), (None, 0)))(params, x)
    expected = twice(gradient(automatic, params, x)[0])
    assert relative_error(jax.tree.map(lambda g: g.sum(axis=0), each), expected) < 1e-12


@pytest.mark.thorough
def test_tokens_have_no_gradient(keys):
    layer = bp.chain(embedding(7, 3), bp.tanh)
    params, _ = layer.init(next(keys), (4,))
    tokens = jax.random.randint(next(keys), (2, 4), 0, 7)
    y, vjp = jax.vjp(as_function(layer), params, tokens)
    expected = jax.vjp(lambda p, t: layer.forward(p, t)[0], params, tokens)[1](y)
    found = vjp(y)
    assert found[1].dtype == jax.dtypes.float0
    assert relative_error(found, expected) < 1e-12
    mapped = jax.vmap(jax.grad(lambda p, t: as_function(layer)(p, t[None, :]).sum()), (None, 0))(params, tokens)
    assert jax.tree.map(jnp.shape, mapped) == jax.tree.map(lambda p: (2, *p.shape), params)


def test_a_key_and_a_mask_beside_the_numbers(keys):
    def forward(params, x):
        numbers, mask, key = x
        keep = mask & jax.random.bernoulli(key, 0.5, mask.shape)
        return numbers * keep * params, (numbers, keep, mask, key)

    def backward(params, residuals, dy):
        numbers, keep, mask, key = residuals
        return (dy * numbers * keep).sum(), (dy * keep * params, no_gradient(mask), no_gradient(key))

    toy = Layer("toy", lambda key, shape: (jnp.array(1.5), shape), forward, backward)
    x = (jax.random.normal(next(keys), (6, 5)), jnp.arange(30).reshape(6, 5) % 3 > 0, next(keys))
    dy = jnp.ones((6, 5))
    expected = jax.vjp(lambda p, x: forward(p, x)[0], jnp.array(1.5), x)[1](dy)
    found = jax.vjp(jax.jit(as_function(toy)), jnp.array(1.5), x)[1](dy)
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-12)
    np.testing.assert_allclose(found[1][0], expected[1][0], rtol=1e-12)
    assert [d.dtype for d in found[1][1:]] == [jax.dtypes.float0] * 2


def test_forward_mode_is_refused_by_jax_and_second_derivatives_are_not(params, x):
    function = as_function(NETWORK)
    message = r"can't apply forward-mode autodiff \(jvp\) to a custom_vjp function"
    with pytest.raises(TypeError, match=message):
        jax.jvp(lambda x: function(params, x), (x,), (x,))
    with pytest.raises(TypeError, match=message):
        jax.jacfwd(lambda x: function(params, x))(x)
    found, expected = (jax.jit(jax.hessian(error(f), argnums=1))(params, x) for f in (function, automatic))
    assert relative_error(found, expected) < 1e-11
    found, expected = (
        jax.jit(lambda x, f=f: jax.jvp(lambda x: jax.grad(error(f), 1)(params, x), (x,), (x,)))(x)
        for f in (function, automatic)
    )
    assert relative_error(found, expected) < 1e-11


def test_what_is_no_layer_is_refused():
    with pytest.raises(ValueError, match=r"`as_function` expected a Layer, got dense"):
        as_function(bp.dense)  # type: ignore[arg-type]


# inside models of other libraries: a linear map of theirs, our network, and the gradient by their own means


def test_inside_a_flax_nnx_module(keys, x):
    nnx = pytest.importorskip("flax.nnx")

    class Model(nnx.Module):
        def __init__(self, function, params, rngs):
            self.first = nnx.Linear(5, 5, use_bias=False, param_dtype=jnp.float64, rngs=rngs)
            self.function, self.params = function, nnx.data(jax.tree.map(nnx.Param, params))

        def __call__(self, x):
            params = jax.tree.map(lambda p: p[...], self.params, is_leaf=lambda p: isinstance(p, nnx.Param))
            return self.function(params, self.first(x))

    params, _ = NETWORK.init(next(keys), (5,))
    grads = {}
    for name, function in {"hand": as_function(NETWORK), "automatic": automatic, "doubled": doubled}.items():
        model = Model(function, params, nnx.Rngs(0))
        grads[name] = jax.tree.leaves(nnx.jit(nnx.grad(lambda m: (m(x) ** 2).sum()))(model))
    assert len(grads["hand"]) == 5
    assert relative_error(grads["hand"], grads["automatic"]) < 1e-12
    assert relative_error(grads["doubled"], twice(grads["automatic"])) < 1e-12


@pytest.mark.thorough
def test_inside_a_flax_linen_module(keys, x):
    nn = pytest.importorskip("flax.linen")

    class Model(nn.Module):
        function: object

        @nn.compact
        def __call__(self, x):
            params = self.param("network", lambda key: NETWORK.init(key, (5,))[0])
            return self.function(params, nn.Dense(5, use_bias=False, param_dtype=jnp.float64)(x))  # type: ignore

    variables = Model(automatic).init(next(keys), x)
    grads = [
        jax.grad(lambda v, f=function: (Model(f).apply(v, x) ** 2).sum())(variables)
        for function in (as_function(NETWORK), automatic, doubled)
    ]
    assert relative_error(grads[0], grads[1]) < 1e-12
    assert relative_error(grads[2], twice(grads[1])) < 1e-12


@pytest.mark.thorough
def test_inside_an_equinox_module(keys, x):
    eqx = pytest.importorskip("equinox")

    class Model(eqx.Module):
        first: object
        params: object
        function: object = eqx.field(static=True)

        def __call__(self, x):
            return self.function(self.params, jax.vmap(self.first)(x))  # type: ignore

    first = eqx.nn.Linear(5, 5, use_bias=False, key=next(keys))
    params, _ = NETWORK.init(next(keys), (5,))
    grads = [
        jax.tree.leaves(eqx.filter_jit(eqx.filter_grad(lambda m: (m(x) ** 2).sum()))(Model(first, params, function)))
        for function in (as_function(NETWORK), automatic, doubled)
    ]
    assert relative_error(grads[0], grads[1]) < 1e-12
    assert relative_error(grads[2], twice(grads[1])) < 1e-12


def test_inside_a_haiku_function(keys, x):
    hk = pytest.importorskip("haiku")

    def model(function):
        def call(x):
            h = hk.Linear(5, with_bias=False)(x)
            structure = jax.tree.structure(params)
            names = [f"p{i}" for i in range(structure.num_leaves)]
            leaves = [
                hk.get_parameter(name, p.shape, p.dtype, init=lambda *_, p=p: p)
                for name, p in zip(names, jax.tree.leaves(params), strict=True)
            ]
            return function(jax.tree.unflatten(structure, leaves), h)

        return hk.without_apply_rng(hk.transform(call))

    params, _ = NETWORK.init(next(keys), (5,))
    weights = model(automatic).init(next(keys), x)
    grads = [
        jax.grad(lambda w, f=function: (model(f).apply(w, x) ** 2).sum())(weights)
        for function in (as_function(NETWORK), automatic, doubled)
    ]
    assert relative_error(grads[0], grads[1]) < 1e-12
    assert relative_error(grads[2], twice(grads[1])) < 1e-12
