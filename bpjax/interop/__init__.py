"""Interoperability: Flax, Equinox, Haiku-style functions, checkpoints, export."""

from bpjax.interop.adapters import from_equinox, from_linen, from_nnx, from_stax, to_equinox, to_nnx
from bpjax.interop.as_function import as_function
from bpjax.interop.checkpoints import Checkpoint, load, save
from bpjax.interop.export import export_network
from bpjax.interop.from_function import from_function
from bpjax.interop.nir import from_nir, to_nir

__all__ = [
    "Checkpoint",
    "as_function",
    "export_network",
    "from_equinox",
    "from_function",
    "from_linen",
    "from_nir",
    "from_nnx",
    "from_stax",
    "load",
    "save",
    "to_equinox",
    "to_nir",
    "to_nnx",
]
