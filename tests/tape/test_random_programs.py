"""`reverse` of random programs against `jax.grad` and central differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from full_size import FULL
from oracles import relative_error
from passes import quick_jit
from tape.random_programs import BODIES, KINDS, SHAPES, draw, random_program

from bpjax.tape import reverse

BOTH = (0, 1, 2)
"""All arguments: scalar, vector, matrix."""


def along(seed, arguments):
    """A random direction for each argument."""
    random = np.random.default_rng(seed)
    return [random.standard_normal(a.shape) for a in arguments]


def check(seeds, size):
    """Each program by hand and by `jax.grad`, all compiled as one, and by central differences in NumPy."""
    programs = [random_program(seed, size(seed)) for seed in seeds]

    def gradients(arguments):
        pairs = [(program, a) for (program, _), a in zip(programs, arguments, strict=True)]
        return [(reverse(f, BOTH)(*a), jax.value_and_grad(f, BOTH)(*a)) for f, a in pairs]

    found = quick_jit(gradients)([arguments for _, arguments in programs])
    for seed, (program, arguments), (by_hand, by_jax) in zip(seeds, programs, found, strict=True):
        scale = max(float(jnp.max(jnp.abs(g))) for g in by_jax[1])
        assert relative_error(by_hand[0], by_jax[0]) < 1e-12, seed
        for ours, theirs in zip(by_hand[1], by_jax[1], strict=True):
            assert np.max(np.abs(ours - theirs)) <= 1e-11 * scale, seed
        direction, step = along(seed, arguments), 1e-5
        up, down = ([a + s * d for a, d in zip(arguments, direction, strict=True)] for s in (step, -step))
        difference = (program.evaluate(np, up) - program.evaluate(np, down)) / (2 * step)
        slope = sum(np.vdot(g, d) for g, d in zip(by_hand[1], direction, strict=True))
        assert abs(slope - difference) <= 2e-5 * (scale + abs(slope)), seed


def test_the_programs_contain_every_operation():
    """Drawing is deterministic, and every operation and structure occurs in a few hundred programs."""
    seen = set()

    def names(program):
        for step in program.steps:
            seen.add(step.name)
            if step.body is not None:
                names(step.body)

    for seed in range(120):
        random = np.random.default_rng(seed)
        names(draw(random, [np.asarray(random.uniform(0.3, 1.5, shape)) for shape in SHAPES], 50, True))
    assert seen == {*KINDS, *BODIES}


@pytest.mark.parametrize("first", [0, pytest.param(8, marks=pytest.mark.thorough)])
def test_small_programs(first):
    """5 to 20 operations."""
    check(range(first, first + 8), lambda seed: 5 + seed)


@pytest.mark.thorough
def test_programs_of_50_operations():
    check(range(1000, 1002), lambda seed: 50)


@pytest.mark.thorough
def test_many_programs():
    """Of 5 to 50 operations."""
    check(range(2000, 2080 if FULL else 2010), lambda seed: 5 + seed * 7 % 46)
