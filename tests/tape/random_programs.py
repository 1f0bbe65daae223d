"""Random differentiable programs, drawn by an integer, that NumPy and JAX both evaluate.

NumPy evaluates each step while it is drawn: a step whose values leave the safe range of its operation is not taken.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

SHAPES = (), (3,), (3, 3)
LARGEST, SMALLEST = 20.0, 1e-3  # absolute values of the entries
GAP = 1e-3  # the least difference of compared numbers: none is near a kink or a jump


class Step(NamedTuple):
    """One operation of a program."""

    name: str
    inputs: tuple[int, ...]  # positions among the values so far
    constant: Any
    body: "Program | None"


class Program(NamedTuple):
    """Steps that compute values one after the other from those of the arguments, and a result."""

    steps: tuple[Step, ...]
    result: Callable  # (xp, values) -> result

    def __call__(self, *arguments):
        """The result by JAX."""
        return self.evaluate(jnp, arguments)

    def evaluate(self, xp, arguments):
        """The result by NumPy (`xp=np`) or JAX (`xp=jnp`): of a scalar, a vector, a matrix."""
        values = list(arguments)
        for step in self.steps:
            values.append(apply(xp, step, [values[k] for k in step.inputs]))
        return self.result(xp, values)


class Kind(NamedTuple):
    """How an operation is drawn and evaluated."""

    ranks: tuple  # the ranks that each input may have, None for any; "same" for that of the first input or a scalar
    apply: Callable  # (xp, constant, *inputs) -> value
    safe: Callable = lambda *inputs: True


def above(least):
    return lambda *xs: all(np.min(x) > least for x in xs)


def within(most):
    return lambda *xs: all(np.max(np.abs(x)) < most for x in xs)


def apart(x, y):
    return np.min(np.abs(x - y)) > GAP


def untied(x):
    return x.size == 1 or np.min(np.diff(np.sort(x.ravel()))) > GAP


def unary(function, safe=lambda *inputs: True):
    return Kind((None,), lambda xp, c, x: function(xp, x), safe)


def scattered(xp, c, m, v):
    if xp is jnp:
        return m.at[jnp.array([2, 0])].add(v)
    m = m.copy()
    m[[2, 0]] += v
    return m


KINDS = {
    "sin": unary(lambda xp, x: xp.sin(x)),
    "cos": unary(lambda xp, x: xp.cos(x)),
    "tanh": unary(lambda xp, x: xp.tanh(x)),
    "arctan": unary(lambda xp, x: xp.arctan(x)),
    "square": unary(lambda xp, x: xp.square(x)),
    "cube": unary(lambda xp, x: x**3, within(2.5)),
    "negative": unary(lambda xp, x: -x),
    "abs": unary(lambda xp, x: xp.abs(x), lambda x: np.min(np.abs(x)) > GAP),
    "exp": unary(lambda xp, x: xp.exp(x), within(2)),
    "expm1": unary(lambda xp, x: xp.expm1(x), within(2)),
    "log": unary(lambda xp, x: xp.log(x), above(0.2)),
    "log1p": unary(lambda xp, x: xp.log1p(x), above(-0.7)),
    "sqrt": unary(lambda xp, x: xp.sqrt(x), above(0.2)),
    "rsqrt": unary(lambda xp, x: lax.rsqrt(x) if xp is jnp else 1 / np.sqrt(x), above(0.2)),
    "logistic": unary(lambda xp, x: jax.nn.sigmoid(x) if xp is jnp else 1 / (1 + np.exp(-x))),
    "relu": unary(lambda xp, x: jax.nn.relu(x) if xp is jnp else np.maximum(x, 0), lambda x: np.min(np.abs(x)) > GAP),
    "plus": Kind((None,), lambda xp, c, x: x + c),
    "times": Kind((None,), lambda xp, c, x: x * c),
    "twice": Kind((None,), lambda xp, c, x: 2 * x),
    "add": Kind((None, "same"), lambda xp, c, x, y: x + y),
    "subtract": Kind((None, "same"), lambda xp, c, x, y: x - y),
    "multiply": Kind((None, "same"), lambda xp, c, x, y: x * y),
    "divide": Kind((None, "same"), lambda xp, c, x, y: x / y, lambda x, y: np.min(np.abs(y)) > 0.3),
    "power": Kind((None, "same"), lambda xp, c, x, y: x**y, lambda x, y: above(0.3)(x) and within(3)(y)),
    "maximum": Kind((None, "same"), lambda xp, c, x, y: xp.maximum(x, y), apart),
    "minimum": Kind((None, "same"), lambda xp, c, x, y: xp.minimum(x, y), apart),
    "where": Kind((None, "same"), lambda xp, c, x, y: xp.where(x > c, xp.sin(x), x * y), lambda x, y: True),
    "sum": Kind(((1, 2),), lambda xp, c, x: xp.sum(x)),
    "mean": Kind(((1, 2),), lambda xp, c, x: xp.mean(x)),
    "rows": Kind((2,), lambda xp, c, x: xp.sum(x, axis=1)),
    "max": Kind(((1, 2),), lambda xp, c, x: xp.max(x), untied),
    "product": Kind((1,), lambda xp, c, x: xp.prod(x), within(3)),
    "norm": Kind(((1, 2),), lambda xp, c, x: xp.sqrt(xp.sum(x * x)), lambda x: np.sum(x * x) > 0.1),
    "matmul": Kind((2, (1, 2)), lambda xp, c, x, y: x @ y, within(4)),
    "inner": Kind((1, 1), lambda xp, c, x, y: x @ y),
    "outer": Kind((1, 1), lambda xp, c, x, y: xp.outer(x, y)),
    "transpose": Kind((2,), lambda xp, c, x: x.T),
    "row": Kind((2,), lambda xp, c, x: x[1]),
    "entry": Kind((1,), lambda xp, c, x: x[2]),
    "reverse": Kind(((1, 2),), lambda xp, c, x: x[::-1]),
    "gather": Kind(((1, 2),), lambda xp, c, x: x[xp.array([2, 0, 2])]),
    "concatenate": Kind((1, 1), lambda xp, c, x, y: xp.concatenate([x[1:], y[:1]])),
    "cumsum": Kind((1,), lambda xp, c, x: xp.cumsum(x)),
    "sort": Kind((1,), lambda xp, c, x: xp.sort(x), untied),
    "scatter": Kind((2, 1), lambda xp, c, x, y: scattered(xp, c, x, xp.stack([y, y * y]))),
    "stack": Kind((0, 0, 0), lambda xp, c, x, y, z: xp.stack([x, y, z])),
    "softmax": Kind((1,), lambda xp, c, x: xp.exp(x) / xp.sum(xp.exp(x)), within(3)),
}
"""Operations without a program inside."""

BODIES = ("jit", "call", "checkpoint", "scan", "fori", "cond")
"""Operations with a program inside: (state, scalar) -> state of the same shape."""


def apply(xp, step: Step, inputs):
    """The value of a step."""
    if step.body is None:
        return KINDS[step.name].apply(xp, step.constant, *inputs)
    state, other = inputs
    body = lambda state, x: step.body.evaluate(xp, (state, x))  # noqa: E731
    if step.name == "scan":
        return scan(xp, body, state, other)
    if step.name == "fori":
        if xp is jnp:
            return lax.fori_loop(0, 3, lambda k, s: body(s, other + 0.1 * k), state)
        for k in range(3):
            state = body(state, other + 0.1 * k)
        return state
    if step.name == "cond":
        otherwise = lambda state, x: state * x  # noqa: E731
        if xp is jnp:
            return lax.cond(other > step.constant, body, otherwise, state, other)
        return body(state, other) if other > step.constant else otherwise(state, other)
    wrap = {"jit": jax.jit, "checkpoint": jax.checkpoint}.get(step.name, lambda f: f) if xp is jnp else lambda f: f
    return wrap(body)(state, other)


def scan(xp, body, state, xs):
    """The last state plus the mean of what each step returns."""
    if xp is jnp:
        step = lambda s, x: (body(s, x), jnp.sum(s) * x)  # noqa: E731
        last, ys = lax.scan(step, state, xs)
        return last + jnp.mean(ys)
    ys = []
    for x in xs:
        state, y = body(state, x), np.sum(state) * x
        ys.append(y)
    return state + np.mean(ys)


def random_program(seed: int, size: int = 50, structured: bool = True) -> tuple[Program, list]:
    """A random program and its arguments.

    Args:
        seed: of the draw.
        size: how many operations the program has, with those of the programs inside.
        structured: with calls, loops and branches.

    Returns:
        the program of (scalar, vector, matrix) -> scalar, and NumPy arguments.
    """
    random = np.random.default_rng(seed)
    arguments = [np.asarray(random.uniform(0.3, 1.5, shape)) for shape in SHAPES]
    return draw(random, arguments, size, structured), arguments


def draw(random, arguments, size: int, structured: bool, like=None) -> Program:
    """A program for the values of given arguments; its result is like a given value, or a scalar."""
    values, steps, used = list(arguments), [], set()
    budget = size
    while budget > 0:
        step = draw_step(random, values, budget, structured)
        if step is None:
            continue
        with np.errstate(all="ignore"):
            value = np.asarray(apply(np, step, [values[k] for k in step.inputs]))
        if not acceptable(value):
            continue
        budget -= 1 + (0 if step.body is None else len(step.body.steps))
        used.update(step.inputs)
        steps.append(step)
        values.append(value)
    unused = [k for k in range(len(values)) if k not in used]
    weights = random.uniform(0.3, 1.5, len(unused)) * random.choice([-1, 1], len(unused))

    def result(xp, values):
        total = sum(float(w) * xp.mean(values[k]) for w, k in zip(weights, unused, strict=True))
        return total if like is None else xp.tanh(values[0] + total)

    return Program(tuple(steps), result)


def draw_step(random, values, budget: int, structured: bool) -> Step | None:
    """A step whose inputs have the right ranks and are in its safe range, or None where the draw has none."""
    if structured and budget > 4 and random.random() < 0.12:
        return draw_structure(random, values, budget)
    name = str(random.choice(list(KINDS)))
    kind, inputs = KINDS[name], []
    for ranks in kind.ranks:
        allowed = (0, 1, 2) if ranks is None else (ranks,) if isinstance(ranks, int) else ranks
        if ranks == "same":
            allowed = {0, values[inputs[0]].ndim}
        fitting = [k for k, v in enumerate(values) if v.ndim in allowed]
        if not fitting:
            return None
        recent = fitting[-4:] if random.random() < 0.6 else fitting
        inputs.append(int(random.choice(recent)))
    chosen = [values[k] for k in inputs]
    constant = round(float(random.uniform(0.3, 1.7)), 3)
    if not kind.safe(*chosen) or (name == "where" and not apart(chosen[0], constant)):
        return None
    return Step(name, tuple(inputs), constant, None)


def draw_structure(random, values, budget: int) -> Step | None:
    """A call, loop or branch with a random program inside."""
    name = str(random.choice(BODIES))
    states = [k for k, v in enumerate(values) if v.ndim < 2]
    others = [k for k, v in enumerate(values) if v.ndim == (1 if name == "scan" else 0)]
    if not states or not others:
        return None
    state, other = int(random.choice(states)), int(random.choice(others))
    constant = round(float(random.uniform(-0.5, 1)), 3)
    if name == "cond" and not apart(values[other], constant):
        return None
    size = int(random.integers(2, min(budget, 8)))
    scalar = np.asarray(values[other].ravel()[0])
    body = draw(random, [values[state], scalar], size, random.random() < 0.2, like=values[state])
    return Step(name, (state, other), constant, body)


def acceptable(value) -> bool:
    """Whether all entries are finite and of moderate size."""
    size = np.abs(value[value != 0])
    return bool(np.all(np.isfinite(value)) and (size.size > 0) and np.max(size) < LARGEST and np.min(size) > SMALLEST)
