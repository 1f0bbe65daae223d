"""What the hand-written gradient costs beside jax.grad, and training, one net and many, beside other libraries.

Compared programs run alternately in one process, A B A B …, so that a change of the machine's speed does not change
their ratio.

gradient    one jitted gradient by hand / by jax.grad of the same forward pass; time, and temporary memory.
layers      the gradient of an MLP, deep net, CNN, Elman net, LSTM and transformer by hand / by jax.grad of the ordinary
            forward pass / by jax.grad of ours / by PyTorch, eager.
tape        the gradient of the same networks' ordinary forward pass by bp.tape.reverse / by jax.value_and_grad: time,
            memory (temporary and results), and time to compile.
attention   memory and time of one attention layer over long sequences.
depth       time to compile a deep network, as `repeat` and as a chain.
bfloat16    distance of half-precision gradients from the float64 truth, by hand and by jax.grad.
training    a whole training as one compiled scan, µs an epoch, by hand / by jax.grad of an ordinary jnp network, and
            beside them PyTorch, FANN and scikit-learn where they are installed.
online      the same with an update after each example, with `bp.util.compile_small_loops()` and without.
sweeps      10,000 XOR and 1,000 encoder trainings by `bp.sweep`, compiled by LLVM and by XLA, by `vmap` of a `scan`, by
            PyTorch, by FANN and by C written for these networks, on all cores.
start       a sweep of one run / `bp.fit` of it.
limits      those sweeps as shares of this machine's matrix and sigmoid rates.
update      one update of each rule for changing weights / by optax.adam, ns a parameter.
rules       a step of the rules with other feedback weights, or direct feedback / of backprop.
import      `import bpjax` / `import jax, optax`, whole processes.
million     a million XOR trainings and their peak memory; only with --only million.

    python scripts/benchmark.py [--quick] [--only TABLE ...] [--markdown] [--json FILE]
"""

import argparse
import json
import math
import os
import platform
import statistics
import sys
from collections.abc import Callable

import jax
import optax
from benchmark_cold import cold_table
from benchmark_layers import attention_table, bfloat16_table, depth_table, layers_table
from benchmark_limits import limits_table, million_table
from benchmark_rules import rules_table
from benchmark_sweeps import EPOCHS, TOLERANCE, start_table, sweep_table
from benchmark_tape import tape_table
from benchmark_training import online_table, ratio, training_table

import bpjax as bp
from bpjax.analysis.cost import in_turn, temporary_bytes
from bpjax.optimizers.registry import OPTIMIZERS
from bpjax.results.record import environment
from bpjax.util.text_table import table


def batch_for(sizes, examples, loss):
    """Random examples, and labels or targets for the loss."""
    key_x, key_t = jax.random.split(jax.random.key(1))
    x = jax.random.normal(key_x, (examples, sizes[0]))
    if loss is bp.softmax_cross_entropy:
        return x, jax.random.randint(key_t, (examples,), 0, sizes[-1])
    return x, jax.random.uniform(key_t, (examples, sizes[-1]))


GRADIENTS = {
    "XOR 2-2-1, 4 examples": ((2, 2, 1), 4, bp.sigmoid, bp.squared_error),
    "encoder 10-5-10, 10": ((10, 5, 10), 10, bp.sigmoid, bp.squared_error),
    "parity 8-16-1, 256": ((8, 16, 1), 256, bp.sigmoid, bp.squared_error),
    "digits 64-32-10, 1197": ((64, 32, 10), 1197, bp.tanh, bp.softmax_cross_entropy),
    "digits 64-128-64-10, 64": ((64, 128, 64, 10), 64, bp.tanh, bp.softmax_cross_entropy),
    "wide 784-1024-1024-10, 256": ((784, 1024, 1024, 10), 256, bp.relu, bp.softmax_cross_entropy),
    "deep 12 x 128, 128": ((128,) * 13, 128, bp.tanh, bp.squared_error),
    "gelu 256-512-256, 128": ((256, 512, 256), 128, bp.gelu, bp.squared_error),
}


def gradient_table(rounds: int, seconds: float) -> list[dict]:
    """One jitted gradient by hand and by jax.grad of the same forward."""
    rows = []
    for name, (sizes, examples, activation, loss) in GRADIENTS.items():
        network = bp.mlp(sizes, activation)
        params, _ = network.init(jax.random.key(0), (sizes[0],))
        batch = batch_for(sizes, examples, loss)
        compiled = {
            rule.name: jax.jit(lambda p, b, rule=rule: rule.grads(p, (), b)[:2]).lower(params, batch).compile()
            for rule in (bp.backprop(network, loss), bp.autodiff(network, loss))
        }
        calls = {which: (lambda f=f, p=params, b=batch: f(p, b)) for which, f in compiled.items()}
        samples = in_turn(calls, rounds, seconds)
        memory = {which: (temporary_bytes(f) or 0) / 1024 for which, f in compiled.items()}
        macs = examples * sum(a * b for a, b in zip(sizes[:-1], sizes[1:], strict=True))
        work = 2 * (3 * macs - examples * sizes[0] * sizes[1])  # forward, dW, and dx but for the first layer
        hand = statistics.median(samples["backprop"])
        rows.append(
            {
                "network, examples": name,
                "by hand (µs)": hand * 1e6,
                "jax.grad (µs)": statistics.median(samples["autodiff"]) * 1e6,
                "time ratio": ratio(samples, "backprop", "autodiff"),
                "memory ratio": memory["backprop"] / memory["autodiff"] if memory["autodiff"] else 1.0,
                "by hand (KiB)": memory["backprop"],
                "GFLOP/s": work / hand / 1e9,
            }
        )
    return rows


SIZES = {"1,000,000": ((1000, 1000), 10), "2,410": ((64, 32, 10), 500)}
"""{number of parameters: (layer sizes, updates per sample)}."""


def update_table(rounds: int, seconds: float) -> list[dict]:
    """One update of every rule for changing weights, in a scan as in training, against optax.adam's."""
    rows = {}
    for size, (widths, steps) in SIZES.items():
        params, _ = bp.mlp(widths).init(jax.random.key(0), widths[:1])
        keys = jax.random.split(jax.random.key(1), len(jax.tree.leaves(params)))
        grads = jax.tree.unflatten(
            jax.tree.structure(params),
            [jax.random.normal(k, (steps, *w.shape)) for k, w in zip(keys, jax.tree.leaves(params), strict=True)],
        )
        optimizers = {"optax.adam": optax.adam(1e-3), "optax.sgd, momentum": optax.sgd(1e-3, momentum=0.9)}
        optimizers |= {name: entry.make(1e-3) for name, entry in OPTIMIZERS.items()}
        calls = {name: updating(optimizer, params, grads) for name, optimizer in optimizers.items()}
        samples = in_turn(calls, rounds, seconds)
        for name in optimizers:
            row = rows.setdefault(name, {"rule": name})
            row[f"{size} parameters: ns a parameter"] = statistics.median(samples[name]) / steps / count(params) * 1e9
            row[f"{size}: this / adam"] = ratio(samples, name, "optax.adam")
    return list(rows.values())


def count(params) -> int:
    """Number of parameters."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def updating(optimizer, params, grads):
    """An update with each of the gradients (steps, ...), in a plain optax loop."""
    optimizer = optax.with_extra_args_support(optimizer)

    def step(carry, g):
        params, state = carry
        updates, state = optimizer.update(g, state, params, value=1.0)
        return (optax.apply_updates(params, updates), state), None

    run = jax.jit(lambda carry, grads: jax.lax.scan(step, carry, grads)[0])
    carry = (params, optimizer.init(params))
    return lambda: run(carry, grads)


def shown(rows: list[dict], markdown: bool) -> str:
    """Rows as a table, in plain text or in Markdown."""
    header, cells = (
        tuple(rows[0]),
        [[number(v) if isinstance(v, float) else str(v) for v in row.values()] for row in rows],
    )
    if not markdown:
        return "\n".join(table(header, cells))
    lines = [header, ["---"] * len(header), *cells]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def number(value: float) -> str:
    """Three digits, at least those before the decimal point; nothing for NaN."""
    if math.isnan(value):
        return ""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


TABLES: dict[str, tuple[str, Callable[[bool], list[dict]]]] = {
    "gradient": (
        "One jitted gradient, by hand against jax.grad of the same forward pass",
        lambda quick: gradient_table(*(5, 0.02) if quick else (21, 0.1)),
    ),
    "layers": (
        "Gradients of whole networks; ratios are by hand / that",
        lambda quick: layers_table(*(5, 0.05) if quick else (15, 0.2)),
    ),
    "tape": (
        "Gradients of whole networks by bp.tape.reverse; ratios are to jax.value_and_grad",
        lambda quick: tape_table(*(15, 0.02, 3) if quick else (101, 0.02, 5)),
    ),
    "attention": ("Attention over long sequences, causal, 4 heads, D = 64, one sequence", attention_table),
    "depth": ("Seconds to trace and compile a gradient", depth_table),
    "bfloat16": ("Distance of bfloat16 gradients from the float64 truth", bfloat16_table),
    "training": (
        "A whole training as one scan, full batch",
        lambda quick: training_table(*(5, 0.02) if quick else (10, 0.1)),
    ),
    "online": (
        "On-line training, an update after each example, small loops compiled as one function",
        lambda quick: online_table(*(5, 0.02) if quick else (10, 0.1)),
    ),
    "sweeps": (
        f"Sweeps over rate, momentum and seed until every |t − o| < {TOLERANCE}, {EPOCHS:,} epochs at most",
        sweep_table,
    ),
    "start": ("Overhead of a sweep", start_table),
    "limits": ("Sweeps and the limits of this machine", limits_table),
    "update": (
        "One update of the weights, against optax.adam",
        lambda quick: update_table(*(5, 0.02) if quick else (10, 0.1)),
    ),
    "rules": ("A step of training by each rule", lambda quick: rules_table(*(5, 0.01) if quick else (21, 0.05))),
    "cold": ("Processes started afresh, with an empty folder of compiled programs and with a filled one", cold_table),
    "million": ("A million XOR trainings", million_table),
}
"""{name: (heading, function that makes the rows)}; its argument is whether to be quick."""
ONLY_IF_ASKED = {"million"}


def main() -> int:
    """Run the tables and print them; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tenth of the time, less precise")
    parser.add_argument("--only", metavar="TABLE", nargs="+", choices=TABLES, help="some of the tables")
    parser.add_argument("--markdown", action="store_true", help="print the tables as Markdown")
    parser.add_argument("--json", metavar="FILE", help="also write the numbers to a file")
    options = parser.parse_args()

    where = environment()
    print(
        f"{where['device']['kind']}, {os.cpu_count()} cores, {platform.machine()}, "
        f"JAX {where['versions']['jax']}, optax {optax.__version__}\n"
    )
    result: dict = {"environment": where}
    for name in options.only or [name for name in TABLES if name not in ONLY_IF_ASKED]:
        heading, rows_of = TABLES[name]
        rows = result[name] = rows_of(options.quick)
        print(f"{heading}\n\n{shown(rows, options.markdown)}")
        if name == "gradient":
            print(f"median time ratio {statistics.median(row['time ratio'] for row in rows):.3f}, "
                  f"largest memory ratio {max(row['memory ratio'] for row in rows):.3f}")  # fmt: skip
        print(flush=True)
        if options.json:
            with open(options.json, "w") as file:
                json.dump(result, file, indent=2)
    return 0


if __name__ == "__main__":
    sys.exit(main())
