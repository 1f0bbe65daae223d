"""What each example of a batch does to a network."""

from bpjax.teaching.anatomy.anatomy import Anatomy, anatomy

__all__ = ["Anatomy", "anatomy"]
