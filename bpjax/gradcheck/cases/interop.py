"""Cases of layers made of other functions, whose backward is automatic differentiation."""

import jax
import jax.numpy as jnp
from jax.example_libraries import stax

from bpjax.gradcheck.cases.case import LayerCase
from bpjax.interop.adapters import from_stax
from bpjax.interop.from_function import from_function
from bpjax.layers.combinators.chain import chain
from bpjax.layers.dense import dense


def init_bilinear(key, in_shape):
    """Params (D, D, 3) of `bilinear`, and its out_shape."""
    return {"w": jax.random.normal(key, (*in_shape, *in_shape, 3))}, (3,)


def bilinear(params, x):
    """yₙₕ = Σᵢⱼ xₙᵢ wᵢⱼₕ xₙⱼ."""
    return jnp.einsum("ni,ijh,nj->nh", x, params["w"], x)


CASES: dict[str, LayerCase] = {
    "from_function(bilinear)": LayerCase(from_function(init_bilinear, bilinear, "bilinear"), (4,)),
    "chain(dense(4), from_stax(Softplus), dense(3))": LayerCase(
        chain(dense(4), from_stax(stax.Softplus), dense(3)), (5,)
    ),
}
