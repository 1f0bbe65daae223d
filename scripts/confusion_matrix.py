"""How well `compare` finds classic mistakes, and how often it raises a false alarm: the numbers the README quotes.

Mutants × depths 2 to 12 × seeds: each mistake is made in a randomly drawn layer of a correct network; `located` counts
the reports whose first wrong layer is that one, `named` those whose mistake is that one. Then correct networks of
random depth, activation, loss and weights in every dtype, where any alarm is a false one.

    python scripts/confusion_matrix.py [--seeds 3] [--networks 100]
"""

import argparse
import collections
import sys

import jax
import numpy as np

try:
    from rich.progress import track
except ModuleNotFoundError:
    sys.exit("rich is not installed. Install what experiments need: pip install 'bpjax[experiments]'.")

import bpjax as bp
from bpjax.gradcheck.agreement import BUDGET
from bpjax.gradcheck.mutants import LOSS_MUTANTS, MUTANTS
from bpjax.util.text_table import table

WIDTH, EXAMPLES, DEPTHS = 6, 8, range(2, 13)
ACTIVATIONS = (
    bp.sigmoid,
    bp.tanh,
    bp.layers.silu,
    bp.relu,
    bp.gelu,
    bp.layers.softplus,
    bp.layers.elu(),
    bp.layers.leaky_relu(),
)
LOSSES = (
    bp.squared_error,
    bp.mean_squared_error,
    bp.binary_cross_entropy,
    bp.losses.huber(0.5),
    bp.softmax_cross_entropy,
)
SCALES = [jax.nn.initializers.normal(scale / WIDTH**0.5) for scale in (0.5, 1.0, 1.3, 2.0)]


def network_and_batch(depth, activation, output, weights, seed):
    """A network with `depth` dense layers of one width, its params, and a batch."""
    network = bp.mlp((WIDTH,) * (depth + 1), activation, output, weights=weights)
    key_p, key_x, key_t = jax.random.split(jax.random.key(seed), 3)
    params, _ = network.init(key_p, (WIDTH,))
    batch = jax.random.normal(key_x, (EXAMPLES, WIDTH)), jax.random.uniform(key_t, (EXAMPLES, WIDTH))
    return network, params, batch


def report_on(broken, broken_loss, network, loss, params, batch) -> bp.gradcheck.Report:
    """The report of `compare`, without timing."""
    oracle = bp.autodiff(network, loss)
    return bp.compare(bp.backprop(broken, broken_loss), oracle, params, batch, timed=False, show=False)


def confusion(seeds: int) -> dict[str, collections.Counter]:
    """Counts by mistake."""
    counts = {mistake: collections.Counter() for mistake in (*MUTANTS, *(f"loss {m}" for m in LOSS_MUTANTS))}
    for depth in track(DEPTHS, "mutants, by depth"):
        for seed in range(seeds):
            network, params, batch = network_and_batch(depth, ACTIVATIONS[seed % 3], None, SCALES[2], seed)
            for mistake, mutant in MUTANTS.items():
                fitting = [i for i in range(len(network.layers)) if mutant.fits(params, network, i)]
                index = int(np.random.default_rng([seed, depth]).choice(fitting))
                broken, loss = mutant.apply(network, index), bp.squared_error
                tally(counts[mistake], report_on(broken, loss, network, loss, params, batch), index, mistake)
            for mistake, break_loss in LOSS_MUTANTS.items():
                loss = bp.squared_error
                report = report_on(network, break_loss(loss), network, loss, params, batch)
                tally(counts[f"loss {mistake}"], report, None, mistake)
    return counts


def tally(count: collections.Counter, report: bp.gradcheck.Report, layer: int | None, mistake: str) -> None:
    """Count one report."""
    count["tried"] += 1
    count["located"] += report.first_wrong is not None and report.first_wrong.layer == layer
    count["named"] += report.mistake == mistake


def false_alarms(dtype: str, networks: int) -> int:
    """The number of alarms for correct networks in one dtype."""
    alarms = 0
    with jax.enable_x64(dtype == "float64"):
        for seed in track(range(networks), f"correct networks, {dtype}"):
            rng = np.random.default_rng(seed)
            pick = lambda options, rng=rng: options[rng.integers(len(options))]
            depth, output = int(rng.integers(1, 13)), pick((None, bp.sigmoid, bp.tanh))
            network, *rest = network_and_batch(depth, pick(ACTIVATIONS), output, pick(SCALES), seed)
            loss = pick(LOSSES)
            alarms += not report_on(network, loss, network, loss, *bp.util.cast(rest, dtype)).ok
    return alarms


def main() -> int:
    """Print both results; return 0 if every mistake was located and named without a false alarm, else 1."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3, help="networks per mistake and depth")
    parser.add_argument("--networks", type=int, default=100, help="correct networks per dtype")
    options = parser.parse_args()
    counts = confusion(options.seeds)
    columns = ("tried", "located", "named")
    rows = [(mistake, *(str(count[column]) for column in columns)) for mistake, count in counts.items()]
    print("\n".join(table(("mistake", *columns), rows)))
    total = {column: sum(count[column] for count in counts.values()) for column in columns}
    print(f"{total['tried']} mutants at depths 2 to 12: {total['located']} located, {total['named']} named.")
    alarms = {dtype: false_alarms(dtype, options.networks) for dtype in BUDGET}
    print(f"False alarms for {options.networks} correct networks per dtype: {alarms}")
    return 0 if total["tried"] == total["located"] == total["named"] and not any(alarms.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
