"""Elementwise operations: every entry against `jax.vjp` and differences."""

import pytest
from derivative_laws import OTHER_PROGRAMS, every_law
from elementwise_cases import CASES

pytestmark = pytest.mark.xdist_group("elementwise")  # in one process, which compiles the cases once


@every_law(thorough=OTHER_PROGRAMS)
@pytest.mark.parametrize("name", CASES.names)
def test_law(law, name):
    law(CASES, name)
