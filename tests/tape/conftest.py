"""Which operations the tape leaves to `jax.vjp`."""

import pytest

from bpjax.tape import record


@pytest.fixture
def by_jax(monkeypatch):
    """The names of the primitives that were differentiated by `jax.vjp` since the test began."""
    found, vjp_by_jax = set(), record.vjp_by_jax

    def watched(equation, *args):
        found.add(equation.primitive.name)
        return vjp_by_jax(equation, *args)

    monkeypatch.setattr(record, "vjp_by_jax", watched)
    return found
