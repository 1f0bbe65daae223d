"""Laws that every optimizer obeys, over the table of all of them."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from passes import quick_jit
from quadratic import at, close, error, path, plain_step, run, start

import bpjax as bp
from bpjax.optimizers.registry import OPTIMIZERS
from bpjax.optimizers.undo import accepted_points

EVERY_OPTIMIZER = pytest.mark.parametrize("name", OPTIMIZERS)
SCALES = (1.0, 0.5, 1.3)
MASK, REST = {"w": bp.layers.Affine(True, False)}, {"w": bp.layers.Affine(False, True)}
POISONS = {"nan": jnp.nan, "inf": jnp.inf}


def make(name, scale=1.0):
    case = OPTIMIZERS[name]
    return case.make(scale * case.hyperparameter)


def undoes(name):
    return bool(accepted_points(make(name).init(start())))


# What the laws compare, computed in one compiled program for each optimizer.


def behind_a_clip(optimizer):
    """Three steps in an optax chain, and the same by hand."""
    (chained, _), _ = run(optax.chain(optax.clip(0.5), optimizer), 3)
    params = start()
    state = optimizer.init(params)
    for _ in range(3):
        clipped = jax.tree.map(lambda g: jnp.clip(g, -0.5, 0.5), jax.grad(error)(params))
        updates, state = optimizer.update(clipped, state, params, value=error(params))
        params = optax.apply_updates(params, updates)
    return chained, params


def masked(optimizer):
    """A step under a mask that leaves the bias out, the same on the weights alone, and one that freezes the bias."""
    params = start()
    value, grads = jax.value_and_grad(error)(params)
    under_mask = optax.masked(optimizer, MASK)
    updates, _ = under_mask.update(grads, under_mask.init(params), params, value=value)
    own = {"w": bp.layers.Affine(params["w"].w, None)}
    expected, _ = optimizer.update({"w": bp.layers.Affine(grads["w"].w, None)}, optimizer.init(own), own, value=value)
    frozen = optax.chain(under_mask, optax.masked(optax.set_to_zero(), REST))
    after, _, _ = bp.optimizers.take_step(frozen, grads, frozen.init(params), params, value)
    return {"updates": updates, "grads": grads, "expected": expected, "frozen": after}


def poisoned(optimizer, params, state):
    """`take_step` with one entry of the gradient replaced by NaN or infinity."""
    value, grads = jax.value_and_grad(error)(params)

    def step(poison):
        bad = {"w": grads["w"]._replace(b=grads["w"].b.at[0].set(poison))}
        return bp.optimizers.take_step(optimizer, bad, state, params, value)

    return {name: step(poison) for name, poison in POISONS.items()}


def guarded(optimizer):
    """`optax.apply_if_finite` around it, after two steps, with a gradient that is NaN."""
    guard = optax.apply_if_finite(optimizer, 5)
    (params, state), _ = run(guard, 2)
    bad = jax.tree.map(lambda w: jnp.full_like(w, jnp.nan), params)
    updates, after = guard.update(bad, state, params, value=1.0)
    return updates, after, state


@functools.cache
def program(name):
    case = OPTIMIZERS[name]

    def measure(hyperparameter):
        optimizer = case.make(hyperparameter)
        steps, values = path(optimizer, 60)
        return {
            "path": steps,
            "values": values,
            "bfloat16": run(optimizer, 4, start("bfloat16"))[0][0],
            "float32": run(optimizer, 4, start("float32"))[0][0],
            "behind a clip": behind_a_clip(optimizer),
            "masked": masked(optimizer),
            "poisoned": poisoned(optimizer, *at(steps, 2)),
            "guarded": None if undoes(name) else guarded(optimizer),
        }

    return quick_jit(measure)


@functools.cache
def measured(name, scale=1.0):
    return program(name)(scale * OPTIMIZERS[name].hyperparameter)


@EVERY_OPTIMIZER
def test_it_learns_a_quadratic(name):
    values = measured(name)["values"]
    assert values[-1] < 1e-2 * values[0]


@EVERY_OPTIMIZER
@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16"])
def test_dtypes_and_structure_are_stable(name, dtype):
    """By tracing alone: what the step returns has the structure, shapes, dtypes and weak types of what it received."""
    optimizer, params = make(name), start(dtype)
    state = optimizer.init(params)
    carry = jax.tree.map(lambda a: a.aval, (params, state))
    (after, new), _ = jax.eval_shape(plain_step(optimizer), (params, state), None)
    assert jax.tree.structure((after, new)) == jax.tree.structure(carry)
    for shapes in ((after, new), (params, jax.eval_shape(optimizer.init, params))):
        for a, b in zip(jax.tree.leaves(shapes), jax.tree.leaves(carry), strict=True):
            assert (a.shape, a.dtype, a.weak_type) == (b.shape, b.dtype, b.weak_type)
    updates, _ = jax.eval_shape(lambda s, p: optimizer.update(jax.grad(error)(p), s, p, value=error(p)), state, params)
    assert {leaf.dtype for leaf in jax.tree.leaves(updates)} == {jnp.dtype(dtype)}
    stored = "float32" if dtype == "bfloat16" else dtype
    wide = [a for a in jax.tree.leaves(state) if a.ndim and jnp.issubdtype(a.dtype, jnp.floating)]
    assert all(a.dtype == stored for a in wide) or undoes(name)  # an accepted point has the weights as they are


@EVERY_OPTIMIZER
def test_bfloat16_follows_float32(name):
    half, full = measured(name)["bfloat16"], measured(name)["float32"]
    assert {leaf.dtype for leaf in jax.tree.leaves(half)} == {jnp.dtype("bfloat16")}
    assert close(bp.util.cast(half, "float32"), full, 0.05)


@EVERY_OPTIMIZER
def test_eager_jit_and_scan_agree_and_the_step_compiles_once(name):
    optimizer, params = make(name), start()
    step = plain_step(optimizer)
    compiled = jax.jit(step)
    eager = jitted = (params, optimizer.init(params))
    for i in range(3):
        eager, _ = step(eager, None)
        jitted, _ = compiled(jitted, None)
        scanned = at(measured(name)["path"], i)
        assert close(eager, scanned, 1e-12) and close(jitted, scanned, 1e-12)
    assert compiled._cache_size() == 1


@pytest.mark.thorough
@EVERY_OPTIMIZER
def test_vmap_over_a_traced_number_equals_one_run_each(name):
    case = OPTIMIZERS[name]
    numbers = case.hyperparameter * jnp.array(SCALES)
    together = quick_jit(jax.vmap(lambda n: run(case.make(n))[0][0]))(numbers)
    for i, scale in enumerate(SCALES):
        params, _ = at(measured(name, scale)["path"], 11)
        assert close(at(together, i), params, 1e-11)


@EVERY_OPTIMIZER
@pytest.mark.parametrize("poison", POISONS)
def test_a_gradient_that_is_not_finite_changes_nothing(name, poison):
    params, state = at(measured(name)["path"], 2)
    after, new, refused = measured(name)["poisoned"][poison]
    assert refused
    if undoes(name):  # the bad point is left for the one before it, at a lower rate
        (point,) = accepted_points(state)
        assert close(accepted_points(new)[0]._replace(undone=False), point._replace(undone=False), 0)
        assert bp.optimizers.hyperparameter(new, "learning_rate") < bp.optimizers.hyperparameter(state, "learning_rate")
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(after))
    else:
        assert close((after, new), (params, state), 0)


@pytest.mark.parametrize("name", [name for name in OPTIMIZERS if not undoes(name)])
def test_optax_can_guard_a_plain_loop(name):
    """Not for those that undo steps: they judge a step themselves, in `take_step`."""
    updates, after, state = measured(name)["guarded"]
    assert all((leaf == 0).all() for leaf in jax.tree.leaves(updates))
    assert close(after.inner_state, state.inner_state, 0) and after.total_notfinite == 1


@EVERY_OPTIMIZER
def test_it_works_in_a_chain_behind_a_clip(name):
    chained, by_hand = measured(name)["behind a clip"]
    assert close(chained, by_hand)


@EVERY_OPTIMIZER
def test_a_mask_leaves_the_rest_unchanged(name):
    found = measured(name)["masked"]
    assert close(found["updates"]["w"].b, found["grads"]["w"].b, 0)  # optax passes masked gradients through
    assert close(found["updates"]["w"].w, found["expected"]["w"].w)
    assert close(found["frozen"]["w"].b, start()["w"].b, 0)


def flax_model(x):
    linen = pytest.importorskip("flax.linen")
    dense = linen.Dense(1)
    return dense.init(jax.random.key(0), x), lambda params: dense.apply(params, x)


def equinox_model(x):
    eqx = pytest.importorskip("equinox")
    arrays, static = eqx.partition(eqx.nn.Linear(2, 1, key=jax.random.key(0)), eqx.is_inexact_array)
    return arrays, lambda params: jax.vmap(eqx.combine(params, static))(x)


@pytest.mark.thorough
@pytest.mark.parametrize("model", [flax_model, equinox_model])
def test_models_of_others_are_trained(model):
    x, t = bp.xor().present()
    params, apply = model(x)
    loss = lambda p: jnp.mean((apply(p) - t) ** 2)
    optimizers = {name: make(name) for name in OPTIMIZERS}

    def step(carry, _):
        after = {}
        for name, optimizer in optimizers.items():
            trained, state = carry[name]
            value, grads = jax.value_and_grad(loss)(trained)
            after[name] = bp.optimizers.take_step(optimizer, grads, state, trained, value)[:2]
        return after, None

    begin = {name: (params, optimizer.init(params)) for name, optimizer in optimizers.items()}
    end, _ = quick_jit(lambda begin: jax.lax.scan(step, begin, None, length=20))(begin)
    for name, (trained, _) in end.items():
        assert loss(trained) < loss(params), name
        assert jax.tree.structure(trained) == jax.tree.structure(params)
