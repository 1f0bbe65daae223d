"""How do stores of sweeps grow? Files, bytes, seconds and memory of 10⁷ to 10⁹ runs that cost nothing to train.

    python -m scripts.simulate_sweep_scale --runs 10000000 --parts 16 --only 2

Each run is one epoch that draws a number. Every part is computed by a fresh process, as on a cluster; of a sweep that
is too large for this machine `--only` computes some of the parts, and the table gives the whole by proportion.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp

import bpjax as bp


class State(NamedTuple):
    """A run that stops after one epoch."""

    epoch: jax.Array
    reason: jax.Array
    draw: jax.Array


class Record(NamedTuple):
    """Of an epoch."""

    error: jax.Array


def draw_once(key, learning_rate):
    """A trial of one epoch."""

    def epoch(run):
        return State(jnp.ones_like(run.epoch), jnp.ones_like(run.reason), run.draw), Record(run.draw)

    def outcome(run):
        return {"epochs": run.epoch, "error": run.draw * learning_rate}

    zero = jnp.zeros((), jnp.int32)
    start = State(zero, zero, jax.random.uniform(key))
    return bp.training.Trial(start, bp.training.Program(epoch, outcome, ("running", "done")))


def main() -> None:
    """Compute some parts, open the store, print a row."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=10**7, help="of the whole sweep, a multiple of 10")
    parser.add_argument("--parts", type=int, default=16, help="into how many the sweep is divided")
    parser.add_argument("--only", type=int, default=1, help="how many of the parts are computed")
    parser.add_argument("--work", nargs=2, metavar=("FOLDER", "PART"), help=argparse.SUPPRESS)
    flags = parser.parse_args()
    if flags.work:
        print(json.dumps(work(Path(flags.work[0]), flags.work[1], flags.runs)))
        return
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder, "store")
        parts = [child(flags.runs, store, f"{index}/{flags.parts}") for index in range(flags.only)]
        reader = child(flags.runs, store, "open")
        print(row(flags.runs, flags.only / flags.parts, store, parts, reader))


def child(runs: int, store: Path, part: str) -> dict:
    """What `work` measures in a fresh process."""
    command = [sys.executable, "-m", "scripts.simulate_sweep_scale", "--runs", str(runs), "--work", str(store), part]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])


def work(store: Path, part: str, runs: int) -> dict:
    """Compute a part, or open the store; its runs, seconds and processor seconds, and the memory of the process."""
    before = memory()
    began, used = time.perf_counter(), time.process_time()
    if part == "open":
        count = runs - bp.open_sweep(store).attrs["missing"]
    else:
        axes = {"learning_rate": [0.1 * k for k in range(1, 11)], "seed": range(runs // 10)}
        count = bp.sweep(draw_once, axes, key=jax.random.key(0), store=store, part=part, layout="lanes").sizes["run"]
    seconds, processor = time.perf_counter() - began, time.process_time() - used
    return {"runs": count, "seconds": seconds, "processor": processor, "before": before, "memory": memory()}


def memory() -> float:
    """The largest resident memory of this process so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def row(runs: int, share: float, store: Path, parts: list[dict], reader: dict) -> str:
    """The measured numbers as a line of a table in Markdown."""
    files = [path for path in store.rglob("*") if path.is_file()]
    results = [path for path in files if "c" in path.relative_to(store).parts]
    record = json.loads((store / "record.json").read_text())
    block = 1
    for length in record["chunks"]:
        block *= length
    done = sum(part["runs"] for part in parts)
    nbytes = sum(path.stat().st_size for path in results)
    processor = sum(part["processor"] for part in parts)
    cells = [
        f"{runs:.0e}", f"{done:.2e} ({share:.0%})", f"{block:,}", f"{len(results) / share:,.0f}",
        f"{nbytes / share / 1e9:.2f} GB ({nbytes / done:.1f} B a run)", f"{(store / 'record.json').stat().st_size:,} B",
        f"{processor * block / done:.2f} s", f"{max(p['memory'] for p in parts):.0f} ({parts[0]['before']:.0f}) MB",
        f"{reader['processor']:.1f} s, {reader['memory']:.0f} MB",
    ]  # fmt: skip
    head = [
        "runs", "computed", "runs a block", "files", "bytes", "record", "processor time a block", "memory of a part",
        "opening",
    ]  # fmt: skip
    return "\n".join("| " + " | ".join(line) + " |" for line in (head, ["---"] * len(head), cells))


if __name__ == "__main__":
    main()
