"""Kill sweeps at random moments and let pairs of processes write one store: is any result lost or wrong?

    python -m scripts.kill_sweeps --kills 200 --pairs 200

Each round of kills grows one store step by step, more seeds, then more rates, then deleted runs; the process is killed
by SIGKILL at a random moment, started again, and killed again, until the sweep is complete. The result must equal that
of an uninterrupted sweep bit for bit. In each pair two processes sweep into one store at the same moment: one writes,
the other is refused in a sentence or finds the finished sweep; the store must be complete and right.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

STEPS = (
    {"rates": [0.5, 2.0], "seeds": 40},
    {"rates": [0.5, 2.0], "seeds": 90},
    {"rates": [0.5, 1.0, 2.0, 8.0], "seeds": 90},
    {"rates": [0.5, 1.0, 2.0, 8.0], "seeds": 90, "deleted": 3},
)
"""The sweeps that follow each other in one store."""


def main() -> None:
    """Parse the flags, run the rounds, print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=200, help="how many processes to kill")
    parser.add_argument("--pairs", type=int, default=200, help="how many pairs of processes write one store")
    parser.add_argument("--seed", type=int, default=0, help="of the moments of the kills")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    flags = parser.parse_args()
    if flags.worker:
        work()
        return
    with tempfile.TemporaryDirectory() as folder:
        expected = [reference(Path(folder), step) for step in STEPS]
        print(kill_rounds(Path(folder), expected, flags.kills, random.Random(flags.seed)), flush=True)
        print(pair_rounds(Path(folder), expected[0], flags.pairs), flush=True)


def work() -> None:
    """A worker: reads one command a line, sweeps, answers with the digest of the result or the error."""
    import hashlib

    import jax
    import numpy as np

    import bpjax as bp
    from bpjax.sweeps import grid, result

    grid.RUNS_A_CHUNK, result.FLUSH_SECONDS = 32, 0.0
    network = bp.mlp((2, 2, 1), bp.sigmoid, bp.sigmoid, bp.uniform(1.0), bp.uniform(1.0))
    rule, batch = bp.backprop(network, bp.squared_error), bp.xor().present()

    def xor(key, learning_rate):
        params, _ = network.init(key, (2,))
        return bp.trial(rule, bp.momentum(learning_rate, 0.9), params, batch, key=key, epochs=300)

    def swept(command):
        axes = {"learning_rate": command["rates"], "seed": range(command["seeds"])}
        if "deleted" in command and Path(command["store"], "record.json").exists():
            bp.sweeps.delete_runs(command["store"], seed=command["deleted"])
        found = bp.sweep(xor, axes, key=jax.random.key(3), curves=[1, 50], store=command["store"])
        names = sorted(map(str, found.data_vars))
        return hashlib.sha256(b"".join(np.ascontiguousarray(found[name]).tobytes() for name in names)).hexdigest()

    xor_once = {"learning_rate": [0.5], "seed": range(1)}
    bp.sweep(xor, xor_once, key=jax.random.key(3), curves=[1, 50])  # compile
    print("ready", flush=True)
    for line in sys.stdin:
        try:
            answer = {"digest": swept(json.loads(line))}
        except ValueError as error:
            answer = {"refused": str(error)}
        except BaseException as error:
            answer = {"broken": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


class Worker:
    """A process that runs `work`."""

    def __init__(self):
        """Start it."""
        command = [sys.executable, "-m", "scripts.kill_sweeps", "--worker"]
        cache = {"JAX_COMPILATION_CACHE_DIR": str(Path(tempfile.gettempdir(), "kill-sweeps-cache"))}
        environment = {**cache, **os.environ, "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def wait_until_ready(self) -> "Worker":
        """Return when it has compiled."""
        assert self.process.stdout is not None and self.process.stdout.readline() == "ready\n"
        return self

    def ask(self, store: Path, step: dict) -> None:
        """Let it sweep."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"store": str(store), **step}) + "\n")
        self.process.stdin.flush()

    def answer(self) -> dict:
        """What it says at the end."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        return json.loads(line) if line else {"killed": True}

    def kill(self) -> None:
        """SIGKILL."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


def reference(folder: Path, step: dict) -> str:
    """The digest of an uninterrupted sweep."""
    worker = Worker().wait_until_ready()
    worker.ask(folder / "reference", step)
    answer = worker.answer()
    worker.kill()
    shutil.rmtree(folder / "reference", ignore_errors=True)
    return answer.get("digest", str(answer))


def kill_rounds(folder: Path, expected: list[str], kills: int, draw: random.Random) -> str:
    """Kill until `kills` are reached; returns the counts."""
    killed = equal = rounds = wrong = 0
    ahead = [Worker(), Worker()]
    longest = 0.3
    while killed < kills:
        store, rounds = folder / f"store{rounds}", rounds + 1
        for step, digest in zip(STEPS, expected, strict=True):
            while True:
                worker = ahead.pop(0).wait_until_ready()
                ahead.append(Worker())
                began = time.perf_counter()
                worker.ask(store, step)
                if killed < kills and draw.random() < 0.85:
                    time.sleep(draw.random() * longest)
                    worker.kill()
                    killed += 1
                    continue
                answer = worker.answer()
                longest = 0.5 * longest + 0.6 * (time.perf_counter() - began)
                worker.kill()
                equal += answer.get("digest") == digest
                wrong += answer.get("digest") != digest
                if answer.get("digest") != digest:
                    print("WRONG", answer, flush=True)
                break
        shutil.rmtree(store)
    for worker in ahead:
        worker.kill()
    return f"{killed} kills in {rounds} stores: {equal} sweeps ended bit-identical, {wrong} did not"


def pair_rounds(folder: Path, expected: str, pairs: int) -> str:
    """Let two processes write one store, `pairs` times; returns the counts."""
    workers = [Worker().wait_until_ready(), Worker().wait_until_ready()]
    right = refused = broken = 0
    for index in range(pairs):
        store = folder / f"pair{index}"
        for worker in workers:
            worker.ask(store, STEPS[0])
        answers = [worker.answer() for worker in workers]
        refused += sum("is being written by" in answer.get("refused", "") for answer in answers)
        right += sum(answer.get("digest") == expected for answer in answers)
        workers[index % 2].ask(store, STEPS[0])
        after = workers[index % 2].answer()
        is_whole = after.get("digest") == expected and any("digest" in answer for answer in answers)
        if not is_whole or any("broken" in answer for answer in answers):
            broken += 1
            print("BROKEN", answers, after, flush=True)
        shutil.rmtree(store)
    for worker in workers:
        worker.kill()
    return f"{pairs} pairs: {right} sweeps right, {refused} refused in a sentence, {broken} stores broken"


if __name__ == "__main__":
    main()
