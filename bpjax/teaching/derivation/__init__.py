"""The equations of a network in order, symbols then numbers, with the code that computes each."""

from bpjax.teaching.derivation.derivation import Derivation, derivation

__all__ = ["Derivation", "derivation"]
