"""Second derivatives of elementwise operations: the reverse sweep of a reverse sweep equals `jax.vjp` of `jax.vjp`."""

import jax
import jax.numpy as jnp
import pytest
from derivative_laws import Case, Cases, equals_differences, equals_vjp_float64
from elementwise_cases import CASES

from bpjax.tape import vjp as tape_vjp

LEFT_OUT = {
    "igamma": "`igamma_grad_a` has no derivative",
    "igammac": "`igamma_grad_a` has no derivative",
    "nextafter": "JAX 0.10 has no derivative",
    "clamp between scalars": "`jax.vjp` fails for scalar bounds",
    "acosh complex": "JAX 0.10 has the wrong sign",
    "sign complex": "JAX 0.10 has no derivative",
    "zeta": "JAX has no derivative",
}


def first_derivative(vjp, function):
    """The cotangents of the inputs for a cotangent of ones, as a function of the inputs."""

    def cotangents(*inputs):
        result, pull_back = vjp(function, *inputs)
        found = pull_back(jax.tree.map(jnp.ones_like, result))
        return [dx for dx in found if dx.dtype != jax.dtypes.float0]

    return cotangents


SECOND = Cases(
    [
        Case(
            case.primitive,
            first_derivative(tape_vjp, case.function),
            *case.inputs,
            name=name,
            rounding=10,
            truncation=case.truncation * 10,
            reference=first_derivative(jax.vjp, case.function),
        )
        for name, case in CASES.cases.items()
        if name not in LEFT_OUT
    ]
)


@pytest.mark.thorough
@pytest.mark.parametrize("law", [equals_vjp_float64, equals_differences])
@pytest.mark.parametrize("name", SECOND.names)
def test_second_derivative(law, name):
    law(SECOND, name)


def test_the_cases_left_out_exist():
    assert LEFT_OUT.keys() <= set(CASES.names)
