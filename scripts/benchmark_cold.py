"""Whole processes, started afresh: how long a user waits for the first result.

Each process runs twice: with an empty folder for compiled programs, as after an installation, and again with the folder
that the first one filled.
"""

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
GRADIENT = """
network = bp.mlp((784, 128, 10), bp.relu)
params, _ = network.init(jax.random.key(0), (784,))
batch = jnp.ones((32, 784)), jnp.zeros(32, int)
jax.block_until_ready(jax.jit(bp.backprop(network, bp.softmax_cross_entropy).grads)(params, (), batch))
"""
SWEEP = """
network = bp.mlp((2, 2, 1), bp.sigmoid, bp.sigmoid)
rule, batch = bp.backprop(network, bp.squared_error), bp.xor().present(None)
def trial(key, learning_rate, momentum):
    params, _ = network.init(key, (2,))
    optimizer = bp.momentum(learning_rate, momentum)
    return bp.trial(rule, optimizer, params, batch, key=key, epochs=2000, stops=bp.outputs_within(0.4))
axes = {"learning_rate": np.geomspace(0.1, 10, 20), "momentum": [0, 0.5, 0.8, 0.9, 0.95], "seed": range(10)}
bp.sweep(trial, axes, key=jax.random.key(0), layout="LAYOUT")
"""


def after_imports(code: str) -> list[str]:
    """A process that prints the seconds which the code takes after the imports."""
    imports = "import time, jax, jax.numpy as jnp, numpy as np, xarray, bpjax as bp\nbegun = time.perf_counter()\n"
    return [sys.executable, "-c", f"{imports}{code}print(time.perf_counter() - begun)"]


PROCESSES = {
    "import jax, optax": [sys.executable, "-c", "import jax, optax"],
    "import bpjax": [sys.executable, "-c", "import bpjax"],
    "the first gradient, 784-128-10": after_imports(GRADIENT),
    "the first bp.sweep, 1,000 XOR, LLVM": after_imports(SWEEP.replace("LAYOUT", "llvm")),
    "the first bp.sweep, 1,000 XOR, XLA lanes": after_imports(SWEEP.replace("LAYOUT", "lanes")),
    "bpjax compare": [sys.executable, "-m", "bpjax", "compare"],
    "python -m experiments.learning_rate --quick": [sys.executable, "-m", "experiments.learning_rate", "--quick"],
}


def cold_table(quick: bool) -> list[dict]:
    """Seconds of each process with an empty folder of compiled programs, and with a filled one."""
    samples: dict[str, list] = {name: [] for name in PROCESSES}
    for _ in range(1 if quick else 3):
        for name, command in PROCESSES.items():
            with tempfile.TemporaryDirectory() as folder:
                samples[name].append([timed(command, folder) for _ in range(2)])
    rows = []
    for name, taken in samples.items():
        first, second = ([statistics.median(s) for s in zip(*one, strict=True)] for one in zip(*taken, strict=True))
        rows.append(
            {
                "process": name,
                "cold (s)": first[0],
                "processor time (s)": first[1],
                "after imports (s)": first[2],
                "compiled before (s)": second[0],
                "its processor time (s)": second[1],
                "after its imports (s)": second[2],
            }
        )
    return rows


def timed(command: list[str], folder: str) -> tuple[float, float, float]:
    """Wall time and processor time of a process, and what it prints: its time after the imports (NaN without)."""
    cache = {"JAX_COMPILATION_CACHE_DIR": f"{folder}/programs", "XDG_CACHE_HOME": folder, "TMPDIR": folder}
    limits = {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0", "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1"}
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    begun, used = time.perf_counter(), children()
    ran = subprocess.run(
        command, env={**os.environ, **cache, **limits, "PYTHONPATH": path}, cwd=folder, capture_output=True, text=True
    )
    took, used = time.perf_counter() - begun, children() - used
    if ran.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with status {ran.returncode}:\n{ran.stderr[-2000:]}")
    return took, used, float(ran.stdout) if "begun" in command[-1] else float("nan")


def children() -> float:
    """Processor time of all processes that were started from here and have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
