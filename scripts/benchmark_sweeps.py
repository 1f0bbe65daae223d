"""`bp.sweep` beside `vmap` and FANN, what it costs to begin, and how near it comes to the machine's limits.

Every program trains the same networks (FANN: the same sizes) until every |t − o| < 0.4 or for 2,000 epochs. The measure
is useful net-epochs per second: only the epochs that a run needed count.
"""

import json
import os
import re
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import benchmark_peers as peers
import jax
import jax.numpy as jnp
import numpy as np

import bpjax as bp
from bpjax.analysis.cost import in_turn

EPOCHS, TOLERANCE = 2000, 0.4
MOMENTA = [0.0, 0.5, 0.8, 0.9, 0.95]
KEY = 20261124


class Workload(NamedTuple):
    """Many trainings of one small net."""

    sizes: tuple[int, ...]
    task: Callable
    rates: np.ndarray
    flops: int  # of one epoch of one net, forward, backward and update
    sigmoids: int  # of one epoch of one net


WORKLOADS = {
    "XOR 2-2-1": Workload((2, 2, 1), bp.xor, np.geomspace(0.1, 10, 20), 244, 12),
    "encoder 10-5-10": Workload((10, 5, 10), lambda: bp.encoder(10, 5), np.geomspace(0.1, 2, 20), 6660, 150),
}


def trial_of(work: Workload) -> Callable:
    """One training: sum of squares in full batch, heavy ball. A new function each time, which is compiled again."""
    network = bp.mlp(work.sizes, bp.sigmoid, bp.sigmoid)
    rule, data = bp.backprop(network, bp.squared_error), work.task().present(None)

    def trial(key, learning_rate, momentum):
        params, _ = network.init(key, work.sizes[:1])
        optimizer = bp.momentum(learning_rate, momentum, form="heavy_ball")
        return bp.trial(rule, optimizer, params, data, key=key, epochs=EPOCHS, stops=bp.outputs_within(TOLERANCE))

    return trial


def axes_of(work: Workload, runs: int) -> dict:
    """The axes rate × momentum × seed, with about `runs` runs."""
    return {"learning_rate": work.rates, "momentum": MOMENTA, "seed": range(max(1, runs // 100))}


def swept(work: Workload, axes: dict, layout: str = "auto") -> Callable:
    """The whole call of `bp.sweep`, dataset included."""
    trial = trial_of(work)
    return lambda: bp.sweep(trial, axes, key=jax.random.key(KEY), layout=layout)


def vmapped(work: Workload, axes: dict) -> Callable:
    """The same nets by `vmap` of a `scan`, from the same initial weights: the epochs each needed."""
    network = bp.mlp(work.sizes, bp.sigmoid, bp.sigmoid)
    x, t = work.task().present(None)
    rates, momenta, seeds = (a.ravel() for a in np.meshgrid(*axes.values(), indexing="ij"))
    keys = jax.vmap(lambda seed: jax.random.fold_in(jax.random.key(KEY), seed))(jnp.asarray(seeds))
    params = jax.vmap(lambda key: [layer for layer in network.init(key, work.sizes[:1])[0] if layer])(keys)
    train = peers.vmapped_sweep(x, t, EPOCHS, TOLERANCE)
    return lambda: train(params, jnp.asarray(rates, jnp.float32), jnp.asarray(momenta, jnp.float32))


def sweep_table(quick: bool) -> list[dict]:
    """Useful net-epochs a second of whole sweeps."""
    rows = []
    for (name, work), runs in zip(WORKLOADS.items(), (1000, 100) if quick else (10_000, 1000), strict=True):
        axes = axes_of(work, runs)
        calls: dict[str, Callable] = {
            "bp.sweep": swept(work, axes),
            "bp.sweep, LLVM": swept(work, axes, "llvm"),
            "vmap of a scan, jax.grad": vmapped(work, axes),
        }
        ours, by_llvm = (calls[which]().epochs.values for which in ("bp.sweep", "bp.sweep, LLVM"))
        theirs = np.asarray(calls["vmap of a scan, jax.grad"]())
        counts = zip(calls, (ours, by_llvm, theirs), strict=True)
        used = {which: int(epochs.sum()) for which, epochs in counts}
        print(f"{name}: bp.sweep and vmap need the same epochs in {(ours.ravel() == theirs).mean():.1%} of the runs")
        print(f"{name}: bp.sweep and LLVM need the same epochs in {(ours == by_llvm).mean():.1%} of the runs")
        try:
            rates, momenta, _ = (a.ravel() for a in np.meshgrid(*axes.values(), indexing="ij"))
            x, t = map(np.asarray, work.task().present(None))
            fann = peers.fann_sweep(work.sizes, x, t, rates, momenta, EPOCHS, TOLERANCE, os.cpu_count() or 1)
            calls["FANN, on-line, all cores"], used["FANN, on-line, all cores"] = fann
        except ModuleNotFoundError as missing:
            print(f"FANN: {missing.name} is not installed, its row is left out")
        cores: dict[str, list[float]] = {which: [] for which in calls}
        samples = in_turn({which: watched(call, cores[which]) for which, call in calls.items()}, 3, 0.0)
        cost = {which: [s / used[which] for s in samples[which]] for which in calls}
        rows += [
            {
                "workload": f"{ours.size:,} {name}",
                "by": which,
                "seconds": statistics.median(samples[which]),
                "M useful net-epochs/s": 1e-6 / statistics.median(cost[which]),
                "M to a core's second": 1e-6 * used[which] / min(cores[which]),
                "bp.sweep is faster by": statistics.median(
                    a / b for a, b in zip(cost[which], cost["bp.sweep"], strict=True)
                ),
            }
            for which in calls
        ]
    return rows


def watched(call: Callable, cores: list[float]) -> Callable:
    """The call, and the seconds all cores spent on it: what others do at the same time hardly counts there."""

    def watching():
        start = time.process_time()
        jax.block_until_ready(call())
        cores.append(time.process_time() - start)

    return watching


def start_table(quick: bool) -> list[dict]:
    """What a sweep costs beside its epochs: a sweep of one run against `bp.fit` of it, and the first, cold, call."""
    rows = []
    for name, work in WORKLOADS.items():
        network = bp.mlp(work.sizes, bp.sigmoid, bp.sigmoid)
        rule, data = bp.backprop(network, bp.squared_error), work.task().present(None)
        key = jax.random.fold_in(jax.random.key(KEY), 0)  # what the sweep hands to seed 0
        params, optimizer = network.init(key, work.sizes[:1])[0], bp.momentum(0.1, 0.0)
        stops = bp.outputs_within(TOLERANCE)
        one = swept(work, {"learning_rate": [0.1], "momentum": [0.0], "seed": [0]})
        fit = lambda p=params, r=rule, d=data: bp.fit(r, optimizer, p, d, key=key, epochs=EPOCHS, stops=stops)  # noqa: E731, B023
        ours, theirs = one().epochs.item(), fit().epochs
        samples = in_turn({"sweep": one, "fit": fit}, 5 if quick else 15, 0.05)
        many = swept(work, axes_of(work, 1000))
        begun = time.process_time()
        cold, cores, warm = seconds(many), time.process_time() - begun, seconds(many)
        by_llvm = swept(work, axes_of(work, 1000), "llvm")
        begun = time.process_time()
        cold_llvm, cores_llvm, warm_llvm = seconds(by_llvm), time.process_time() - begun, seconds(by_llvm)
        rows.append(
            {
                "workload": name,
                "a sweep of one run (ms)": statistics.median(samples["sweep"]) * 1e3,
                "epochs": ours,
                "bp.fit (ms)": statistics.median(samples["fit"]) * 1e3,
                "its epochs": theirs,
                "sweep / fit": statistics.median(a / b for a, b in zip(samples["sweep"], samples["fit"], strict=True)),
                "1,000 runs, cold (s)": cold,
                "its cores' seconds": cores,
                "warm (s)": warm,
                "compiling (s)": cold - warm,
                "LLVM, cold (s)": cold_llvm,
                "LLVM, its cores' seconds": cores_llvm,
                "LLVM, warm (s)": warm_llvm,
            }
        )
    return rows


def seconds(call: Callable) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


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
