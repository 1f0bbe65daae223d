"""The table covers the functions of jax.numpy, jax.nn and jax.scipy.special in daily use; their gradient is JAX's."""

import jax
import jax.numpy as jnp
import pytest
from derivative_laws import Case, Cases, between, equals_differences, equals_vjp_float64, normal
from jax import nn
from jax.scipy import special

from bpjax.tape.control_flow import STRUCTURES
from bpjax.tape.derivatives import DERIVATIVES, ZERO_DERIVATIVE
from bpjax.tape.values import is_differentiable
from bpjax.util.jaxprs import opened, subjaxprs

COVERED = DERIVATIVES.keys() | ZERO_DERIVATIVE | STRUCTURES.keys()

X, POSITIVE, UNIT = normal(3, 4), between(0.3, 2, 3, 4), between(0.1, 0.9, 3, 4)
ACTIVATIONS = """
    relu relu6 sigmoid softplus soft_sign silu log_sigmoid leaky_relu hard_sigmoid hard_silu hard_tanh elu celu selu
    gelu glu squareplus mish softmax log_softmax standardize logsumexp identity sparse_plus sparse_sigmoid"""
OF_REALS = """
    abs sin cos sinh cosh tanh arcsinh arctan exp exp2 expm1 square cbrt negative cumsum cumprod sum mean std var
    max min prod ptp sort median ravel flip diff sinc nan_to_num"""
OF_POSITIVES = "sqrt log log2 log10 log1p reciprocal"
OF_FRACTIONS = "tan arcsin arccos arctanh"
SPECIAL = {
    "X": "erf erfc expit log_ndtr ndtr i0 i0e i1 i1e logsumexp softmax",
    "POSITIVE": "gammaln digamma exp1 expi",
    "UNIT": "logit entr erfinv ndtri",
}


def chosen(module, names, inputs):
    return [Case("", getattr(module, name), inputs, name=f"{module.__name__}.{name}") for name in names.split()]


OTHERS = {
    "jnp.where": (lambda x: jnp.where(x > 0, x * x, x), X),
    "jnp.maximum": (lambda x: jnp.maximum(x, 0.3), X),
    "jnp.clip": (lambda x: jnp.clip(x, -0.5, 0.5), X),
    "jnp.linalg.norm": (jnp.linalg.norm, X),
    "jnp.logaddexp": (lambda x, y: jnp.logaddexp(x, y), X, X[::-1]),
    "jnp.hypot": (jnp.hypot, X, POSITIVE),
    "jnp.power": (jnp.power, POSITIVE, X),
    "jnp.arctan2": (jnp.arctan2, X, POSITIVE),
    "jnp.mod": (lambda x: jnp.mod(x, 0.7), X),
    "jnp.dot": (lambda x: x @ x.T, X),
    "jnp.einsum": (lambda x: jnp.einsum("ij,kj->ik", x, x), X),
    "jnp.take": (lambda x: jnp.take(x, jnp.array([0, 2, 0]), axis=1), X),
    "jnp.quantile": (lambda x: jnp.quantile(x, 0.3), X),
    "jnp.interp": (lambda x: jnp.interp(x, jnp.array([-1.0, 0, 1]), jnp.array([0.0, 2, 1])), X),
    "complex": (lambda x: jnp.abs(jnp.exp(1j * x) + x) ** 2, X),
    "betainc": (lambda x: special.betainc(2.0, 3.0, x), UNIT),
    "gammainc": (lambda x: special.gammainc(2.0, x), POSITIVE),
    "polygamma": (lambda x: special.polygamma(1, x), POSITIVE),
    "xlogy": (special.xlogy, POSITIVE, UNIT),
    "rel_entr": (special.rel_entr, POSITIVE, UNIT),
}
CASES = Cases(
    [
        *chosen(nn, ACTIVATIONS, X),
        *chosen(jnp, OF_REALS, X),
        *chosen(jnp, OF_POSITIVES, POSITIVE),
        *chosen(jnp, OF_FRACTIONS, UNIT),
        *chosen(special, SPECIAL["X"], X),
        *chosen(special, SPECIAL["POSITIVE"], POSITIVE),
        *chosen(special, SPECIAL["UNIT"], UNIT),
        *(Case("", *case, name=name) for name, case in OTHERS.items()),
    ]
)


@pytest.mark.thorough
@pytest.mark.parametrize("law", [equals_vjp_float64, equals_differences])
@pytest.mark.parametrize("name", CASES.names)
def test_gradient(law, name):
    law(CASES, name)


def uncovered(jaxpr) -> set[str]:
    """Primitives without an entry that compute floating-point numbers."""
    equations = opened(jaxpr).eqns
    found = {e.primitive.name for e in equations if any(is_differentiable(v.aval) for v in e.outvars)} - COVERED
    return found.union(*(uncovered(inner) for e in equations for inner in subjaxprs(e)))


def test_none_falls_back_to_jax():
    jaxprs = {name: jax.make_jaxpr(case.function)(*case.inputs) for name, case in CASES.cases.items()}
    assert {name: uncovered(jaxpr) for name, jaxpr in jaxprs.items() if uncovered(jaxpr)} == {}
