"""Train one kind of network from many starts at once."""

from typing import NamedTuple

import jax
import numpy as np
import optax

import bpjax as bp
from experiments.spiking_digits.networks import Variant, firing, network, spikes_of


class Trained(NamedTuple):
    """The networks of one variant."""

    accuracy: np.ndarray  # (starts,) on the test digits
    rates: np.ndarray  # (starts, layers) spikes a step and unit, on the test digits
    silent: np.ndarray  # (starts, layers) share of units that never fire
    rates_before: np.ndarray  # (starts, layers) before training


def data(coding: str, steps: int, key):
    """((x, labels) to train, (x, labels) to test)."""
    pairs = []
    for split in ("train", "test"):
        key, here = jax.random.split(key)
        pixels, labels = bp.tasks.digits(split).present()
        pairs.append((spikes_of(pixels, coding, steps, here), labels))
    return pairs


def train(variant: Variant, hidden: tuple[int, ...], steps: int, epochs: int, starts: int, seed: int) -> Trained:
    """Adam with learning rate 0.005, batches of 63, from `starts` initial weights in one program."""
    train_set, test_set = data(variant.coding, steps, jax.random.key(seed))
    net = network(variant, hidden)
    rule = bp.backprop(net, bp.losses.batch_mean(bp.softmax_cross_entropy))
    optimizer = optax.adam(5e-3)
    x, labels = train_set

    def run(key):
        key_params, key = jax.random.split(key)
        params = net.init(key_params, (steps, x.shape[2]))[0]
        before = firing(net, params, test_set[0])

        def step(state, batch):
            params, opt_state = state
            value, grads, _ = rule.grads(params, (), (x[batch], labels[batch]))
            updates, opt_state = optimizer.update(grads, opt_state, params)
            return (optax.apply_updates(params, updates), opt_state), value

        def epoch(state, key):
            order = jax.random.permutation(key, len(x)).reshape(-1, 63)
            return jax.lax.scan(step, state, order)

        (params, _), _ = jax.lax.scan(epoch, (params, optimizer.init(params)), jax.random.split(key, epochs))
        return bp.accuracy(net, params, test_set), firing(net, params, test_set[0]), before

    keys = jax.random.split(jax.random.key(seed + 1), starts)
    accuracy, after, before = jax.jit(jax.vmap(run))(keys)
    of = lambda found, index: np.stack([np.asarray(layer[index]) for layer in found], axis=1)
    return Trained(np.asarray(accuracy), of(after, 0), of(after, 1), of(before, 0))


def silence(steps: int, depth: int, gain: float, seed: int) -> np.ndarray:
    """Rates of the layers (depth,) of an untrained deep network: where it falls silent."""
    (x, _), _ = data("latency", steps, jax.random.key(seed))
    net = network(Variant("", ""), (64,) * depth, gain)
    params = net.init(jax.random.key(seed), (steps, x.shape[2]))[0]
    return np.array([float(rate) for rate, _ in jax.jit(lambda p, x: firing(net, p, x))(params, x[:200])])


def sentence(rates) -> str:
    """What the rates of the layers mean, in words; empty where every layer fires."""
    silent = [layer + 1 for layer, rate in enumerate(rates) if rate < 1e-4]
    if not silent:
        return ""
    further = f", and so {'is' if len(silent) == 2 else 'are'} {len(silent) - 1} more" if len(silent) > 1 else ""
    return (
        f"Layer {silent[0]} of {len(rates)} is silent{further}: its units fire less than once in 10,000 steps, so that "
        "nothing reaches the output and, with a narrow surrogate, no error comes back. Use larger initial weights or a "
        "lower threshold."
    )
