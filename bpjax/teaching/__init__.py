"""Lessons, derivations and exercises from real networks and their numbers."""

from bpjax.teaching.anatomy import Anatomy, anatomy
from bpjax.teaching.derivation import Derivation, derivation

__all__ = ["Anatomy", "Derivation", "anatomy", "derivation"]
