"""`lanes(f)` means what `jax.vmap(f)` means, with the run axis last."""

from bpjax.sweeps.lanes.interpreter import lanes, largest_array

__all__ = ["lanes", "largest_array"]
