"""Whole sweeps in each layout, and the one that "auto" chooses.

    python -m scripts.benchmark_layouts --only XOR

Every trial is swept in all layouts in turn, several times; the table has the best time of each, without compilation.
"""

import argparse
import time

import jax

import bpjax as bp
from bpjax.sweeps.lanes.layout import NAMES
from scripts.layout_workloads import Work, workloads


def main() -> None:
    """Parse the flags and print the table as Markdown."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", default="", help="trials whose name contains this text")
    parser.add_argument("--repeats", type=int, default=3, help="sweeps in each layout")
    flags = parser.parse_args()
    print("| trial, runs | lanes, s | `vmap`, s | single, s | LLVM, s | auto | auto / best |")
    print("|---|---|---|---|---|---|---|")
    for name, work in workloads().items():
        if flags.only in name:
            print(row(f"{name}, {work.runs}", work, flags.repeats), flush=True)


def row(name: str, work: Work, repeats: int) -> str:
    """A line of the table."""
    layouts = [layout for layout in NAMES if layout != "auto"]
    chosen = swept(work, "auto").attrs["layout"].replace(":", ",").split(",")[0]
    times = dict.fromkeys(layouts, float("inf"))
    for layout in layouts:
        swept(work, layout)  # compile
    for _ in range(repeats):
        for layout in layouts:
            began = time.perf_counter()
            swept(work, layout)
            times[layout] = min(times[layout], time.perf_counter() - began)
    shown = " | ".join(f"{times[layout]:.3g}" for layout in layouts)
    return f"| {name} | {shown} | {chosen} | {times[chosen] / min(times.values()):.2f} |"


def swept(work: Work, layout: str):
    """A sweep over the seeds at one rate."""
    axes = {"learning_rate": [0.01], "seed": range(work.runs)}
    return bp.sweep(work.trial, axes, key=jax.random.key(0), layout=layout)


if __name__ == "__main__":
    main()
