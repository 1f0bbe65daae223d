"""Operations whose derivative depends on the positions of dials: custom rules around a primitive."""

import jax
import jax.numpy as jnp

from bpjax.gradcheck.alternatives import Alternative, Situation
from bpjax.gradcheck.widen import is_inexact


@jax.custom_vjp
def scaled(c, x):
    """x, whose cotangent is multiplied by c."""
    return x


scaled.defvjp(lambda c, x: (x, c), lambda c, dx: (jnp.zeros_like(c), (c * dx).astype(dx.dtype)))


def with_statement(choices: list[Alternative], positions: list, x, y):
    """y = f(x), computed before; its cotangent goes to x by the wrong derivative that is chosen."""

    @jax.custom_vjp
    def statement(positions, x, y):
        return y

    def backward(residuals, dy):
        positions, x, y = residuals
        dx, left = jnp.zeros_like(dy), dy
        situation = Situation(lambda *_: [y], {}, [x], [y], [dy])
        for choice, m in zip(choices, positions, strict=True):
            dx = jnp.where(m == 0, dx, choice.compute(situation))
            left = jnp.where(m == 0, left, jnp.zeros_like(dy))
        return [jnp.zeros_like(m) for m in positions], dx, left

    statement.defvjp(lambda positions, x, y: (y, (positions, x, y)), backward)
    return statement(positions, x, y)


def with_dials(plain, params, uses: dict, wrong: dict, positions: dict, extra: list, inputs: list) -> list:
    """The results of an operation; its derivative is chosen by the positions of its dials.

    Args:
        plain: the operation.
        params: of its equation.
        uses: for each differentiated input, the index of the dial c.
        wrong: for each, (index, alternative) of the dials m.
        positions: of these dials, by index.
        extra: arrays that the alternatives read.
        inputs: arrays.
    """

    @jax.custom_vjp
    def operation(positions, extra, *inputs):
        return plain(*inputs)

    def forward(positions, extra, *inputs):
        outputs = plain(*inputs)
        return outputs, (positions, extra, inputs, outputs)

    def backward(residuals, cotangents):
        positions, extra, inputs, outputs = residuals
        chosen = list(uses)

        def alone(*some):
            full = list(inputs)
            for k, x in zip(chosen, some, strict=True):
                full[k] = x
            return [y for y in plain(*full) if is_inexact(y)]

        inexact = [dy for y, dy in zip(outputs, cotangents, strict=True) if is_inexact(y)]
        _, vjp = jax.vjp(alone, *(inputs[k] for k in chosen))
        found: list = [None] * len(inputs)
        situation = Situation(plain, params, list(inputs), outputs, cotangents, extra)
        for k, cotangent in zip(chosen, vjp(inexact), strict=True):
            right = cotangent
            for index, choice in wrong[k]:
                m = positions[index]
                other = choice.compute(situation)
                other = right + other if choice.scaled else other
                cotangent = jnp.where(m == 0, cotangent, jnp.reshape(other, right.shape).astype(right.dtype))
            found[k] = positions[uses[k]] * cotangent
        return jax.tree.map(jnp.zeros_like, positions), [jnp.zeros_like(a) for a in extra], *found

    operation.defvjp(forward, backward)
    return operation(positions, extra, *inputs)
