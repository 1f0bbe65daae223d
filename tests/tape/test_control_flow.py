"""Loops, branches, calls and custom rules: the tape equals `jax.grad`, to first and second order."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from oracles import relative_error
from passes import quick_jit
from tape.control_flow_cases import GROUPS, X, fori_five, while_five

from bpjax.tape import reverse


def of_cases(chosen):
    """A test for each case that is chosen."""
    params = [(group, name) for group, cases in GROUPS.items() for name, case in cases.items() if chosen(case)]
    return pytest.mark.parametrize(("group", "name"), params)


@functools.cache
def computed(group):
    """For each case of a group (value, gradient) by the tape and by JAX, in one program."""

    def program(inputs):
        found = {}
        for name, case in GROUPS[group].items():
            ours = reverse(case.function, case.argnums, **case.options)
            theirs = jax.value_and_grad(case.oracle, case.argnums)
            found[name] = ours(*inputs[name]), theirs(*inputs[name])
        return found

    return quick_jit(program)({name: case.inputs for name, case in GROUPS[group].items()})


@pytest.mark.thorough
@of_cases(lambda case: True)
def test_value_and_gradient(group, name):
    ours, theirs = computed(group)[name]
    assert relative_error(ours, theirs) < 1e-13
    assert [x.dtype for x in jax.tree.leaves(ours)] == [x.dtype for x in jax.tree.leaves(theirs)]


@functools.cache
def second_derivatives(group):
    """The gradient of Σ sin of the gradient: by JAX twice, the tape twice, JAX of the tape backwards and forwards."""

    def program(inputs):
        found = {}
        for name, case in GROUPS[group].items():
            if not case.second:
                continue
            ours = sum_of_sines(reverse(case.function, case.argnums, **case.options))
            theirs = sum_of_sines(jax.value_and_grad(case.oracle, case.argnums))
            arguments = inputs[name]
            found[name] = {
                "JAX": jax.grad(theirs, case.argnums)(*arguments),
                "tape of tape": reverse(ours, case.argnums, **case.options)(*arguments)[1],
                "JAX of tape": jax.grad(ours, case.argnums)(*arguments),
                "along": jax.jvp(theirs, arguments, arguments)[1],
                "forwards of tape": jax.jvp(ours, arguments, arguments)[1],
            }
        return found

    return quick_jit(program)({name: case.inputs for name, case in GROUPS[group].items()})


def sum_of_sines(value_and_gradient):
    return lambda *args: sum(jnp.sum(jnp.sin(d)) for d in jax.tree.leaves(value_and_gradient(*args)[1]))


@pytest.mark.thorough
@of_cases(lambda case: case.second)
def test_second_derivatives(group, name):
    found = second_derivatives(group)[name]
    assert relative_error(found["tape of tape"], found["JAX"]) < 1e-12
    assert relative_error(found["JAX of tape"], found["JAX"]) < 1e-12
    assert relative_error(found["forwards of tape"], found["along"]) < 1e-12


# --- while: what is known, and what is not ---------------------------------------------------------------------------


def test_while_on_known_arrays_counts_its_iterations():
    assert relative_error(reverse(while_five)(X), jax.value_and_grad(fori_five)(X)) < 1e-14


def test_while_without_a_bound_says_what_to_do():
    with pytest.raises(ValueError, match="Pass `while_bound=`"):
        jax.eval_shape(reverse(while_five), X)


def test_while_beyond_its_bound_is_nan():
    """Value and gradient: the loop takes 5 iterations."""
    value, gradient = quick_jit(reverse(while_five, while_bound=4))(X)
    assert np.isnan(value)
    assert np.isnan(gradient[:2]).all()


def test_while_equals_forward_mode():
    """`jax.jvp` differentiates a `while_loop` as it is."""
    _, gradient = quick_jit(reverse(while_five, while_bound=8))(X)
    _, along = jax.jvp(while_five, (X,), (X,))
    assert abs(float(jnp.vdot(gradient, X)) - along) < 1e-14


# --- Effects ---------------------------------------------------------------------------------------------------------


@jax.custom_vjp
def printing_square(x):
    jax.debug.print("custom")
    return x * x


printing_square.defvjp(lambda x: (printing_square(x), x), lambda x, dy: (2 * x * dy,))


def printing(x):
    jax.debug.print("function")

    def step(h, x):
        jax.debug.print("step")
        return h * x, None

    h = lax.scan(step, x[0], x[:2])[0]
    h = lax.cond(x[0] > 0, lambda h: (jax.debug.print("branch"), h * h)[1], lambda h: h, h)
    h = jax.checkpoint(lambda h: (jax.debug.print("checkpoint"), jnp.sin(h))[1])(h)
    h, _ = lax.while_loop(lambda c: c[1] < 2, lambda c: ((jax.debug.print("while"), 2 * c[0])[1], c[1] + 1), (h, 0))
    return printing_square(h)


@pytest.mark.parametrize("compiled", [False, True])
def test_effects_occur_once(compiled, capfd):
    """`jax.debug.print` prints once for each time that the function passes it, and never in the reverse sweep."""
    gradient = reverse(printing, while_bound=3)
    (quick_jit(gradient) if compiled else gradient)(X)
    jax.effects_barrier()
    lines = sorted(capfd.readouterr().out.split())
    assert lines == ["branch", "checkpoint", "custom", "function", "step", "step", "while", "while"]
