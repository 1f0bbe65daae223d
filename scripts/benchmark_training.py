"""One training, in full batch and on-line, beside the same in plain JAX, PyTorch, FANN and scikit-learn."""

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable

import benchmark_peers as peers
import jax
import numpy as np
import optax

import bpjax as bp
from bpjax.analysis.cost import in_turn
from bpjax.util.compilation import compile_small_loops

RATE = 0.1
TRAININGS = {
    "XOR 2-2-1": ((2, 2, 1), bp.xor, 2000),
    "encoder 10-5-10": ((10, 5, 10), lambda: bp.encoder(10, 5), 500),
    "parity 8-16-1": ((8, 16, 1), lambda: bp.parity(8), 50),
}
"""Sizes, task, and epochs to a sample of on-line training."""


def ratio(samples: dict[str, list[float]], a: str, b: str) -> float:
    """Median over the rounds of a / b within a round."""
    return statistics.median(x / y for x, y in zip(samples[a], samples[b], strict=True))


def training_table(rounds: int, seconds: float) -> list[dict]:
    """Whole full-batch trainings, a scan of gradient descent, µs an epoch; other libraries where installed."""
    epochs = 2000
    rows = []
    for name, (sizes, task, _) in TRAININGS.items():
        network = bp.mlp(sizes, bp.sigmoid, bp.sigmoid)
        params, _ = network.init(jax.random.key(0), (sizes[0],))
        x, t = task().present(None)
        rule, twin = bp.backprop(network, bp.squared_error), bp.autodiff(network, bp.squared_error)
        plain = peers.plain_network(sizes)
        gradients = {
            "by hand": lambda p, rule=rule, x=x, t=t: rule.grads(p, (), (x, t))[1],
            "jax.grad of the same forward": lambda p, twin=twin, x=x, t=t: twin.grads(p, (), (x, t))[1],
            "jax.grad of plain jnp": lambda p, plain=plain, x=x, t=t: plain(p, x, t),
        }
        calls = {which: scanned(gradient, params, epochs) for which, gradient in gradients.items()}
        calls["bp.fit's loop, with stops and curves"] = core(rule, params, (x, t), None, epochs)
        ours = set(calls)
        calls |= peers.other_libraries(sizes, np.asarray(x), np.asarray(t), RATE)
        samples = in_turn(calls, rounds, seconds)
        rows += [
            {"network": name, **row}
            for row in rows_of(samples, {which: epochs if which in ours else peers.FEW for which in calls})
        ]
    return rows


def rows_of(samples: dict[str, list[float]], epochs: dict[str, int]) -> list[dict]:
    """µs an epoch of each program, and the first one's beside it."""
    each = {which: [s / epochs[which] for s in taken] for which, taken in samples.items()}
    first = next(iter(each))
    return [
        {"by": which, "µs an epoch": statistics.median(each[which]) * 1e6, f"{first} / this": ratio(each, first, which)}
        for which in each
    ]


def scanned(gradient, params, epochs: int) -> Callable:
    """Gradient descent as one compiled scan."""

    def step(p, _):
        return jax.tree.map(lambda w, g: w - RATE * g, p, gradient(p)), None

    train = jax.jit(lambda p: jax.lax.scan(step, p, None, length=epochs)[0])
    return lambda: train(params)


def core(rule, params, data, batch_size: int | None, epochs: int) -> Callable:
    """What `bp.fit` compiles: epochs that look for reasons to stop and keep their curves."""
    stops = (bp.outputs_within(1e-6),)  # is evaluated and never holds
    training = bp.training.make_training(rule, optax.sgd(RATE), stops, batch_size, shuffle=False, chunk=epochs)
    run = training.init(jax.random.key(0), params, 10**9)
    advance = jax.jit(lambda run: training.advance(run, data))
    return lambda: advance(run)


def online_table(rounds: int, seconds: float) -> list[dict]:
    """One update per example, as it is and with small loops compiled as one function, each in a separate process."""
    both = []
    for switch in ("on", "off"):
        command = [sys.executable, __file__, switch, str(rounds), str(seconds)]
        ran = subprocess.run(command, check=True, capture_output=True, text=True, env=without_threshold())
        both.append(json.loads(ran.stdout.splitlines()[-1]))
    return [
        {
            "network": row["network"],
            "by": row["by"],
            "µs an epoch": row["µs an epoch"],
            "this / FANN": row.get("this / FANN", float("nan")),
            "µs without the switch": off["µs an epoch"],
        }
        for row, off in zip(*both, strict=True)
    ]


def without_threshold() -> dict[str, str]:
    """The environment, without XLA_FLAGS where they hold the threshold that is put on and off here."""
    return {k: v for k, v in os.environ.items() if k != "XLA_FLAGS" or "small_while_loop" not in v}


def online(rounds: int, seconds: float) -> None:
    """What the processes of `online_table` do: print their rows."""
    rows = []
    for name, (sizes, task, epochs) in TRAININGS.items():
        network = bp.mlp(sizes, bp.sigmoid, bp.sigmoid)
        params, _ = network.init(jax.random.key(0), (sizes[0],))
        x, t = task().present(None)
        rule, plain = bp.backprop(network, bp.squared_error), peers.plain_network(sizes)
        calls: dict[str, Callable] = {
            "scan of scans, by hand": example_by_example(
                lambda p, x, t, rule=rule: rule.grads(p, (), (x, t))[1], params, (x, t), epochs
            ),
            "scan of scans, jax.grad of plain jnp": example_by_example(plain, params, (x, t), epochs),
            "bp.fit's loop, with stops and curves": core(rule, params, (x, t), 1, epochs),
        }
        try:
            calls["FANN, incremental"] = peers.fann_epochs(sizes, np.asarray(x), np.asarray(t), RATE, epochs=epochs)
        except ModuleNotFoundError:
            pass
        samples = in_turn(calls, rounds, seconds)
        for which, taken in samples.items():
            row = {"network": name, "by": which, "µs an epoch": statistics.median(taken) / epochs * 1e6}
            if "FANN, incremental" in samples:
                row["this / FANN"] = ratio(samples, which, "FANN, incremental")
            rows.append(row)
    print(json.dumps(rows))


def example_by_example(gradient, params, data, epochs: int) -> Callable:
    """Gradient descent with an update after each example, as one compiled scan of scans."""

    def present(p, example):
        x, t = example
        return jax.tree.map(lambda w, g: w - RATE * g, p, gradient(p, x[None], t[None])), None

    def epoch(p, _):
        return jax.lax.scan(present, p, data)[0], None

    train = jax.jit(lambda p: jax.lax.scan(epoch, p, None, length=epochs)[0])
    return lambda: train(params)


if __name__ == "__main__":
    if sys.argv[1] == "on":
        compile_small_loops()
    online(int(sys.argv[2]), float(sys.argv[3]))
