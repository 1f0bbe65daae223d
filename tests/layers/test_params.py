"""Params of another dtype or shape are refused, in every layer and for every one of its arrays; nothing is compiled."""

import jax
import jax.numpy as jnp
import pytest

import bpjax as bp
from bpjax.gradcheck.cases.case import LayerCase
from bpjax.gradcheck.registry import LAYERS
from bpjax.layers.dense import Affine

KEY = jax.random.key(0)
GRU = {"unroll(gru(3))": LayerCase(bp.layers.unroll(bp.layers.gru(3)), (5, 4))}
LEAVES = {
    name: case
    for name, case in (LAYERS | GRU).items()
    if (case.layer.parts is None or case.layer.name.startswith("unroll("))
    and hasattr(jax.eval_shape(lambda k, case=case: case.layer.init(k, case.in_shape)[0], KEY), "_fields")
}
WRONG = {
    "integers": lambda a: jax.ShapeDtypeStruct(a.shape, jnp.int32),
    "half precision": lambda a: jax.ShapeDtypeStruct(a.shape, jnp.float16),
    "complex": lambda a: jax.ShapeDtypeStruct(a.shape, jnp.complex128),
    "one more": lambda a: jax.ShapeDtypeStruct((*a.shape[:-1], a.shape[-1] + 1), a.dtype),
    "broadcast": lambda a: jax.ShapeDtypeStruct((1,) * a.ndim, a.dtype),
    "another rank": lambda a: jax.ShapeDtypeStruct((1, *a.shape), a.dtype),
    "a number": lambda a: jax.ShapeDtypeStruct((), a.dtype),
    "missing": lambda a: None,
}


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("name", LEAVES)
def test_an_array_of_another_dtype_or_shape_is_refused(name, wrong):
    case = LEAVES[name]
    params = jax.eval_shape(lambda: case.layer.init(KEY, case.in_shape)[0])
    x = jax.eval_shape(lambda: case.inputs(KEY, 3, case.in_shape))
    jax.eval_shape(case.layer.forward, params, x)  # accepted as they are
    for field in params._fields:
        array = getattr(params, field)
        if (
            array is None
            or WRONG[wrong](array) == array
            or (name.startswith("embedding") and wrong == "half precision")
        ):
            continue  # an embedding has one array, and no floating-point input that it could differ from
        with pytest.raises(ValueError, match="expected") as caught:
            jax.eval_shape(case.layer.forward, params._replace(**{field: WRONG[wrong](array)}), x)
        assert "\n" not in str(caught.value).split("\n----")[0]


def test_the_table_holds_every_kind_of_params():
    kinds = {type(jax.eval_shape(lambda c=c: c.layer.init(KEY, c.in_shape)[0])).__name__ for c in LEAVES.values()}
    expected = "Affine Embedding SparseAffine Attention Positions Gains WeightNormed Recurrent Gru Jordan"
    assert kinds >= set(expected.split())


X, W = jnp.ones((2, 4)), jnp.ones((4, 3))
SENTENCES = {
    "integers": (
        jnp.ones(3, int),
        r"`dense\(3, use_bias=True\)` expected `b` of a floating-point .*int64\[3\]",
    ),
    "half": (jnp.ones(3, jnp.float16), r"expected `b` in the dtype of `w`, float64, got float16\[3\].*bp.util.cast"),
    "one": (jnp.ones(1), r"expected params Affine\(w=\(D, 3\), b=\(3,\)\), got Affine\(w=\(4, 3\), b=\(1,\)\).*`init`"),
}


@pytest.mark.parametrize("name", SENTENCES)
def test_the_sentence_names_the_layer_the_array_and_the_cure(name):
    b, sentence = SENTENCES[name]
    with pytest.raises(ValueError, match=sentence):
        bp.dense(3).forward(Affine(W, b), X)


@pytest.mark.parametrize(
    "network",
    [bp.mlp((4, 3, 2)), bp.layers.parallel(bp.dense(3), bp.dense(3)),
     bp.layers.tie(bp.chain(bp.dense(4), bp.tanh, bp.dense(4)), (0, 2))],
    ids=["chain", "parallel", "tie"],
)  # fmt: skip
def test_a_list_of_params_has_a_list_of_gradients(network):
    params, _ = network.init(KEY, (4,))
    y, residuals = network.forward(list(params), X)
    found = network.backward(list(params), residuals, jnp.ones_like(y))[0]
    assert isinstance(found, list) and isinstance(network.backward(params, residuals, jnp.ones_like(y))[0], tuple)
    expected = jax.vjp(lambda p: network.forward(p, X)[0], list(params))[1](jnp.ones_like(y))[0]
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    assert all(jnp.allclose(a, b, rtol=1e-12) for a, b in zip(*map(jax.tree.leaves, (found, expected)), strict=True))
