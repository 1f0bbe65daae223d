"""Matrix products and convolutions: every entry against `jax.vjp` and differences."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from derivative_laws import Case, Cases, complex_normal, every_law, normal
from jax import lax
from oracles import relative_error
from passes import quick_jit

from bpjax.tape import vjp as tape_vjp
from bpjax.util.jaxprs import opened


def dot(contract, batch=((), ())):
    return lambda x, y: lax.dot_general(x, y, (contract, batch))


def conv(spec=("NCHW", "OIHW", "NCHW"), strides=(1, 1), padding="SAME", **options):
    return lambda x, w: lax.conv_general_dilated(x, w, strides, padding, dimension_numbers=spec, **options)


channels_last = ("NHWC", "HWIO", "NHWC")
cases = [
    Case("dot_general", dot(((1,), (0,))), normal(2, 3), normal(3, 4), name="x y"),
    Case("dot_general", dot(((0,), (0,))), normal(3, 2), normal(3, 4), name="xᵀ y"),
    Case("dot_general", dot(((1,), (1,))), normal(2, 3), normal(4, 3), name="x yᵀ"),
    Case("dot_general", dot(((0,), (1,))), normal(3, 2), normal(4, 3), name="xᵀ yᵀ"),
    Case("dot_general", dot(((0,), (0,))), normal(3), normal(3), name="two vectors"),
    Case("dot_general", dot(((), ())), normal(2), normal(3), name="outer product"),
    Case("dot_general", dot(((1,), (0,))), complex_normal(2, 3), complex_normal(3, 4), name="complex"),
    Case("dot_general", dot(((1, 3), (2, 0)), ((2,), (1,))), normal(2, 3, 4, 5), normal(5, 4, 3, 6), name="any axes"),
    Case("dot_general", dot(((3, 0), (1, 3)), ((1, 2), (2, 0))), normal(2, 3, 4, 5), normal(4, 5, 3, 2),
         name="nothing kept"),
    Case("dot_general", dot(((1,), (0,))), normal(2, 0), normal(0, 4), name="empty"),
    Case("dot_general", lambda x: x @ x, normal(3, 3), name="one array twice"),
    Case("conv_general_dilated", conv(), normal(2, 3, 5, 4), normal(4, 3, 3, 2), name="convolution"),
    Case("conv_general_dilated", conv(strides=(2, 3), padding=((1, 2), (0, 1))), normal(2, 3, 6, 5),
         normal(4, 3, 3, 2), name="strides"),
    Case("conv_general_dilated", conv(padding=((-1, 0), (3, -1))), normal(1, 2, 6, 5), normal(2, 2, 3, 2),
         name="negative padding"),
    Case("conv_general_dilated", conv(padding=((2, 1), (1, 2)), lhs_dilation=(2, 1), rhs_dilation=(1, 2)),
         normal(2, 2, 4, 5), normal(3, 2, 3, 2), name="dilations"),
    Case("conv_general_dilated", conv(strides=(2, 1), padding=((2, 1), (1, 2)), lhs_dilation=(3, 2),
         rhs_dilation=(2, 1)), normal(1, 2, 3, 4), normal(2, 2, 2, 3), name="strides and dilations"),
    Case("conv_general_dilated", conv(channels_last, (1, 2)), normal(2, 4, 5, 3), normal(3, 2, 3, 4),
         name="channels last"),
    Case("conv_general_dilated", conv(("CHWN", "IHWO", "HWNC")), normal(3, 4, 5, 2), normal(3, 2, 2, 4),
         name="any axes of a convolution"),
    Case("conv_general_dilated", conv(feature_group_count=3), normal(2, 6, 4, 4), normal(3, 2, 2, 2),
         name="depthwise"),
    Case("conv_general_dilated", conv(channels_last, (2, 1), feature_group_count=2), normal(2, 4, 5, 4),
         normal(2, 2, 2, 6), name="feature groups"),
    Case("conv_general_dilated", conv(batch_group_count=2), normal(4, 3, 4, 4), normal(6, 3, 2, 2),
         name="batch groups"),
    Case("conv_general_dilated", conv(channels_last, (2, 1), batch_group_count=2), normal(4, 5, 4, 3),
         normal(2, 2, 3, 4), name="batch groups, channels last"),
    Case("conv_general_dilated", lambda x, w: lax.conv(x, w, (2,), "VALID"), normal(2, 3, 7), normal(4, 3, 2),
         name="one axis"),
    Case("conv_general_dilated", lambda x, w: lax.conv_general_dilated(x, w, (), ()), normal(2, 3), normal(4, 3),
         name="no axis"),
    Case("conv_general_dilated", conv(), normal(0, 3, 5, 4), normal(4, 3, 3, 2), name="empty batch"),
    Case("conv_general_dilated", conv(), complex_normal(1, 2, 4, 3), complex_normal(2, 2, 2, 2),
         name="complex convolution"),
]  # fmt: skip
# in one process, which compiles the cases once
pytestmark = pytest.mark.thorough

CASES = Cases(cases)


@every_law()
@pytest.mark.parametrize("name", CASES.names)
def test_law(law, name):
    law(CASES, name)


def ragged_in_the_middle(x, y, sizes):
    """Batched, with the groups of y in its middle axis."""
    numbers = lax.RaggedDotDimensionNumbers((((2,), (3,)), ((0,), (0,))), [1], [1])
    return lax.ragged_dot_general(x, y, sizes, numbers)


def dense(equation):
    """A ragged product as a sum over all groups, with the rows of the others set to 0."""

    def product(x, y, sizes):
        end = np.cumsum(sizes, axis=-1)[..., None]
        row = np.arange(x.shape[-2])
        member = jnp.asarray((row < end) & (row >= end - sizes[..., None]))
        return jnp.einsum(equation, member.astype(x.dtype), x, y)

    return product


SIZES = np.array([2, 0, 3], np.int32)


@pytest.mark.parametrize(
    ("ragged", "product", "shapes", "sizes"),
    [
        (lax.ragged_dot, dense("gm,mk,gkn->mn"), ((5, 2), (3, 2, 4)), SIZES),
        (ragged_in_the_middle, dense("bgm,bmk,bgnk->bmn"), ((2, 5, 3), (2, 3, 4, 3)), np.stack([SIZES, SIZES[::-1]])),
    ],
)
def test_ragged_product(ragged, product, shapes, sizes):
    """Cotangents are those of `jax.vjp` and of the dense product; the differences of the laws need `vmap`."""
    inputs, dy = [normal(*shape) for shape in shapes], normal(*shapes[0][:-1], 4)

    def cotangents(*inputs):
        found = [vjp(lambda *xs, f=f: f(*xs, sizes), *inputs)[1](dy)
                 for vjp, f in ((tape_vjp, ragged), (jax.vjp, ragged), (jax.vjp, product))]  # fmt: skip
        return found

    ours, theirs, by_dense = quick_jit(cotangents)(*inputs)
    assert relative_error(ours, theirs) < 1e-14
    assert relative_error(ours, by_dense) < 1e-14


@pytest.mark.parametrize(
    "product",
    [
        functools.partial(jnp.matmul, preferred_element_type=jnp.float32),
        lambda x, w: lax.conv_general_dilated(x, w.T, (), (), preferred_element_type=jnp.float32),
    ],
)
def test_low_precision_inputs_with_a_float32_result(product):
    """bfloat16 times bfloat16 summed in float32: cotangents are bfloat16, and those of float32 rounded once."""
    x, w = jnp.asarray(normal(4, 3), jnp.bfloat16), jnp.asarray(normal(3, 5), jnp.bfloat16)

    def cotangents(x, w):
        y, pull_back = tape_vjp(product, x, w)
        assert y.dtype == jnp.float32
        return pull_back(jnp.cos(y))

    dx, dw = quick_jit(cotangents)(x, w)
    x, w = x.astype(jnp.float32), w.astype(jnp.float32)
    dy = jnp.cos(x @ w)
    assert dx.dtype == dw.dtype == jnp.bfloat16
    np.testing.assert_array_equal(dx, (dy @ w.T).astype(jnp.bfloat16))
    np.testing.assert_array_equal(dw, (x.T @ dy).astype(jnp.bfloat16))


def test_matrix_product_needs_no_transpose():
    """x w: the sweep is two products with the dimension numbers that give dx and dw as they are, precision kept."""

    def gradient(x, w):
        product = functools.partial(jnp.matmul, precision="highest")
        return tape_vjp(product, x, w)[1](jnp.ones((2, 5, 4)))

    equations = opened(jax.make_jaxpr(gradient)(normal(2, 5, 3), normal(3, 4))).eqns
    used = [e for e in equations if e.primitive.name in ("dot_general", "transpose")]
    assert [e.primitive.name for e in used] == ["dot_general"] * 3
    assert {str(e.params["precision"]) for e in used} == {str((lax.Precision.HIGHEST, lax.Precision.HIGHEST))}
