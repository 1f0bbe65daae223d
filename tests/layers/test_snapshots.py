"""Checkpointing: the schedule against brute force, what the compiled loop repeats and stores, and its gradients."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import relative_error
from passes import compiled, moved, noise_like, quick_jit, run, run_and_vjp

import bpjax as bp
from bpjax.layers.checkpointed import sweep_back, sweep_forward
from bpjax.layers.recurrent.gated import LstmState
from bpjax.layers.snapshots import binomial_schedule, repeated_steps


@functools.cache
def least(steps: int, snapshots: int) -> int:
    """The fewest repeated steps over all places of the next snapshot, by dynamic programming."""
    if steps == 1 or snapshots == 1:
        return steps * (steps - 1) // 2
    return min(m + least(steps - m, snapshots - 1) + least(m, snapshots) for m in range(1, steps))


def executed(steps: int, snapshots: int) -> tuple[int, int]:
    """(repeated steps, largest number of stored states) of a schedule that really reverses every step."""
    stored, state, to_reverse, computed, most = {}, 0, steps - 1, 0, 0
    for kind, step, slot in binomial_schedule(steps, snapshots):
        if kind == "restore":
            state = stored[slot]
        elif kind == "snapshot":  # overwrites that slot; those above it hold later states, which are no longer needed
            stored = {i: kept for i, kept in stored.items() if i < slot} | {slot: state}
            most = max(most, len(stored))
        assert state == step
        computed += kind in ("advance", "reverse")
        state += kind in ("advance", "reverse")
        if kind == "reverse":
            assert step == to_reverse
            to_reverse -= 1
    assert to_reverse == -1
    return computed - steps, most


def test_623_schedules_repeat_the_least_number_of_steps():
    cases = [(steps, snapshots) for snapshots in range(1, 8) for steps in range(1, 90)]
    assert len(cases) == 623
    for case in cases:
        repeated, stored = executed(*case)
        assert repeated == least(*case) == repeated_steps(*case)
        assert stored <= case[1]


@pytest.mark.parametrize(
    ("steps", "snapshots", "repeated"),
    [(10, 3, 15), (56, 3, 210), (100, 4, 374), (100, 10, 222), (1000, 10, 3636), (50, 1, 1225)],  # Griewank & Walther
)
def test_published_numbers(steps, snapshots, repeated):
    assert repeated_steps(steps, snapshots) == repeated == executed(steps, snapshots)[0]


def test_many_snapshots_store_every_state_but_the_last():
    assert repeated_steps(9, 8) == repeated_steps(9, 10**6) == 8
    assert executed(9, 10**6) == (8, 8)
    assert binomial_schedule(1, 4) == [("reverse", 0, -1)]


@pytest.mark.parametrize("arguments", [(0, 1), (5, 0), (5.0, 1), (True, 2), (5, None)])
@pytest.mark.parametrize("function", [repeated_steps, binomial_schedule])
def test_bad_numbers_get_a_sentence(function, arguments):
    with pytest.raises(ValueError, match=f"`{function.__name__}` expected `(steps|snapshots)` to be an integer ≥ 1"):
        function(*arguments)


@pytest.mark.parametrize(
    "make", [lambda s: bp.unroll(bp.lstm(2), snapshots=s), lambda s: bp.layers.repeat(bp.tanh, 2, s)]
)
def test_a_bad_number_of_snapshots(make):
    for bad in (0, 2.5, "three", False):
        with pytest.raises(ValueError, match="expected `snapshots` to be an integer ≥ 1"):
            make(bad)


# --- The loop --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("steps", "snapshots"), [(1, 1), (9, 2), (17, 3)])
def test_the_loop_executes_exactly_the_repeated_steps(steps, snapshots):
    """sₖ₊₁ = 0.9 sₖ + k: the reversal sums what each step sees, in the order of its calls."""
    forward, backward, reversed_ = [], [], []

    def step(seen):
        def step(index, state):
            jax.debug.callback(lambda k: seen.append(int(k)), index, ordered=True)
            return 0.9 * state + index, 2 * state, state

        return step

    def back(index, residual, total):
        jax.debug.callback(lambda k: reversed_.append(int(k)), index, ordered=True)
        return total + residual, residual

    state, outputs, stored = sweep_forward(step(forward), jnp.float64(1), steps, snapshots, every=True)
    total, residuals = sweep_back(step(backward), back, stored, jnp.float64(0), steps, snapshots)
    jax.effects_barrier()
    states = [1.0]
    for k in range(steps):
        states.append(0.9 * states[-1] + k)
    assert forward.count(-1) == 0 and sorted(set(forward)) == list(range(steps))
    assert len(backward) == repeated_steps(steps, snapshots)
    assert reversed_ == list(range(steps))[::-1]
    assert len(jax.tree.leaves(stored.states)) == 0 or len(stored.states) == min(snapshots, steps - 1)
    np.testing.assert_allclose(state, states[-1], rtol=1e-15)
    np.testing.assert_allclose(residuals, states[:-1], rtol=1e-15)
    np.testing.assert_allclose(outputs, 2 * residuals)
    np.testing.assert_allclose(total, sum(states[:-1]), rtol=1e-15)


# --- Layers ----------------------------------------------------------------------------------------------------------

STAGE = bp.layers.stage(bp.chain(bp.dense(3), bp.tanh), 3)
LAYERS = {
    "lstm": ((bp.unroll, bp.lstm(3)), {}, (7, 2)),
    "jordan, last": ((bp.unroll, bp.layers.jordan(3, 2)), {"last": True}, (6, 2)),
    "reversed in blocks": ((bp.unroll, bp.layers.elman(3)), {"reverse": True, "truncate": 2}, (5, 2)),
    "reversed, last": ((bp.unroll, STAGE), {"reverse": True, "last": True}, (5, 2)),
    "one step": ((bp.unroll, STAGE), {}, (1, 2)),
    "both directions": ((bp.layers.bidirectional, bp.layers.elman(2)), {"last": True}, (4, 2)),
    "repeat": ((bp.layers.repeat, bp.chain(bp.dense(4), bp.tanh), 6), {}, (4,)),
    "repeat once": ((bp.layers.repeat, bp.dense(4), 1), {}, (4,)),
}


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[] if n == "reversed, last" else pytest.mark.thorough) for n in LAYERS]
)
def test_gradients_are_those_of_jax_and_of_the_stored_states(name, keys):
    (make, *args), options, in_shape = LAYERS[name]
    layer, stored = make(*args, **options, snapshots=2), make(*args, **options)
    params, _ = layer.init(next(keys), in_shape)
    params = moved(params, keys, 0.2)
    x = noise_like(jax.ShapeDtypeStruct((2, *in_shape), jnp.float64), keys)
    dy = noise_like(jax.eval_shape(layer.forward, params, x)[0], keys)
    y, ours, oracle = compiled(run_and_vjp)(layer, params, x, dy)
    assert relative_error(ours, oracle) < 1e-12
    assert relative_error((y, ours), compiled(run)(stored, params, x, dy)) < 1e-12
    assert "snapshots=2" in repr(layer) and "snapshots" not in repr(stored)


@pytest.mark.thorough
def test_with_a_state(keys):
    layer = bp.unroll(bp.lstm(3), with_state=True, snapshots=3)
    params, _ = layer.init(next(keys), ((9, 2), layer_state := (LstmState((3,), (3,)))))
    is_shape = lambda s: s in ((3,),)
    x = noise_like(
        (jax.ShapeDtypeStruct((2, 9, 2), jnp.float64), jax.tree.map(
            lambda s: jax.ShapeDtypeStruct((2, *s), jnp.float64), layer_state, is_leaf=is_shape)), keys,
    )  # fmt: skip
    dy = noise_like(jax.eval_shape(layer.forward, params, x)[0], keys)
    _, ours, oracle = compiled(run_and_vjp)(layer, params, x, dy)
    assert relative_error(ours, oracle) < 1e-12


def test_a_gradient_by_hand():
    """s' = s x with s₀ = 2: y = 2 x₀ x₁ x₂, dxₖ = y / xₖ and ds₀ = y / s₀."""
    cell = bp.layers.dynamics(lambda _, s, x: s * x, (1,))
    layer = bp.unroll(cell, with_state=True, last=True, snapshots=1)
    x = jnp.array([3.0, 5.0, 7.0]).reshape(1, 3, 1)
    (y, final), residuals = layer.forward((), (x, jnp.full((1, 1), 2.0)))
    _, (dx, dstate) = layer.backward((), residuals, (jnp.ones_like(y), jnp.zeros_like(final)))
    assert y.item() == final.item() == 210
    assert (dx.ravel().tolist(), dstate.item()) == ([70, 42, 30], 105)


@pytest.mark.thorough
def test_dropout_draws_the_same_masks_again(keys):
    block = bp.chain(bp.dense(4), bp.dropout(0.5))
    layer, stored = (bp.layers.keyed(bp.layers.repeat(block, 5, snapshots)) for snapshots in (2, None))
    params, _ = layer.init(next(keys), (4,))
    x, dy = (noise_like(jax.ShapeDtypeStruct((3, 4), jnp.float64), keys) for _ in range(2))
    results = [compiled(run)(which, params, (x, jax.random.key(3)), dy) for which in (layer, stored)]
    assert relative_error(*results) < 1e-13


@pytest.mark.thorough
def test_the_backward_pass_can_be_differentiated_and_batched(keys):
    layer, stored = (bp.layers.repeat(bp.chain(bp.dense(3), bp.tanh), 5, snapshots) for snapshots in (2, None))
    params, _ = layer.init(next(keys), (3,))
    xs = jax.random.normal(next(keys), (2, 4, 3))

    def curvature(layer, params, x):
        y, residuals = layer.forward(params, x)
        return sum(jnp.sum(g**2) for g in jax.tree.leaves(layer.backward(params, residuals, y)))

    def of(layer):
        return quick_jit(jax.vmap(jax.grad(functools.partial(curvature, layer)), (None, 0)))(params, xs)

    assert relative_error(of(layer), of(stored)) < 1e-12


def gradient_of(layer):
    def gradient(params, x):
        y, residuals = layer.forward(params, x)
        return layer.backward(params, residuals, y)

    return jax.jit(gradient)


def allocated(layer, in_shape) -> int:
    """Temporary bytes of the compiled gradient."""
    params = jax.eval_shape(lambda key: layer.init(key, in_shape)[0], jax.random.key(0))
    x = jax.ShapeDtypeStruct((2, *in_shape), jnp.float64)
    memory = gradient_of(layer).lower(params, x).compile().memory_analysis()
    assert memory is not None
    return memory.temp_size_in_bytes


@pytest.mark.thorough
def test_memory_grows_with_the_snapshots_not_with_the_steps():
    """A state (2, 32) takes 512 bytes, the residuals of an Elman step, h and y, 1,024."""
    make = lambda snapshots: bp.unroll(bp.layers.elman(32), last=True, snapshots=snapshots)
    everything, few, more, longer = (
        allocated(make(snapshots), (steps, 1))
        for snapshots, steps in ((None, 400), (5, 400), (25, 400), (5, 800))
    )  # fmt: skip
    assert everything > 400 * 1024
    assert few < everything / 5
    assert 15 * 512 <= more - few <= 25 * 512
    assert longer - few < 0.1 * 400 * 512  # x and dx, and the table of the schedule


def test_the_program_does_not_grow_with_the_steps():
    def lines(steps):
        layer = bp.unroll(bp.layers.elman(3), snapshots=4)
        params = jax.eval_shape(lambda key: layer.init(key, (steps, 2))[0], jax.random.key(0))
        text = str(jax.make_jaxpr(gradient_of(layer))(params, jnp.ones((1, steps, 2))))
        return text.count(" = ")

    assert lines(1000) == lines(20)
