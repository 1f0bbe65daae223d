"""A model of the time that an epoch of one run takes in each layout: nanoseconds per operation times counts.

    time = Σ work · cost  +  Σ launches · cost / width        launches: of kernels, equations and loop iterations

Fitted by non-negative least squares of relative errors to the 22 trials of `scripts/layout_workloads.py`, on two cores
of an AVX-512 processor. What matters is the order of the layouts, which the model has right for 21 of them; there is no
independent test. `scripts/benchmark_layouts.py` measures whole sweeps.
"""

from bpjax.sweeps.lanes.counts import Counts

LAUNCHES = ("kernels", "elementwise_equations", "iterations")
"""Counts whose cost is shared by all active runs."""

COSTS = {
    "single": Counts(
        elementwise=0.0645, expensive=0.894, small_products=0.0192, large_products=0.0124, shared_products=0.0274,
        product_entries=0.248, convolved=1.9, moved=1.65, indexed=1.1, sorted=60.8,
        kernels=20.3, elementwise_equations=0.53,
    ),
    "vmap": Counts(
        elementwise=0.0876, expensive=1.01, large_products=0.0197, shared_products=0.0402,
        product_entries=0.0673, convolved=1.31, moved=1.04, sorted=43.4,
        kernels=22.2, elementwise_equations=0.938, iterations=506,
    ),
    "lanes": Counts(
        elementwise=0.0195, expensive=0.435, small_products=0.001, large_products=0.737, shared_products=-0.622,
        convolved=1.02, moved=0.171, indexed=3.07, sorted=31.2,
        kernels=15.1, elementwise_equations=8.76, iterations=2210,
    ),
}  # fmt: skip
"""Nanoseconds per count. `shared_products` are among `large_products`; theirs is the difference."""


def modelled_time(layout: str, width: int, work: Counts) -> float:
    """Nanoseconds per epoch and run.

    Args:
        layout: "lanes", "vmap" or "single".
        width: active runs.
        work: of an epoch of one run.
    """
    costs = zip(Counts._fields, COSTS[layout], work, strict=True)
    return sum(cost * count / (width if name in LAUNCHES else 1) for name, cost, count in costs)
