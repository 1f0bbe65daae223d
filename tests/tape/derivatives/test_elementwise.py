"""Elementwise operations: every entry against `jax.vjp` and differences."""

import pytest
from derivative_laws import LAWS, Case, Cases, complex_normal, normal
from jax import lax

CASES = Cases(
    [
        Case("tanh", lax.tanh, normal(2, 3)),
        Case("mul", lax.mul, normal(2, 3), normal(1, 3)),
        Case("mul", lax.mul, complex_normal(2, 3), complex_normal(2, 3), name="mul complex"),
    ]
)


@pytest.mark.parametrize("law", LAWS.values(), ids=LAWS)
@pytest.mark.parametrize("name", CASES.names)
def test_law(law, name):
    law(CASES, name)
