"""Elementwise operations: every entry against `jax.vjp` and differences."""

import pytest
from derivative_laws import OTHER_PROGRAMS, every_law
from elementwise_cases import CASES


@every_law(thorough=OTHER_PROGRAMS)
@pytest.mark.parametrize("name", CASES.names)
def test_law(law, name):
    law(CASES, name)
