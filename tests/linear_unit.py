"""A linear unit on random data, for tests of training: one optimizer and one rule, so that they share programs."""

import functools

import jax
import numpy as np
import optax
from passes import quick_jit

import bpjax as bp

RATE = 0.05
SGD = optax.sgd(RATE)
UNIT = bp.dense(1)
RULE = bp.backprop(UNIT, bp.squared_error)
grads = quick_jit(lambda params, batch: RULE.grads(params, (), batch)[:2])


@functools.cache
def linear(examples=10):
    """The rule, params and batch."""
    one, two, three = (jax.random.fold_in(jax.random.key(20261123), i) for i in range(3))
    batch = jax.random.normal(two, (examples, 3)), jax.random.normal(three, (examples, 1))
    return RULE, UNIT.init(one, (3,))[0], batch


def numpy_epochs(params, batch, sizes, epochs):
    """Gradient descent on ½ Σ (t − x·w − b)² by NumPy, in the order of the examples; the error of every epoch."""
    w, b = (np.array(p) for p in params)
    x, t = (np.asarray(a) for a in batch)
    errors = []
    for _ in range(epochs):
        total, start = 0.0, 0
        for size in sizes:
            rows = slice(start, start + size)
            delta = x[rows] @ w + b - t[rows]
            total += 0.5 * (delta**2).sum()
            w, b = w - RATE * x[rows].T @ delta, b - RATE * delta.sum(axis=0)
            start += size
        errors.append(total)
    return w, b, errors
