"""Sweeps beside the limits of the machine: its matrix and sigmoid rates, and the memory of a million runs."""

import json
import os
import re
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jax
import jax.numpy as jnp
from benchmark_sweeps import WORKLOADS, axes_of, swept


def limits_table(quick: bool) -> list[dict]:
    """Useful net-epochs a second as shares of what the machine's matrix products and sigmoids allow."""
    matrix, sigmoid = matrix_rate(), sigmoid_rate()
    rows = []
    for (name, work), runs in zip(WORKLOADS.items(), (1000, 100) if quick else (10_000, 1000), strict=True):
        sweep = swept(work, axes_of(work, runs))
        used = int(sweep().epochs.sum())
        rate = used / min(seconds(sweep) for _ in range(3))
        bound = 1 / (work.flops / matrix + work.sigmoids / sigmoid)
        rows.append(
            {
                "workload": f"{runs:,} {name}",
                "M net-epochs/s": rate / 1e6,
                "GFLOP/s": rate * work.flops / 1e9,
                "matrix peak (GFLOP/s)": matrix / 1e9,
                "share": rate * work.flops / matrix,
                "G sigmoids/s": rate * work.sigmoids / 1e9,
                "sigmoid peak (G/s)": sigmoid / 1e9,
                "share of it": rate * work.sigmoids / sigmoid,
                "share of both together": rate / bound,
            }
        )
    return rows


def seconds(call: Callable) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def matrix_rate(n: int = 2048) -> float:
    """Operations a second of a large matrix product, on all cores."""
    a = jnp.ones((n, n))
    product = jax.jit(jnp.matmul)
    return 2 * n**3 / best(lambda: product(a, a))


def sigmoid_rate(size: int = 16_384, times: int = 400) -> float:
    """Sigmoids a second on arrays that stay in the cache, each core with its own."""
    cores = os.cpu_count() or 1
    many = jax.jit(lambda a: jax.lax.fori_loop(0, times, lambda _, a: jax.nn.sigmoid(a), a))
    arrays = [jnp.linspace(-3, 3, size) + core for core in range(cores)]
    with ThreadPoolExecutor(cores) as threads:
        return cores * size * times / best(lambda: list(threads.map(lambda a: many(a).block_until_ready(), arrays)))


def best(call: Callable, repeats: int = 10) -> float:
    """Shortest wall time of a few calls, for a peak."""
    jax.block_until_ready(call())
    return min(seconds(lambda: jax.block_until_ready(call())) for _ in range(repeats))


def million_table(quick: bool) -> list[dict]:
    """A million XOR trainings (quick: a hundred thousand) in a separate process: time, and memory at its peak."""
    runs = 100_000 if quick else 1_000_000
    command = [sys.executable, __file__, str(runs)]
    found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return [{"runs": f"{runs:,}", **found}]


def million(runs: int) -> None:
    """What the process of `million_table` does: prints its row."""
    work = WORKLOADS["XOR 2-2-1"]
    begun = time.perf_counter()
    idle, epochs = peak_memory(), int(swept(work, axes_of(work, runs))().epochs.sum())
    took = time.perf_counter() - begun
    row = {"seconds": took, "M useful net-epochs/s": epochs / took / 1e6}
    print(json.dumps(row | {"memory (GiB)": peak_memory(), "of which before (GiB)": idle}))


def peak_memory() -> float:
    """GiB at this process's peak. Linux's `ru_maxrss` begins with the parent's, so that /proc is asked where it is."""
    status = Path("/proc/self/status")
    if status.exists():
        return int(re.search(r"VmHWM:\s*(\d+) kB", status.read_text())[1]) / 2**20  # type: ignore[index]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**30 if sys.platform == "darwin" else 2**20)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    million(int(sys.argv[1]))
