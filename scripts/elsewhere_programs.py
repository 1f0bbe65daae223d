"""What `compile_elsewhere.py` compiles: functions, each with the shapes of its arguments."""

import functools
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import PartitionSpec

import bpjax as bp
from bpjax.gradcheck.cases.case import LayerCase
from bpjax.gradcheck.registry import ACTIVATIONS, LAYERS, LOSSES
from bpjax.optimizers.registry import OPTIMIZERS
from bpjax.rules.registry import RULES
from bpjax.sweeps.axes import plan
from bpjax.sweeps.computation import trace
from bpjax.sweeps.lanes.layout import Layout
from bpjax.sweeps.pool import PoolProgram

EXAMPLES = 8
KEY = jax.eval_shape(lambda: jax.random.key(0))
WHOLE, BY_EXAMPLE = PartitionSpec(), PartitionSpec("batch")


class Program(NamedTuple):
    """A function that is compiled for one device, or for several in a mesh with the axes "batch" and "model"."""

    group: str
    name: str
    function: Callable
    arguments: tuple
    """Pytrees of `jax.ShapeDtypeStruct`."""
    places: tuple = ()
    """For several devices, the `PartitionSpec` of each argument, or a pytree of them."""


def floats(*shape) -> jax.ShapeDtypeStruct:
    """An array of the default floating-point dtype."""
    return jax.ShapeDtypeStruct(shape, jnp.result_type(float))


def params_of(network: bp.Layer, in_shape):
    """The shapes of the params of a network."""
    return jax.eval_shape(lambda key: network.init(key, in_shape)[0], KEY)


def layers() -> Iterator[Program]:
    """The forward and the backward pass of every layer and activation in the registry."""
    cases = {**LAYERS, **{name: LayerCase(layer, (6,)) for name, layer in ACTIVATIONS.items()}}
    for name, (layer, in_shape, inputs, *_) in cases.items():
        params = params_of(layer, in_shape)
        x = jax.eval_shape(lambda key, inputs=inputs, in_shape=in_shape: inputs(key, EXAMPLES, in_shape), KEY)
        dy = jax.eval_shape(layer.forward, params, x)[0]
        yield Program("layers", name, functools.partial(both_passes, layer), (params, x, dy))


def both_passes(layer, params, x, dy):
    """The output and the gradient of a layer."""
    y, residuals = layer.forward(params, x)
    return y, layer.backward(params, residuals, dy)


def losses() -> Iterator[Program]:
    """The value and the gradient of every loss in the registry."""
    for name, (loss, output, target) in LOSSES.items():
        shapes = (jax.eval_shape(lambda key, draw=draw: draw(key, (EXAMPLES, 5)), KEY) for draw in (output, target))
        yield Program("losses", name, lambda o, t, loss=loss: (loss.value(o, t), loss.gradient(o, t)), tuple(shapes))


def rules() -> Iterator[Program]:
    """A training step of every rule in the registry."""
    for name, case in RULES.items():
        hyperparameter = () if case.hyperparameter is None else (case.hyperparameter,)
        rule = case.make(case.network, case.loss, *hyperparameter)
        yield Program("rules", name, *step_of(rule, optax.sgd(0.1), case.network, case.in_shape))


def optimizers() -> Iterator[Program]:
    """A training step of every optimizer in the registry."""
    for name, (make, hyperparameter) in OPTIMIZERS.items():
        yield Program("optimizers", name, *step_of(RULE, make(hyperparameter)))


NETWORK = bp.mlp((16, 32, 8), bp.tanh)
RULE = bp.backprop(NETWORK, bp.squared_error)
IN_SHAPE = (16,)


def step_of(
    rule: bp.Rule, optimizer: optax.GradientTransformation, network: bp.Layer = NETWORK, in_shape=IN_SHAPE
) -> tuple[Callable, tuple]:
    """A training step, and the shapes of its state and of a batch."""
    params = params_of(network, in_shape)
    start = lambda key, params: bp.training.TrainState(params, optimizer.init(params), rule.init(key, params))
    x = floats(EXAMPLES, *in_shape)
    target = jax.eval_shape(network.forward, params, x)[0]
    return bp.make_train_step(rule, optimizer), (jax.eval_shape(start, KEY, params), (x, target))


def training() -> Iterator[Program]:
    """The compiled part of `fit`, and sweeps in both layouts that XLA compiles."""
    for name, size in (("fit, all examples", None), ("fit, batches of 2", 2)):
        made = bp.training.make_training(RULE, optax.adam(0.01), (bp.error_below(0.1),), size, chunk=10)
        run = jax.eval_shape(lambda key, made=made: made.init(key, NETWORK.init(key, IN_SHAPE)[0], 100), KEY)
        yield Program("training", name, made.advance, (run, (floats(EXAMPLES, 16), floats(EXAMPLES, 8))))
    computation, constants = traced_sweep()
    constants = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), constants)
    for name in ("lanes", "vmap"):
        layout = Layout(name, width=1024, chunk=32, feed=1024)
        program = PoolProgram(computation, layout, ())
        number, rates = jax.ShapeDtypeStruct((1024,), jnp.int32), {"learning_rate": floats(1024)}
        seeds = jax.ShapeDtypeStruct((1024,), jnp.uint32)
        prepare = (constants, KEY, seeds, rates, number)
        pool = jax.eval_shape(program.pool_of, constants, jax.eval_shape(program.prepare, *prepare))
        chunks, last = jax.ShapeDtypeStruct((), jnp.int32), jax.ShapeDtypeStruct((), bool)
        yield Program("training", f"sweep in {name}, starts", program.prepare, prepare)
        yield Program("training", f"sweep in {name}, epochs", program.advance, (constants, pool, chunks, last))


def traced_sweep():
    """1,024 trainings of XOR, traced: the computation and its constants."""
    network = bp.mlp((2, 2, 1), bp.sigmoid, bp.sigmoid)
    key = jax.random.key(0)

    def xor(key, learning_rate):
        params, _ = network.init(key, (2,))
        rule, optimizer = bp.backprop(network, bp.squared_error), bp.momentum(learning_rate, 0.9)
        return bp.trial(rule, optimizer, params, bp.xor().present(), key=key, stops=bp.outputs_within(0.4))

    return trace(xor, plan(xor, {"seed": range(32), "learning_rate": [0.1 * i for i in range(1, 33)]}, key), key)


def tape() -> Iterator[Program]:
    """Gradients by the tape: of a network, of a loop and of a sorted sum."""
    x, params = floats(EXAMPLES, 16), params_of(NETWORK, IN_SHAPE)

    def loop(x):
        return jax.lax.scan(lambda carry, row: (jnp.tanh(carry + row), carry), jnp.zeros(16), x)[0].sum()

    def ordered(x):
        return (jnp.sort(x, axis=0) * jnp.arange(EXAMPLES, dtype=x.dtype)[:, None]).sum()

    def error(params, x):
        return (NETWORK.forward(params, x)[0] ** 2).sum()

    yield Program("tape", "reverse of a network", bp.reverse(error), (params, x))
    yield Program("tape", "reverse of a scan", bp.reverse(loop), (x,))
    yield Program("tape", "reverse of a sort", bp.reverse(ordered), (x,))


def devices() -> Iterator[Program]:
    """Steps on several devices: the examples divided, and the weights too."""
    step, (state, batch) = step_of(RULE, optax.adam(0.01))
    yield Program("devices", "data-parallel step", step, (state, batch), (WHOLE, BY_EXAMPLE))
    norms = bp.chain(bp.dense(8), bp.layers.batch_norm(), bp.relu, bp.dense(8))
    step, (state, batch) = step_of(bp.backprop(norms, bp.squared_error), optax.adam(0.01), norms)
    yield Program("devices", "data-parallel step with batch norm", step, (state, batch), (WHOLE, BY_EXAMPLE))
    params, (x, target) = params_of(NETWORK, IN_SHAPE), batch
    columns, rows = PartitionSpec(None, "model"), PartitionSpec("model", None)
    divided = (type(params[0])(columns, PartitionSpec("model")), (), type(params[2])(rows, PartitionSpec()))
    grads = lambda params, x, target: RULE.grads(params, (), (x, target))[:2]
    yield Program("devices", "dense layers divided", grads, (params, x, target), (divided, BY_EXAMPLE, BY_EXAMPLE))
    attention = bp.attention(2)
    heads, x = params_of(attention, (12, 16)), floats(EXAMPLES, 12, 16)
    by_head = type(heads)(columns, columns, columns, rows, *[PartitionSpec("model")] * 2, PartitionSpec())
    passes = functools.partial(both_passes, attention)
    yield Program("devices", "attention heads divided", passes, (heads, x, x), (by_head, BY_EXAMPLE, BY_EXAMPLE))


GROUPS: dict[str, Callable[[], Iterator[Program]]] = {
    "layers": layers,
    "losses": losses,
    "rules": rules,
    "optimizers": optimizers,
    "training": training,
    "tape": tape,
    "devices": devices,
}


def programs(only: Iterable[str] = ()) -> list[Program]:
    """All programs, or those of the groups and with the parts of names that `only` lists."""
    chosen = [program for make in GROUPS.values() for program in make()]
    return [p for p in chosen if not only or any(word == p.group or word in p.name for word in only)]
