"""The sweep that the tests of stores and of devices compare with."""

import jax
import pytest
import sweeping


@pytest.fixture(scope="session")
def whole():
    """The small sweep of `sweeping`, in one go, as a user runs it."""
    with jax.enable_x64(False), jax.numpy_rank_promotion("allow"):
        return sweeping.swept()
