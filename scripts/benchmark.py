"""What the hand-written gradient costs beside jax.grad, and a training beside other libraries.

Every row is a ratio of two programs that ran in turn in this process, A B A B …: the machine may be noisy, the ratio is
the same. Four tables:

gradient    one jitted gradient by hand / by jax.grad of the same forward pass; time, and temporary memory.
training    a whole training as one compiled scan, µs an epoch, by hand / by jax.grad of an ordinary jnp network, and
            beside them PyTorch, FANN and scikit-learn where they are installed.
update      one update of each rule for changing weights / by optax.adam, ns a parameter.
import      `import bpjax` / `import jax, optax`, whole processes.

    python scripts/benchmark.py [--quick] [--json FILE]
"""

import argparse
import importlib
import json
import platform
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax

import bpjax as bp
from bpjax.diagnostics.cost import in_turn, temporary_bytes
from bpjax.diagnostics.report import table
from bpjax.optimizers.catalogue import OPTIMIZERS
from bpjax.store import environment


def ratio(samples: dict[str, list[float]], a: str, b: str) -> float:
    """Median over the rounds of a / b within a round."""
    return statistics.median(x / y for x, y in zip(samples[a], samples[b], strict=True))


def batch_for(sizes, patterns, loss):
    """Random patterns, and labels or targets as the loss wants them."""
    key_x, key_t = jax.random.split(jax.random.key(1))
    x = jax.random.normal(key_x, (patterns, sizes[0]))
    if loss is bp.softmax_cross_entropy:
        return x, jax.random.randint(key_t, (patterns,), 0, sizes[-1])
    return x, jax.random.uniform(key_t, (patterns, sizes[-1]))


GRADIENTS = {
    "XOR 2-2-1, 4 patterns": ((2, 2, 1), 4, bp.sigmoid, bp.squared_error),
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
    for name, (sizes, patterns, activation, loss) in GRADIENTS.items():
        network = bp.mlp(sizes, activation)
        params, _ = network.init(jax.random.key(0), (sizes[0],))
        batch = batch_for(sizes, patterns, loss)
        compiled = {
            rule.name: jax.jit(lambda p, b, rule=rule: rule.grads(p, (), b)[:2]).lower(params, batch).compile()
            for rule in (bp.backprop(network, loss), bp.autodiff(network, loss))
        }
        calls = {which: (lambda f=f, p=params, b=batch: f(p, b)) for which, f in compiled.items()}
        samples = in_turn(calls, rounds, seconds)
        memory = {which: (temporary_bytes(f) or 0) / 1024 for which, f in compiled.items()}
        macs = patterns * sum(a * b for a, b in zip(sizes[:-1], sizes[1:], strict=True))
        work = 2 * (3 * macs - patterns * sizes[0] * sizes[1])  # forward, dW, and dx but for the first layer
        hand = statistics.median(samples["backprop"])
        rows.append(
            {
                "network, patterns": name,
                "by hand (µs)": hand * 1e6,
                "jax.grad (µs)": statistics.median(samples["autodiff"]) * 1e6,
                "time ratio": ratio(samples, "backprop", "autodiff"),
                "memory ratio": memory["backprop"] / memory["autodiff"] if memory["autodiff"] else 1.0,
                "by hand (KiB)": memory["backprop"],
                "GFLOP/s": work / hand / 1e9,
            }
        )
    return rows


def plain_network(sizes):
    """The same sigmoid net in ordinary jax.numpy, as anybody would write it: the alternative to beat."""

    def error(params, x, t):
        for layer in params:
            if layer:
                x = jax.nn.sigmoid(x @ layer.w + layer.b)
        return 0.5 * jnp.sum((t - x) ** 2)

    return jax.grad(error)


TRAININGS = {
    "XOR 2-2-1": ((2, 2, 1), bp.xor),
    "encoder 10-5-10": ((10, 5, 10), lambda: bp.encoder(10, 5)),
    "parity 8-16-1": ((8, 16, 1), lambda: bp.parity(8)),
}


def training_table(rounds: int, seconds: float) -> list[dict]:
    """Whole full-batch trainings, a scan of gradient descent, µs an epoch; other libraries where installed."""
    epochs, rate = 2000, 0.1
    rows = []
    for name, (sizes, task) in TRAININGS.items():
        network = bp.mlp(sizes, bp.sigmoid, bp.sigmoid)
        params, _ = network.init(jax.random.key(0), (sizes[0],))
        x, t = task().present(None)
        rule, twin, plain = (
            bp.backprop(network, bp.squared_error),
            bp.autodiff(network, bp.squared_error),
            plain_network(sizes),
        )
        gradients = {
            "by hand": lambda p, rule=rule, x=x, t=t: rule.grads(p, (), (x, t))[1],
            "jax.grad of the same forward": lambda p, twin=twin, x=x, t=t: twin.grads(p, (), (x, t))[1],
            "jax.grad of plain jnp": lambda p, plain=plain, x=x, t=t: plain(p, x, t),
        }
        calls = {which: scanned(gradient, params, epochs, rate) for which, gradient in gradients.items()}
        calls |= other_libraries(sizes, np.asarray(x), np.asarray(t), rate)
        samples = in_turn(calls, rounds, seconds)
        for which in calls:
            microseconds = statistics.median(samples[which]) / (epochs if which in gradients else FEW) * 1e6
            per_epoch = {k: [s / (epochs if k in gradients else FEW) for s in samples[k]] for k in ("by hand", which)}
            rows.append(
                {
                    "network": name,
                    "by": which,
                    "µs an epoch": microseconds,
                    "by hand / this": ratio(per_epoch, "by hand", which) if which != "by hand" else 1.0,
                }
            )
    return rows


def scanned(gradient, params, epochs, rate):
    """Gradient descent as one compiled scan."""

    def step(p, _):
        return jax.tree.map(lambda w, g: w - rate * g, p, gradient(p)), None

    train = jax.jit(lambda p: jax.lax.scan(step, p, None, length=epochs)[0])
    return lambda: train(params)


FEW = 50
"""Epochs to a sample of the other libraries, which are slower."""


def other_libraries(sizes, x, t, rate) -> dict[str, Callable]:
    """The same training in what a user would otherwise take, as far as it is installed."""
    calls = {}
    for name, make in (
        ("PyTorch, eager", torch_epochs),
        ("FANN, batch", fann_epochs),
        ("scikit-learn", sklearn_epochs),
    ):
        try:
            calls[name] = make(sizes, x, t, rate)
        except ModuleNotFoundError as missing:
            print(f"{name}: {missing.name} is not installed, no row")
    return calls


def torch_epochs(sizes, x, t, rate) -> Callable:
    """`FEW` epochs of the usual PyTorch loop."""
    torch = importlib.import_module("torch")
    layers = []
    for a, b in zip(sizes[:-1], sizes[1:], strict=True):
        layers += [torch.nn.Linear(a, b), torch.nn.Sigmoid()]
    model = torch.nn.Sequential(*layers)
    optimizer = torch.optim.SGD(model.parameters(), lr=rate)
    x, t = torch.tensor(x), torch.tensor(t)

    def epochs():
        for _ in range(FEW):
            optimizer.zero_grad()
            (0.5 * ((t - model(x)) ** 2).sum()).backward()
            optimizer.step()

    return epochs


def fann_epochs(sizes, x, t, rate) -> Callable:
    """`FEW` epochs of FANN's batch training, through its Python binding."""
    libfann = importlib.import_module("fann2.libfann")
    network = libfann.neural_net()
    network.create_standard_array(sizes)
    network.set_training_algorithm(libfann.TRAIN_BATCH)
    network.set_learning_rate(rate)
    data = libfann.training_data()
    data.set_train_data(x.tolist(), t.tolist())

    def epochs():
        for _ in range(FEW):
            network.train_epoch(data)

    return epochs


def sklearn_epochs(sizes, x, t, rate) -> Callable:
    """`FEW` epochs of the nearest equivalent in scikit-learn: an identity output, and the mean for the sum."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPRegressor

    regressor = MLPRegressor(
        hidden_layer_sizes=sizes[1:-1],
        activation="logistic",
        solver="sgd",
        learning_rate_init=rate,
        momentum=0.0,
        alpha=0.0,
        batch_size=len(x),  # type: ignore[arg-type]
        max_iter=FEW,
        tol=0.0,
        n_iter_no_change=FEW + 1,
        shuffle=False,
        random_state=0,
    )

    def epochs():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            regressor.fit(x, t.ravel() if t.shape[1] == 1 else t)

    return epochs


SIZES = {"1,000,000": ((1000, 1000), 10), "2,410": ((64, 32, 10), 500)}
"""Parameters of a network, and how many updates a sample scans over."""


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


def import_table(rounds: int) -> list[dict]:
    """Whole processes in turn: `import bpjax` against `import jax, optax`."""
    samples = {"import bpjax": [], "import jax, optax": []}
    for _ in range(rounds):
        for statement, seconds in samples.items():
            start = time.perf_counter()
            subprocess.run([sys.executable, "-c", statement], check=True)
            seconds.append(time.perf_counter() - start)
    return [
        {
            "process": "import bpjax",
            "seconds": statistics.median(samples["import bpjax"]),
            "jax, optax (s)": statistics.median(samples["import jax, optax"]),
            "ratio": ratio(samples, "import bpjax", "import jax, optax"),
        }
    ]


def shown(rows: list[dict]) -> str:
    """Rows as a plain-text table."""
    cells = [[f"{v:,.3g}" if isinstance(v, float) else str(v) for v in row.values()] for row in rows]
    return "\n".join(table(tuple(rows[0]), cells))


def main() -> int:
    """Run the tables and print them; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tenth of the time, for a look")
    parser.add_argument("--json", metavar="FILE", help="also write the numbers to a file")
    options = parser.parse_args()
    rounds, seconds = (5, 0.02) if options.quick else (21, 0.1)

    where = environment()
    print(
        f"{where['device']['kind']}, {platform.machine()}, JAX {where['versions']['jax']}, optax {optax.__version__}\n"
    )
    result: dict = {"environment": where}
    gradients = result["gradient"] = gradient_table(rounds, seconds)
    print("One jitted gradient, by hand against jax.grad of the same forward pass\n")
    print(shown(gradients))
    print(f"median time ratio {statistics.median(row['time ratio'] for row in gradients):.3f}, "
          f"largest memory ratio {max(row['memory ratio'] for row in gradients):.3f}\n")  # fmt: skip
    result["training"] = training_table(max(5, rounds // 2), seconds)
    print("A whole training as one scan, full batch\n")
    print(shown(result["training"]))
    result["update"] = update_table(max(5, rounds // 2), seconds)
    print("One update of the weights, against optax.adam\n")
    print(shown(result["update"]))
    result["import"] = import_table(3 if options.quick else 9)
    print("Importing\n")
    print(shown(result["import"]))
    if options.json:
        with open(options.json, "w") as file:
            json.dump(result, file, indent=2)
    return 0


if __name__ == "__main__":
    sys.exit(main())
