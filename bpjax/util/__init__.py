"""Helpers that know nothing of networks: checks, pytrees, precision, files, compilation."""

from bpjax.util.compilation import cache_compilations, compile_small_loops
from bpjax.util.precision import cast

__all__ = ["cache_compilations", "cast", "compile_small_loops"]
