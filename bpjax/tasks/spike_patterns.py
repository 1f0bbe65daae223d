"""Random spike trains with random labels, a task that can only be memorized."""

import jax
import jax.numpy as jnp

from bpjax.tasks.task import Task, check_fits
from bpjax.util.checks import check_count, check_number


def spike_patterns(
    examples: int = 256, inputs: int = 100, steps: int = 200, classes: int = 2, rate: float = 5.0, dt: float = 1.0
) -> Task:
    """Poisson spikes x (N, T, D), 0 or 1 at every step, and a label (N,) drawn at random for each example.

        P(x = 1) = r dt                     r: `rate` in Hz, dt in ms

    The first task of Zenke's SpyTorch tutorials (Neftci, Mostafa & Zenke 2019), for a network with 4 hidden units. The
    labels do not depend on the inputs, so a linear readout of the inputs classifies few examples correctly.

    Args:
        examples: N.
        inputs: D.
        steps: T.
        classes: number of labels, ≥ 2.
        rate: r in Hz.
        dt: of a step, in ms.

    Raises:
        ValueError: a count is not a positive integer, `classes` is below 2, `rate` or `dt` is not above 0, more
            than one spike a step, or the examples do not fit in memory.
    """
    who = "spike_patterns"
    examples, inputs, steps = (
        check_count(who, name, count) for name, count in (("examples", examples), ("inputs", inputs), ("steps", steps))
    )
    classes = check_count(who, "classes", classes, least=2)
    check_number(who, "rate", rate, above=0.0)
    check_number(who, "dt", dt, above=0.0)
    chance = rate * dt / 1000
    if chance > 1:
        raise ValueError(f"`spike_patterns` expected at most one spike a step, `rate` · `dt` ≤ 1000, got {rate * dt}.")

    check_fits(who, f"{examples} examples of {steps} steps and {inputs} inputs", lambda: examples * steps * inputs)

    def present(key=None):
        if key is None:
            raise ValueError("`spike_patterns` expected a key, `present(jax.random.key(0))`, got none.")
        key_spikes, key_labels = jax.random.split(key)
        spikes = jax.random.bernoulli(key_spikes, chance, (examples, steps, inputs))
        labels = jax.random.randint(key_labels, (examples,), 0, classes, jnp.int32)
        return spikes.astype(jnp.result_type(float)), labels

    return Task(f"spike_patterns-{examples}", (steps, inputs), (classes,), present, (4,))
