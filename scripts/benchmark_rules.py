"""A step of each learning rule beside a step of backprop."""

import jax
import numpy as np
from benchmark_training import ratio

import bpjax as bp
from bpjax.analysis.cost import in_turn, training_steps
from bpjax.rules.registry import WEIGHTS

NETWORKS = {
    "64-100-100-10, 57": ((64, 100, 100, 10), 57),
    "784-500-10, 128": ((784, 500, 10), 128),
}
"""Sizes, and examples of a batch: the digits of `experiments/learning_rules`, and Akrout et al.'s MNIST network."""
STEPS = 20
"""To a sample, in one compiled scan: what a step of a training costs."""


def rules_table(rounds: int, seconds: float) -> list[dict]:
    """Steps of plain descent, of the rules that send errors back through other weights and of direct teachers."""
    chosen = {name: case.make for name, case in bp.rules.RULES.items() if case.answers == WEIGHTS or name == "backprop"}
    chosen["direct random target projection"] = bp.rules.direct_random_target_projection
    rows: dict[str, dict] = {name: {"rule": name} for name in chosen}
    for name, (sizes, examples) in NETWORKS.items():
        network = bp.mlp(sizes, bp.tanh)
        params, _ = network.init(jax.random.key(0), sizes[:1])
        x = jax.random.normal(jax.random.key(1), (STEPS, examples, sizes[0]))
        labels = jax.random.randint(jax.random.key(2), (STEPS, examples), 0, sizes[-1])
        calls = {
            rule: training_steps(make(network, bp.softmax_cross_entropy), params, (x, labels), jax.random.key(3))
            for rule, make in chosen.items()
        }
        samples = in_turn(calls, rounds, seconds)
        for rule, row in rows.items():
            row[f"{name}: µs a step"] = 1e6 * float(np.median(samples[rule])) / STEPS
            row[f"{name}: / backprop"] = ratio(samples, rule, "backprop")
    return list(rows.values())
