"""The rows of the table: published numbers, closed forms and bounds beside ours."""

from collections.abc import Sequence

import numpy as np

from experiments.common.findings import Finding, finding, number
from experiments.reverse_mode import rounding, rtrl
from experiments.reverse_mode.checkpointing import PUBLISHED, Executed, Memory
from experiments.reverse_mode.helmholtz import Costs, exponent
from experiments.reverse_mode.multiplications import Multiplications
from experiments.reverse_mode.ordered import Derivatives
from experiments.reverse_mode.sparse_nets import SparseCost

LINNAINMAA = "Linnainmaa 1970: rounding errors"
HELMHOLTZ = "Griewank 1989: Helmholtz energy"
CHECKPOINTS = "Griewank & Walther 2000: checkpointing"
SPARSE = "Linnainmaa 1970: sparse nets"
WERBOS = "Werbos 1974: ordered derivatives"
RTRL = "Williams & Zipser 1989: forward in time"
TIME_NOTE = "in measured time caches and the start of operations count too. The count of operations is exact."


def plain(topic: str, quantity: str, ours: str, certainty: str = "", note: str = "", source: str = "") -> Finding:
    """A number of ours that nobody published."""
    return Finding(topic, quantity, "", ours, "", certainty, None, source, note)


def compared(*args, note: str = "", **options) -> Finding:
    """A `finding` with a note only where it differs."""
    row = finding(*args, **options)
    return row if row.agrees else row._replace(note=note)


def at_most(
    topic: str, quantity: str, bound: float, ours: float, certainty: str, source: str, note: str = ""
) -> Finding:
    """A number with a published upper bound."""
    return Finding(
        topic, quantity, f"≤ {number(bound, 3)}", number(ours, 4), number(ours - bound, 2), certainty,
        bool(ours <= bound), source, "" if ours <= bound else note,
    )  # fmt: skip


def rounding_rows(found: list[rounding.Forecast], bounds: list[rounding.Bound], known: list[rounding.Recurrence]):
    """The forecast against measurement."""
    by_bits, programs = rounding.medians(found), len({f.program for f in found})
    ratios = [b.measured / b.expected for b in bounds if b.expected > 0]
    valid = [b for b in bounds if np.isfinite(b.bound)]
    last = known[-1]
    wrong = max(abs(r.coefficient) / float(np.prod(np.arange(1.0, r.n + 1))) - 1 for r in known)
    worst = max(abs(r.first_order / r.measured - 1) for r in known if r.measured)
    return [
        plain(LINNAINMAA, "his own example", "–", note="the references of this project hold no numbers of it; the "
              "unstable recurrence Eₖ = 1 − k Eₖ₋₁ stands for it, whose coefficients n! are known."),
        compared(LINNAINMAA, f"recurrence: |dEₙ/dE₁|, n = {last.n}", float(np.prod(np.arange(1.0, last.n + 1))),
                abs(last.coefficient), 1e-6, digits=10, certainty=f"n = 2 to {last.n}, largest relative {wrong:.0e}",
                source="closed form n!"),
        compared(LINNAINMAA, f"recurrence: error of Eₙ in float32, n = {last.n}",
                last.first_order, last.measured, 1e-9 * abs(last.measured), certainty=f"all n, relative {worst:.0e}",
                source="forecast Σ v̄ε, exact since Eₙ is linear in E₁"),
        compared(LINNAINMAA, "forecast / measured − 1: exponent of u", 1.0, rounding.order(found), 0.15, digits=3,
                certainty=f"{programs} random programs, medians", source="Taylor's theorem: first order"),
        *(plain(LINNAINMAA, f"|forecast / measured − 1|, {bits} bits", f"{error:.1e}", "median of the programs")
          for bits, error in by_bits.items() if bits in (8, 11, 24)),
        compared(LINNAINMAA, "float32 errors beyond the bound of `tape.rounding`", 0,
                sum(abs(b.measured) > b.bound for b in valid), 0, certainty=f"{len(valid)} programs",
                source="a bound"),
        plain(LINNAINMAA, "float32 error / expected, root mean square",
              number(float(np.sqrt(np.mean(np.square(ratios)))), 3) if ratios else "–",
              f"{len(ratios)} programs; 1 if the model is right"),
    ]  # fmt: skip


def helmholtz_rows(costs: Sequence[Costs], difference: float) -> list[Finding]:
    """The cost of the gradient over the cost of the function."""
    timed = [c for c in costs if np.isfinite(c.reverse_ratio)]
    large = [c for c in timed if c.n >= 10]
    sizes, big = [c.n for c in large], [c for c in costs if c.n >= 10]
    span = f"n = {costs[0].n} to {costs[-1].n}"
    return [
        at_most(HELMHOLTZ, "reverse mode: operations, gradient / function, largest", 5,
                max(c.reverse_count for c in costs), f"exact, {span}", "Baur & Strassen 1983"),
        plain(HELMHOLTZ, f"the same at n = {costs[-1].n}", number(costs[-1].reverse_count, 4), "exact"),
        compared(HELMHOLTZ, "reverse mode: exponent of n in the ratio", 0.0,
                exponent([c.n for c in big], [c.reverse_count for c in big]), 0.05, digits=2,
                certainty="exact counts, n ≥ 10", source="independent of n"),
        compared(HELMHOLTZ, "forward mode: exponent of n in the ratio", 1.0,
                exponent([c.n for c in big], [c.forward_count for c in big]), 0.05, digits=4,
                certainty="exact counts, n ≥ 10", source="grows like n"),
        at_most(HELMHOLTZ, "reverse mode: time, gradient / function, median", 5,
                float(np.median([c.reverse_ratio for c in large])), f"{len(large)} sizes, n ≥ 10",
                "Griewank 1989: 4 to 5", TIME_NOTE),
        compared(HELMHOLTZ, "reverse mode: exponent of n in the time ratio", 0.0,
                exponent(sizes, [c.reverse_ratio for c in large]), 0.25, digits=2, certainty="CPU time, within 0.25",
                source="flat", note=TIME_NOTE),
        compared(HELMHOLTZ, "forward mode: exponent of n in the time ratio", 1.0,
                exponent(sizes, [c.forward_ratio for c in large]), 0.25, digits=3, certainty="CPU time, within 0.25",
                source="linear", note="the compiler computes once what all directions share, the logarithms and one "
                "of the matrix products, which it moves out of the loop over directions; and " + TIME_NOTE),
        at_most(HELMHOLTZ, "gradients: relative difference from jax.grad", 1e-12, difference, "float64", "identity"),
    ]  # fmt: skip


def checkpoint_rows(cases: tuple[int, int], runs: Sequence[Executed], memory: Sequence[Memory]) -> list[Finding]:
    """Repeated steps and memory."""
    same, count = cases
    rows = [Finding(
        CHECKPOINTS, "r l − C(s+r, s+1), schedule and brute force equal", str(count), str(same),
        str(same - count), "exact, s ≤ 7, l < 90", same == count, "Griewank & Walther",
    )]  # fmt: skip
    for run in runs:
        rows.append(
            compared(CHECKPOINTS, f"steps executed again, l = {run.steps}, s = {run.snapshots}",
                    PUBLISHED.get((run.steps, run.snapshots), run.by_formula), run.repeated, 0,
                    certainty=f"counted in the run; {run.stored} states stored", source="r l − C(s+r, s+1)")
        )  # fmt: skip
    whole = next((m for m in memory if m.snapshots == m.steps), None)
    for m in memory:
        if whole is not None and m is not whole:
            rows.append(plain(
                CHECKPOINTS, f"memory and time, l = {m.steps:,}, s = {m.snapshots}",
                f"{m.mebibytes:.3g} of {whole.mebibytes:.3g} MiB, {m.seconds / whole.seconds:.2g} × the time",
                f"by XLA; {m.repeated / m.steps:.2g} repeats a step",
            ))  # fmt: skip
    return rows


def sparse_rows(costs: Sequence[SparseCost], nets: Sequence[Multiplications]) -> list[Finding]:
    """The gradient against the edges."""
    random, local = ([c for c in costs if c.is_local == wanted] for wanted in (False, True))
    edges = [c.edges for c in random]
    largest, largest_local = (max(some, key=lambda c: c.units) for some in (random, local))
    growth = {
        name: exponent(edges, [getattr(c, name) for c in random]) for name in ("operations", "mebibytes", "seconds")
    }
    local_growth = exponent([c.edges for c in local], [c.seconds for c in local])
    span = f"{min(edges):,} to {max(edges):,} edges"
    ratio = [c.operations / c.forward_operations for c in costs]
    slower = largest.seconds / largest.edges / (largest_local.seconds / largest_local.edges)
    return [
        *(compared(SPARSE, f"multiplications backward / forward, {net.net}", 2 - net.first / net.weights,
                   net.backward / net.forward, 1e-15, digits=6, certainty="exact",
                   source="closed form 2 − W₁/ΣW")
          for net in nets),
        compared(SPARSE, "operations of a gradient: exponent of the edges", 1.0, growth["operations"], 0.05, digits=4,
                certainty=f"exact counts, {span}", source="proportional to the edges"),
        compared(SPARSE, "memory: exponent of the edges", 1.0, growth["mebibytes"], 0.1, digits=3,
                certainty="as XLA allocates", source="proportional to the edges",
                note="part of the memory goes with the units, whose number is not a multiple of the edges."),
        compared(SPARSE, "time, random edges: exponent of the edges", 1.0, growth["seconds"], 0.1, digits=3,
                certainty="CPU time, within 0.1", source="proportional to the edges",
                note="small nets fit into the caches, and an edge of a large one waits for the memory. The operations "
                f"per edge are the same. At {largest.units:,} units an edge from a neighbour takes 1/{slower:.2g} of "
                "the time of a random one."),
        compared(SPARSE, "time, edges from neighbours: exponent", 1.0, local_growth, 0.1, digits=3,
                certainty="CPU time, within 0.1", source="proportional to the edges",
                note="the start of operations counts in small nets, the memory beyond the caches in large ones."),
        at_most(SPARSE, "operations, gradient / function, largest", 5, max(ratio), "exact", "Baur & Strassen 1983"),
        plain(SPARSE, f"a gradient at {largest.units:,} units and {largest.edges:,} edges",
              f"{largest.seconds:.2g} s, {largest.mebibytes:.3g} MiB",
              f"a dense layer would have {largest.units**2:.0e} weights"),
    ]  # fmt: skip


def werbos_rows(example: Sequence[Derivatives], system: Sequence[Derivatives]) -> list[Finding]:
    """Ordered derivatives against total ones."""
    first = example[0]
    apart = {
        "jax.grad": max(abs(d.ordered - d.total) for d in system),
        "the adjoints of the tape": max(abs(d.ordered - d.by_tape) for d in system),
    }
    return [
        compared(WERBOS, "z₂ = 4 z₁, z₃ = 3 z₁ + 5 z₂: direct derivative", 3, first.direct, 0, certainty="exact",
                source="closed form"),
        compared(WERBOS, "the same: ordered derivative", 23, first.ordered, 0, certainty="exact",
                source="closed form 3 + 5 · 4"),
        *(at_most(WERBOS, f"recurrent unit: ordered − {name}", 1e-10, difference,
                  f"{len(system)} derivatives, float64", "identity") for name, difference in apart.items()),
        plain(WERBOS, "recurrent unit: values whose direct derivative differs from the ordered one",
              f"{sum(abs(d.direct - d.ordered) > 1e-6 for d in system)} of {len(system)}", "exact"),
    ]  # fmt: skip


def rtrl_rows(differences: dict[str, float], costs: Sequence[rtrl.GradientCost]) -> list[Finding]:
    """Real-time recurrent learning against backpropagation through time."""
    through_time, forward = rtrl.exponents(list(costs))
    last = costs[-1]
    note = "between the two largest nets; smaller powers of H still count."
    return [
        *(at_most(RTRL, f"gradient: {name}", 1e-10, value, "relative, float64", "identity")
          for name, value in differences.items() if name != "truncated after T/3"),
        plain(RTRL, "gradient: truncated after a third of the steps", f"{differences['truncated after T/3']:.2g}",
              "relative difference from the full one"),
        compared(RTRL, "BPTT: operations of a step grow as Hᵏ, k", 2, through_time, 0.15, digits=3,
                certainty="exact counts", source="H²", note=note),
        compared(RTRL, "RTRL: operations of a step grow as Hᵏ, k", 4, forward, 0.15, digits=3,
                certainty="exact counts", source="H⁴", note=note),
        plain(RTRL, f"RTRL / BPTT at {last.units} units", f"{last.rtrl_operations / last.bptt_operations:,.0f} ×",
              "exact counts"),
    ]  # fmt: skip
