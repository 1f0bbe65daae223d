"""`lanes(f)` means what `jax.vmap(f)` means, with the run axis last in every array.

`vmap` puts the run axis first and turns the products of tiny layers into batched matrix products, which XLA compiles
badly on CPUs. `lanes` traces `f` once for a single run and evaluates its jaxpr equation by equation with one more axis,
the last. All other axes keep their numbers, elementwise operations become long vector loops, and a contraction over a
few units is unrolled into multiply-adds. One epoch of all runs is then a handful of fused loops.

    Σₖ a[i,k] b[k,j]     one run     →     Σₖ a[i,k,:] b[k,j,:]     all runs, the sum over k unrolled

    transform       the public function
    interpreter     evaluates a jaxpr with the run axis last
    primitives      the table of rules, one entry per JAX primitive
      elementwise     elementwise operations and changes of shape
      contractions    sums, reductions and products
      control_flow    calls, scan, while and cond
    values          values shared by all runs, and values with one entry per run
    jaxprs          what can be read off a jaxpr: live equations, sizes, number of reads
    layout          which layout a sweep uses: lanes, vmap, or one run after another
      counts          the work of an epoch, counted on its jaxpr
      times           the time that this work takes in each layout

Only documented interfaces of JAX are used (`jax.make_jaxpr`, `jax.extend.core`), and only in this folder.
"""

from bpjax.sweeps.lanes.transform import lanes
from bpjax.util.jaxprs import largest_array

__all__ = ["lanes", "largest_array"]
