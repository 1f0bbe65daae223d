"""Reverse mode for any JAX function: record its elementary operations, sweep back with hand-written derivatives."""

from bpjax.tape.reverse import reverse, vjp

__all__ = ["reverse", "vjp"]
