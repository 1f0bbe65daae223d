"""One network on two processes of one core each, beside one process on one core: how much of the second core is used.

A step of backpropagation with momentum in float32, every process with one core and one thread. Efficiency is
t₁ / (2 t₂), with t₁ the time of a step of one process on all examples and t₂ that of two processes on half of them
each. What is missing is the sum of the gradients over the processes, and what two cores lose by sharing memory. The
latter is measured by two processes that know nothing of each other.

    python scripts/benchmark_devices.py [--only NAME ...] [--steps 5]
"""

import argparse
import functools
import os
import socket
import statistics
import subprocess
import sys
import time
from typing import NamedTuple

import jax
import numpy as np
import optax

import bpjax as bp
from bpjax.util.text_table import table


class Work(NamedTuple):
    """A network with the shape of its examples, and how many the batch has."""

    network: bp.Layer
    in_shape: tuple[int, ...]
    examples: int


WIDE = bp.mlp((512, 1024, 1024, 10), bp.relu)
WORK = {
    "512-1024-1024-10, batch 512": Work(WIDE, (512,), 512),
    "512-1024-1024-10, batch 8192": Work(WIDE, (512,), 8192),
    "LeNet, batch 512": Work(bp.networks.lenet(10, (28, 28, 1)), (784,), 512),
}
ONE_THREAD = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"


def measure(work: Work, examples: int, steps: int) -> float:
    """The median of the seconds of a step in this process, which has so many of the examples."""
    network, random = work.network, np.random.default_rng(jax.process_index())
    rule, optimizer = bp.backprop(network, bp.losses.batch_mean(bp.softmax_cross_entropy)), optax.sgd(0.01, 0.9)
    params, (classes,) = network.init(jax.random.key(0), work.in_shape)
    many = bp.training.data_parallel()
    x, labels = random.standard_normal((examples, *work.in_shape)), random.integers(classes, size=examples)
    state = many.replicate(bp.training.TrainState(params, optimizer.init(params), ()))
    batch = many.shard((x.astype(np.float32), labels))
    step = jax.jit(bp.make_train_step(rule, optimizer), donate_argnums=0)
    seconds = []
    for _ in range(steps + 2):
        started = time.perf_counter()
        state, metrics = step(state, batch)
        jax.block_until_ready((state, metrics))
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds[2:])


def worker(processes: int, index: int, port: int, shares: int, names: list[str], steps: int) -> None:
    """Measure one share of each batch in this process, and print the seconds."""
    if processes > 1:
        jax.distributed.initialize(f"localhost:{port}", processes, index)
    print(*(measure(WORK[name], WORK[name].examples // shares, steps) for name in names))


def run(processes: int, joint: bool, names: list[str], steps: int) -> list[float]:
    """The seconds of a step of the slowest of some processes, which train one network if they are `joint`."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": ONE_THREAD}
    started = []
    for index in range(processes):
        position = (processes, index, port, processes) if joint else (1, 0, port, processes)
        arguments = [*map(str, position), "--steps", str(steps), "--only", *names]
        command = [sys.executable, __file__, "--worker", *arguments]
        pinned = functools.partial(os.sched_setaffinity, 0, {index})
        started.append(subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True, preexec_fn=pinned))
    outputs = [process.communicate()[0].split()[-len(names) :] for process in started]
    if any(process.returncode for process in started):
        raise SystemExit("A process failed; its messages are above.")
    return [max(map(float, column)) for column in zip(*outputs, strict=True)]


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=WORK, default=list(WORK), metavar="NAME", help=f"of {list(WORK)}")
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--worker", nargs=4, type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        processes, index, port, shares = options.worker
        worker(processes, index, port, shares, options.only, options.steps)
        return
    ways = ((1, False), (2, True), (2, False))
    times = [run(processes, joint, options.only, options.steps) for processes, joint in ways]
    header = ("network", "one process, ms", "two, ms", "efficiency", "two apart, ms", "efficiency without sums")
    rows = [
        (
            name,
            f"{1e3 * one:.1f}",
            f"{1e3 * two:.1f}",
            f"{one / two / 2:.1%}",
            f"{1e3 * apart:.1f}",
            f"{one / apart / 2:.1%}",
        )
        for name, one, two, apart in zip(options.only, *times, strict=True)
    ]
    print("\n".join(table(header, rows)))


if __name__ == "__main__":
    main()
