"""`bp.sweep` compiled by LLVM and by XLA, beside `vmap`, PyTorch, FANN and C; and one run of it beside `bp.fit`.

Every program trains the same networks (FANN: the same sizes) until every |t − o| < 0.4 or for 2,000 epochs. The measure
is useful net-epochs per second: only the epochs that a run needed count.
"""

import os
import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import benchmark_peers as peers
import jax
import jax.numpy as jnp
import numpy as np
from benchmark_c import c_sweeps

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


class Runs(NamedTuple):
    """The runs of a sweep as arrays, for the programs of others."""

    x: np.ndarray
    t: np.ndarray
    params: Any  # of every layer with weights, with a leading run axis: those that `bp.sweep` starts from
    rates: np.ndarray
    momenta: np.ndarray


def runs_of(work: Workload, axes: dict) -> Runs:
    """Data, initial weights and hyperparameters of every run."""
    network = bp.mlp(work.sizes, bp.sigmoid, bp.sigmoid)
    x, t = map(np.asarray, work.task().present(None))
    rates, momenta, seeds = (a.ravel() for a in np.meshgrid(*axes.values(), indexing="ij"))
    keys = jax.vmap(lambda seed: jax.random.fold_in(jax.random.key(KEY), seed))(jnp.asarray(seeds))
    params = jax.vmap(lambda key: [layer for layer in network.init(key, work.sizes[:1])[0] if layer])(keys)
    return Runs(x, t, params, np.asarray(rates, np.float32), np.asarray(momenta, np.float32))


class Program(NamedTuple):
    """A way to train all runs."""

    call: Callable
    useful: float  # epochs that the runs needed, all together
    share: float = 1.0  # of the epochs that a call executes: a slow library does only the first


OURS, BY_XLA = 'bp.sweep, layout="llvm"', 'bp.sweep, layout="lanes" (XLA)'


def programs_of(name: str, work: Workload, axes: dict) -> dict[str, Program]:
    """All programs that this machine can run; how far they agree is printed."""
    runs = runs_of(work, axes)
    train = peers.vmapped_sweep(runs.x, runs.t, EPOCHS, TOLERANCE)
    calls: dict[str, Callable] = {
        OURS: swept(work, axes, "llvm"),
        BY_XLA: swept(work, axes, "lanes"),
        "vmap of a scan, jax.grad": lambda: train(runs.params, runs.rates, runs.momenta),
    }
    calls |= c_sweeps(runs.x, runs.t, jax.tree.leaves(runs.params), runs.rates, runs.momenta, EPOCHS, TOLERANCE)
    needed = {by: np.asarray(getattr(found := call(), "epochs", found)).ravel() for by, call in calls.items()}
    for by in list(calls)[1:]:
        same = (needed[by] == needed[OURS]).mean()
        print(f"{name}: {by} needs as many epochs as {OURS} in {same:.2%} of the runs")
    programs = {by: Program(call, float(needed[by].sum())) for by, call in calls.items()}
    try:
        call = peers.torch_sweep(jax.tree.leaves(runs.params), runs.x, runs.t, runs.rates, runs.momenta)
        useful = programs["vmap of a scan, jax.grad"].useful
        programs["PyTorch, vmap of grad, eager"] = Program(call, useful, peers.FEW / EPOCHS)
    except ModuleNotFoundError as missing:
        print(f"PyTorch: {missing.name} is not installed, its row is left out")
    try:
        sweep = work.sizes, runs.x, runs.t, runs.rates, runs.momenta, EPOCHS, TOLERANCE, os.cpu_count() or 1
        programs["FANN, on-line, all cores"] = Program(*peers.fann_sweep(*sweep))
    except ModuleNotFoundError as missing:
        print(f"FANN: {missing.name} is not installed, its row is left out")
    return programs


def sweep_table(quick: bool) -> list[dict]:
    """Useful net-epochs a second of whole sweeps."""
    rows = []
    for (name, work), count in zip(WORKLOADS.items(), (1000, 100) if quick else (10_000, 1000), strict=True):
        axes = axes_of(work, count)
        programs = programs_of(name, work, axes)
        cores: dict[str, list[float]] = {by: [] for by in programs}
        calls = {by: watched(program.call, cores[by]) for by, program in programs.items()}
        samples = in_turn(calls, 3, 0.0)
        cost = {by: [s / p.useful / p.share for s in samples[by]] for by, p in programs.items()}
        rows += [
            {
                "sweep": f"{count:,} {name}",
                "by": by,
                "seconds": statistics.median(samples[by]) / program.share,
                "M useful net-epochs/s": 1e-6 / statistics.median(cost[by]),
                "M in a second of one core": 1e-6 * program.useful * program.share / min(cores[by]),
                "LLVM is faster by": statistics.median(a / b for a, b in zip(cost[by], cost[OURS], strict=True)),
            }
            for by, program in programs.items()
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
    """What a sweep costs beside its epochs: a sweep of one run against `bp.fit` of it."""
    rows = []
    for name, work in WORKLOADS.items():
        network = bp.mlp(work.sizes, bp.sigmoid, bp.sigmoid)
        rule, data = bp.backprop(network, bp.squared_error), work.task().present(None)
        key = jax.random.fold_in(jax.random.key(KEY), 0)  # which the sweep passes to seed 0
        params, optimizer = network.init(key, work.sizes[:1])[0], bp.momentum(0.1, 0.0)
        stops = bp.outputs_within(TOLERANCE)
        one = swept(work, {"learning_rate": [0.1], "momentum": [0.0], "seed": [0]})
        fit = lambda p=params, r=rule, d=data: bp.fit(r, optimizer, p, d, key=key, epochs=EPOCHS, stops=stops)  # noqa: E731, B023
        ours, theirs = one().epochs.item(), fit().epochs
        samples = in_turn({"sweep": one, "fit": fit}, 5 if quick else 15, 0.05)
        rows.append(
            {
                "workload": name,
                "a sweep of one run (ms)": statistics.median(samples["sweep"]) * 1e3,
                "epochs": ours,
                "bp.fit (ms)": statistics.median(samples["fit"]) * 1e3,
                "its epochs": theirs,
                "sweep / fit": statistics.median(a / b for a, b in zip(samples["sweep"], samples["fit"], strict=True)),
            }
        )
    return rows
