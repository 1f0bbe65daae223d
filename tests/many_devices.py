"""What `test_data_parallel.py` runs on several devices or in several processes, each result beside one device's.

    python many_devices.py PROCESSES INDEX PORT CHECK ...

Prints, in process 0, the results of the checks as JSON. All computations of a check are one compiled program.
"""

import functools
import json
import os
import pickle
import signal
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from oracles import relative_error
from passes import quick_jit

import bpjax as bp
from bpjax.rules.registry import RULES
from bpjax.util.on_host import on_host

EXAMPLES = 8
HEARTBEAT = 5  # seconds of silence after which a process counts as dead
MANY = functools.cache(bp.training.data_parallel)


def own(batch):
    """The examples of this process."""
    size = EXAMPLES // jax.process_count()
    first = size * jax.process_index()
    return jax.tree.map(lambda a: a[first : first + size], batch)


def drawn(*shapes):
    """Normal arrays, drawn by NumPy, which compiles nothing."""
    random = np.random.default_rng(0)
    return [random.standard_normal(shape) for shape in shapes]


def drawn_like(tree):
    """Normal numbers in the shapes of a pytree, zeros for its integers and keys."""
    leaves, structure = jax.tree.flatten(tree)
    numbers = drawn(*(leaf.shape for leaf in leaves))
    return structure.unflatten(
        [number.astype(leaf.dtype) * (leaf.dtype.kind == "f") for number, leaf in zip(numbers, leaves, strict=True)]
    )


def drawn_params(network, in_shape):
    return drawn_like(jax.eval_shape(lambda key: network.init(key, in_shape)[0], jax.random.key(0)))


def host(tree):
    return jax.tree.map(on_host, tree)


def error(many, one) -> float:
    return relative_error(host(many), host(one))


NETWORK = bp.chain(bp.dense(4, use_bias=False), bp.layers.batch_norm(), bp.tanh, bp.dense(2))
NOISY = bp.chain(bp.dense(4), bp.dropout(0.5), bp.tanh, bp.dense(2))
PLAIN = bp.chain(bp.dense(4), bp.tanh, bp.dense(2))
BACKPROP = bp.backprop(NETWORK, bp.squared_error)
DROPOUT = bp.backprop(bp.layers.keyed(NOISY), bp.squared_error)
PERTURBATION = bp.rules.node_perturbation(PLAIN, bp.squared_error)


@quick_jit
def gradients_of_all(params, noisy, plain, key, x, target):
    return {
        "batch norm": BACKPROP.grads(params, (), (x, target))[:2],
        "dropout": DROPOUT.grads(noisy, (), ((x, key), target))[:2],
        "perturbation": PERTURBATION.grads(plain, key, (x, target))[:2],
    }


def gradients_arguments():
    params = [drawn_params(network, (3,)) for network in (NETWORK, NOISY, PLAIN)]
    return (*params, jax.random.key(7)), drawn((EXAMPLES, 3), (EXAMPLES, 2))


def gradients():
    """Batch statistics, dropout masks and noise are those of the whole batch."""
    arguments, batch = gradients_arguments()
    one = gradients_of_all(*arguments, *batch)
    many = gradients_of_all(*MANY().replicate(arguments), *MANY().shard(own(batch)))
    return {name: error(many[name], one[name]) for name in one}


def by_share():
    """The differences of the same results where each half of the batch is computed for itself."""
    arguments, batch = gradients_arguments()
    shares = [[a[i::2] for a in batch] for i in range(2)]
    found = jax.tree.map(jnp.add, *(gradients_of_all(*arguments, *share) for share in shares))
    one = gradients_of_all(*arguments, *batch)
    return {name: error(found[name], one[name]) for name in one}


def fit():
    """The weights and the curve after 100 steps, and where the weights lie."""
    params, batch = drawn_params(PLAIN, (3,)), drawn((EXAMPLES, 3), (EXAMPLES, 2))
    train = functools.partial(bp.fit, bp.backprop(PLAIN, bp.squared_error), optax.adam(0.02), key=jax.random.key(0))
    one = train(params, batch, epochs=100)
    many = train(MANY().replicate(params), MANY().shard(own(batch)), epochs=100)
    everywhere = all(leaf.sharding.is_fully_replicated for leaf in jax.tree.leaves(many.params))
    results = [(fit.params, fit.history.error) for fit in (many, one)]
    return [error(*results), many.history.error[-1] / many.history.error[0], everywhere]


def shard_map():
    """`as_function` in `jax.shard_map`: the gradient of the shared params is the sum over the devices."""
    function, many = bp.interop.as_function(PLAIN), MANY()
    params, (x, target) = drawn_params(PLAIN, (3,)), drawn((EXAMPLES, 3), (EXAMPLES, 2))

    def value_and_grad(params, x, target):
        return jax.value_and_grad(lambda p: bp.squared_error.value(function(p, x), target))(params)

    def on_each_device(params, x, target):
        value, grads = value_and_grad(params, x, target)
        return jax.lax.psum(value, "batch"), grads

    split = many.sharded.spec
    run = jax.shard_map(on_each_device, mesh=many.sharded.mesh, in_specs=(P(), split, split), out_specs=P())
    found = quick_jit(run)(many.replicate(params), *many.shard(own((x, target))))
    return error(found, quick_jit(value_and_grad)(params, x, target))


def batch_norm_in_shard_map():
    """`batch_norm(axis_name=...)` in `jax.shard_map`, by hand and by `as_function`, beside one device."""
    many, one = MANY(), bp.layers.batch_norm()
    named, params = bp.layers.batch_norm(axis_name="batch"), drawn_params(one, (3,))
    x, dy = drawn((EXAMPLES, 3), (EXAMPLES, 3))
    x = x + np.array([[1e4, 0.0, -5.0]])  # a mean far from 0

    def passes(layer, params, x, dy):
        y, residuals = layer.forward(params, x)
        dparams, dx = layer.backward(params, residuals, dy)
        start = (bp.layers.BatchStatistics(jnp.zeros(3), jnp.zeros(3)),)
        return y, dx, dparams, bp.layers.running_statistics(residuals, start)

    def by_hand(params, x, dy):
        y, dx, dparams, statistics = passes(named, params, x, dy)
        return y, dx, jax.lax.psum(dparams, "batch"), statistics

    def by_function(params, x, dy):
        function = bp.interop.as_function(named)
        return jax.vjp(function, params, x)[1](dy)

    split = many.sharded.spec
    in_shard_map = lambda f, out: jax.shard_map(f, mesh=many.sharded.mesh, in_specs=(P(), split, split), out_specs=out)
    arguments = (many.replicate(params), *many.shard(own((x, dy))))
    expected = quick_jit(lambda *a: passes(one, *a))(params, x, dy)
    found = quick_jit(in_shard_map(by_hand, (split, split, P(), P())))(*arguments)
    dparams, dx = quick_jit(in_shard_map(by_function, (P(), split)))(*arguments)
    return error(found, expected), error((dparams, dx), (expected[2], expected[1]))


def tensor_parallel():
    """Dense layers and heads of attention divided among devices: each holds some columns or rows of the weights."""
    mesh = Mesh(np.array(jax.devices()).reshape(-1, 2), ("batch", "model"))
    many = bp.training.data_parallel(mesh)
    columns, rows = P(None, "model"), P("model", None)
    attention = bp.attention(2)
    dense_params, heads = drawn_params(PLAIN, (3,)), drawn_params(attention, (5, 4))
    dense_axes = (type(dense_params[0])(columns, P("model")), (), type(dense_params[2])(rows, P()))
    heads_axes = type(heads)(columns, columns, columns, rows, P("model"), P("model"), P())
    params, axes = (dense_params, heads), (dense_axes, heads_axes)
    x, target, sequences = drawn((EXAMPLES, 3), (EXAMPLES, 2), (EXAMPLES, 5, 4))

    @quick_jit
    def run(params, x, target, sequences):
        return {
            "dense": bp.backprop(PLAIN, bp.squared_error).grads(params[0], (), (x, target))[:2],
            "attention": bp.backprop(attention, bp.squared_error).grads(params[1], (), (sequences, sequences))[:2],
        }

    divided = jax.tree.map(lambda w, spec: jax.device_put(w, NamedSharding(mesh, spec)), params, axes)
    found = run(divided, *many.shard(own_rows(mesh, (x, target, sequences))))
    one = run(params, x, target, sequences)
    grads = found["dense"][1], found["attention"][1]
    same = lambda gradient, w: gradient.sharding.is_equivalent_to(w.sharding, w.ndim)
    return {name: error(found[name], one[name]) for name in one}, jax.tree.all(jax.tree.map(same, grads, divided))


def own_rows(mesh, batch):
    """The examples on the devices of this process, for a mesh whose first axis divides them."""
    index = jax.process_index()
    mine = [row for row, devices in enumerate(mesh.devices) if any(d.process_index == index for d in devices)]
    size = EXAMPLES // len(mesh.devices)
    return jax.tree.map(lambda a: a[size * mine[0] : size * (mine[-1] + 1)], batch)


def refused():
    """The sentences where the examples or the values do not fit."""
    index = jax.process_index()
    calls = {
        "unequal": lambda: MANY().shard(np.zeros((4 - index, 2))),
        "indivisible": lambda: MANY().shard(np.zeros((7, 2))),
        "other values": lambda: MANY().replicate({"w": np.full(3, index)}),
        "not finite": lambda: bp.fit(
            bp.backprop(PLAIN, bp.squared_error), optax.sgd(0.1), MANY().replicate(drawn_params(PLAIN, (3,))),
            MANY().shard(own((np.where(np.arange(3) == 1, np.nan, np.zeros((EXAMPLES, 1))), np.zeros((EXAMPLES, 2))))),
            key=jax.random.key(0),
        ),
    }  # fmt: skip
    return {name: sentence(call) for name, call in calls.items()}


def sentence(call) -> str:
    try:
        call()
    except ValueError as error:
        return str(error)
    return ""


def rule_of(case) -> bp.Rule:
    return case.make(case.network, case.loss, *([] if case.hyperparameter is None else [case.hyperparameter]))


def drawn_start(case):
    """Params, a state of the rule and a batch with one-hot targets for a case of the registry of rules."""
    params = drawn_params(case.network, case.in_shape)
    state = drawn_like(jax.eval_shape(rule_of(case).init, np.zeros(2, np.uint32), params))
    (x,) = drawn((EXAMPLES, *case.in_shape))
    outputs = jax.eval_shape(case.network.forward, params, x)[0].shape
    target = np.eye(outputs[-1])[np.random.default_rng(1).integers(outputs[-1], size=outputs[:-1])]
    return params, state, (x, target)


def drawn_starts():
    return {name: drawn_start(case) for name, case in RULES.items()}


def all_rules(start):
    return {name: rule_of(RULES[name]).grads(*arrays) for name, arrays in start.items()}


def every_rule(file):
    """Value, gradient and next state of all rules, written to a file."""
    spread = {
        name: (*MANY().replicate((params, state)), MANY().shard(own(batch)))
        for name, (params, state, batch) in drawn_starts().items()
    }
    found = host(quick_jit(all_rules)(spread))
    if jax.process_index() == 0:
        with open(file, "wb") as stored:
            pickle.dump(found, stored)


def killed():
    """Process 1 kills itself; process 0 waits for its share of a sum."""
    x = MANY().shard(np.ones((EXAMPLES, 2)))
    total = jax.jit(jnp.sum)
    total(x).block_until_ready()
    if jax.process_index() == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    while True:
        total(x).block_until_ready()


def main(processes, index, port, *checks):
    if int(processes) > 1:
        seconds = HEARTBEAT if "killed" in checks else 600
        jax.distributed.initialize(f"localhost:{port}", int(processes), int(index), heartbeat_timeout_seconds=seconds)
    results = {}
    for check in checks:
        name, *arguments = check.split("=")
        results[name] = globals()[name](*arguments)
    if index == "0":
        print(json.dumps(results))


if __name__ == "__main__":
    main(*sys.argv[1:])
