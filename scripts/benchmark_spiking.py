"""Time per epoch of a spiking network beside snnTorch and spyx, and what running layer by layer saves.

    python scripts/benchmark_spiking.py                          bpjax alone: layer by layer against time by time
    PYTHONPATH=.:/some/folder python scripts/benchmark_spiking.py --peers

after `pip install --target /some/folder snntorch torch spyx grain jax-tqdm`, none of which is a dependency of bpjax.
All train the same network, 64-40-48-10 leaky integrate-and-fire units with reset by subtraction and a leaky
integrator as the readout, on 1,197 digits of 16 time steps in batches of 63, by Adam. Programs are compiled before;
alternatives run in turn in one process, and the median of the rounds counts.
"""

# pyright: reportMissingImports=false

import argparse
import statistics
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax

import bpjax as bp
from experiments.spiking_digits.networks import VARIANTS, network, spikes_of

STEPS, HIDDEN, BATCH, RATE = 16, (40, 48), 63, 5e-3
BETA = float(np.exp(-1 / 10))


def digits():
    """(x (N, T, 64), labels)."""
    pixels, labels = bp.tasks.digits("train").present()
    return spikes_of(pixels, "latency", STEPS, jax.random.key(0)), labels


def epoch_of(grads, optimizer):
    """(params, state, batches) -> (params, state): one epoch by a gradient function, compiled."""

    def step(carry, batch):
        params, state = carry
        updates, state = optimizer.update(grads(params, batch), state, params)
        return (optax.apply_updates(params, updates), state), ()

    return jax.jit(lambda params, state, batches: jax.lax.scan(step, (params, state), batches)[0])


def layer_by_layer(params, batch):
    """The gradient by hand: each layer over all times, its inputs as one product."""
    net = network(VARIANTS[0], HIDDEN)
    return bp.backprop(net, bp.losses.batch_mean(bp.softmax_cross_entropy)).grads(params, (), batch)[1]


def time_by_time(params, batch):
    """The gradient by `jax.grad` of one scan over time through all layers, as spiking libraries write it."""

    @jax.custom_jvp
    def fire(u):
        return (u > 0).astype(u.dtype)

    fire.defjvps(lambda du, y, u: du / (25 * jnp.abs(u) + 1) ** 2)
    x, labels = batch

    def loss(params):
        def step(state, x):
            after = []
            for layer, (p, u) in enumerate(zip(params, state, strict=True)):
                u = BETA * u + x @ p.w - (jax.lax.stop_gradient(fire(u - 1)) if layer < 2 else 0)
                after.append(u)
                x = fire(u - 1) if layer < 2 else u
            return after, x

        zeros = [jnp.zeros((len(x), p.w.shape[1]), x.dtype) for p in params]
        logits = jax.lax.scan(step, zeros, jnp.swapaxes(x, 0, 1))[1][-1]
        return optax.losses.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    return jax.grad(loss)(params)


def ours():
    """{name: function of one epoch}, after a check that both gradients are equal."""
    x, labels = digits()
    batches = x.reshape(-1, BATCH, *x.shape[1:]), labels.reshape(-1, BATCH)
    params = network(VARIANTS[0], HIDDEN).init(jax.random.key(1), x.shape[1:])[0]
    first = jax.tree.map(lambda a: a[0], batches)
    a, b = (jax.jit(g)(params, first) for g in (layer_by_layer, time_by_time))
    worst = max(
        float(jnp.linalg.norm(p - q) / jnp.linalg.norm(q)) for p, q in zip(*map(jax.tree.leaves, (a, b)), strict=True)
    )
    print(f"gradients of both forms: {worst:.0e} apart (float32)")
    optimizer = optax.adam(RATE)
    runs = {}
    for name, grads in (("bpjax, layer by layer", layer_by_layer), ("jax.grad, time by time", time_by_time)):
        epoch = epoch_of(grads, optimizer)
        runs[name] = lambda epoch=epoch: jax.block_until_ready(epoch(params, optimizer.init(params), batches))
    return runs


def snntorch_epoch():
    """One epoch by snnTorch."""
    import snntorch
    import torch

    torch.manual_seed(0)
    x, labels = digits()
    x, labels = torch.tensor(np.asarray(x)), torch.tensor(np.asarray(labels), dtype=torch.long)
    sizes = (64, *HIDDEN, 10)
    linear = torch.nn.ModuleList(torch.nn.Linear(a, b, bias=False) for a, b in zip(sizes, sizes[1:], strict=False))
    surrogate = snntorch.surrogate.fast_sigmoid(25)
    neurons = [snntorch.Leaky(BETA, spike_grad=surrogate) for _ in HIDDEN]
    neurons.append(snntorch.Leaky(BETA, reset_mechanism="none"))
    optimizer = torch.optim.Adam(linear.parameters(), RATE)

    def epoch():
        for start in range(0, len(x), BATCH):
            here, target = x[start : start + BATCH], labels[start : start + BATCH]
            states = [torch.zeros(len(here), n) for n in sizes[1:]]
            for t in range(STEPS):
                spikes = here[:, t]
                for n, (weights, neuron) in enumerate(zip(linear, neurons, strict=True)):
                    spikes, states[n] = neuron(weights(spikes), states[n])
            loss = torch.nn.functional.cross_entropy(states[-1], target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    return epoch


def spyx_epoch():
    """One epoch by spyx."""
    import spyx
    import spyx.nn as snn
    from flax import nnx

    rngs = nnx.Rngs(0)
    sizes, axon = (64, *HIDDEN, 10), spyx.axn.superspike(25)
    layers = []
    for a, b in zip(sizes[:3], sizes[1:3], strict=False):
        layers += [nnx.Linear(a, b, use_bias=False, rngs=rngs), snn.LIF((b,), beta=BETA, activation=axon, rngs=rngs)]
    layers += [nnx.Linear(48, 10, use_bias=False, rngs=rngs), snn.LI((10,), beta=BETA, rngs=rngs)]
    graph, params = nnx.split(snn.Sequential(*layers))
    x, labels = digits()
    batches = x.reshape(-1, BATCH, *x.shape[1:]), labels.reshape(-1, BATCH)

    def grads(params, batch):
        def loss(params):
            model = nnx.merge(graph, params)
            outputs, _ = snn.run(model, jnp.swapaxes(batch[0], 0, 1))
            return optax.losses.softmax_cross_entropy_with_integer_labels(outputs[-1], batch[1]).mean()

        return jax.grad(loss)(params)

    optimizer = optax.adam(RATE)
    epoch = epoch_of(grads, optimizer)
    return lambda: jax.block_until_ready(epoch(params, optimizer.init(params), batches))


def main() -> None:
    """Print the medians and their ratios to the first."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--peers", action="store_true", help="snnTorch and spyx too")
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    runs = ours()
    if options.peers:
        for name, make in (("snnTorch", snntorch_epoch), ("spyx", spyx_epoch)):
            try:
                runs[name] = make()
            except ImportError as error:
                print(f"{name} is left out: {error}")
    times: dict[str, list[float]] = {name: [] for name in runs}
    for epoch in runs.values():
        epoch()
    for _ in range(options.rounds):
        for name, epoch in runs.items():
            begun = time.process_time()
            epoch()
            times[name].append(time.process_time() - begun)
    first = statistics.median(next(iter(times.values())))
    for name, seconds in times.items():
        middle = statistics.median(seconds)
        print(f"{name:26} {1e3 * middle:8.1f} ms of processor time an epoch   {middle / first:6.2f} ×")


if __name__ == "__main__":
    main()
