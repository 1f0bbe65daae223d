"""Real-time recurrent learning: the gradient of a recurrent net forward in time, beside backpropagation through time.

hₜ = tanh(aₜ), aₜ = xₜ Wx + hₜ₋₁ Wh + b. Williams & Zipser (1989) carry the sensitivities Pₜ = ∂hₜ/∂θ along:

    Pₜ = φ′(aₜ) ⊙ (Pₜ₋₁ Wh + ∂aₜ/∂θ)           dθ = Σₜ ⟨dyₜ, Pₜ⟩

For H units P holds H numbers for each of about H² weights, and a step multiplies it by Wh: H⁴ operations, where a step
of backpropagation through time takes H². The gradient is known at every time without looking back.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import bpjax as bp
from bpjax.tape import count_operations


class GradientCost(NamedTuple):
    """One net of H units with one input."""

    units: int
    bptt_operations: float  # of the gradient, for one time step and one example
    rtrl_operations: float


def rtrl(params, x: jax.Array, dy: jax.Array):
    """(y, dparams) of `bp.unroll(bp.layers.elman(H))`, forward in time.

    Args:
        params: those of the layer: wx (D, H), wh (H, H), b (H,).
        x: (N, T, D).
        dy: the derivative of the error by each output, (N, T, H).
    """
    wx, wh, b = params
    units = len(b)
    zero = jax.tree.map(lambda w: jnp.zeros((*w.shape, len(x), units), x.dtype), params)  # ∂h/∂θ
    eye = jnp.eye(units, dtype=x.dtype)

    def step(carry, step):
        h, sensitivity, total = carry
        x, dy = step
        y = jnp.tanh(x @ wx + h @ wh + b[None, :])
        direct = type(params)(  # ∂a/∂θ: wx[d, i], wh[j, i] and b[i] stand in the net input of unit i only
            x.T[:, None, :, None] * eye[None, :, None, :],
            h.T[:, None, :, None] * eye[None, :, None, :],
            jnp.broadcast_to(eye[:, None, :], (units, len(x), units)),
        )
        carried = jax.tree.map(lambda p: jnp.einsum("...nj,ji->...ni", p, wh), sensitivity)
        sensitivity = jax.tree.map(lambda p, own: (p + own) * broadcast(1 - y * y, p), carried, direct)
        total = jax.tree.map(lambda g, p: g + jnp.sum(p * broadcast(dy, p), axis=(-2, -1)), total, sensitivity)
        return (y, sensitivity, total), y

    start = (jnp.zeros((len(x), units), x.dtype), zero, jax.tree.map(jnp.zeros_like, params))
    (_, _, total), y = jax.lax.scan(step, start, (jnp.swapaxes(x, 0, 1), jnp.swapaxes(dy, 0, 1)))
    return jnp.swapaxes(y, 0, 1), total


def broadcast(values: jax.Array, like: jax.Array) -> jax.Array:
    """(N, H) with further axes in front, as many as `like` has."""
    return values.reshape((1,) * (like.ndim - values.ndim) + values.shape)


def bptt(params, x: jax.Array, dy: jax.Array, truncate: int | None = None):
    """(y, dparams) by backpropagation through time, as `bp.unroll` does it."""
    layer = bp.unroll(bp.layers.elman(len(params.b)), truncate=truncate)
    y, residuals = layer.forward(params, x)
    return y, layer.backward(params, residuals, dy)[0]


def by_jax(params, x: jax.Array, dy: jax.Array):
    """The same by `jax.vjp` of a loop over time in Python."""

    def forward(params):
        h, ys = jnp.zeros((len(x), len(params.b)), x.dtype), []
        for t in range(x.shape[1]):
            h = jnp.tanh(x[:, t] @ params.wx + h @ params.wh + params.b[None, :])
            ys.append(h)
        return jnp.stack(ys, axis=1)

    y, vjp = jax.vjp(forward, params)
    return y, vjp(dy)[0]


def example(units: int, steps: int, seed: int):
    """Weights, a batch of three sequences with two inputs, and errors, in the default precision."""
    layer = bp.unroll(bp.layers.elman(units))
    keys = jax.random.split(jax.random.key(seed), 3)
    params, _ = layer.init(keys[0], (steps, 2))
    return params, jax.random.normal(keys[1], (3, steps, 2)), jax.random.normal(keys[2], (3, steps, units))


def difference(a, b) -> float:
    """Largest ‖a − b‖ / ‖b‖ over the arrays."""
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return max(float(jnp.linalg.norm(x - y) / jnp.linalg.norm(y)) for x, y in pairs)


def differences(units: int = 5, steps: int = 6, seed: int = 0) -> dict[str, float]:
    """How far the gradients are apart, in float64."""
    with jax.enable_x64(True):
        given = example(units, steps, seed)
        run = {name: jax.jit(f)(*given)[1] for name, f in (("bptt", bptt), ("rtrl", rtrl), ("jax", by_jax))}
        cut = {h: jax.jit(bptt, static_argnums=3)(*given, h)[1] for h in (steps, steps // 3)}
        return {
            "BPTT − jax.grad": difference(run["bptt"], run["jax"]),
            "RTRL − BPTT": difference(run["rtrl"], run["bptt"]),
            "truncated after T": difference(cut[steps], run["bptt"]),
            "truncated after T/3": difference(cut[steps // 3], run["bptt"]),
        }


def costs(sizes=(1, 2, 4, 8, 16, 32, 64)) -> list[GradientCost]:
    """Operations of both, counted in their jaxprs."""
    steps, rows = 100, []
    for units in sizes:
        layer = bp.unroll(bp.layers.elman(units))
        params = jax.eval_shape(lambda key, layer=layer: layer.init(key, (steps, 1))[0], jax.random.key(0))
        x, dy = (jax.ShapeDtypeStruct((1, steps, n), jnp.result_type(float)) for n in (1, units))
        counts = [count_operations(lambda *a, f=f: f(*a)[1], params, x, dy).arithmetic / steps for f in (bptt, rtrl)]
        rows.append(GradientCost(units, *counts))
    return rows


def exponents(rows: list[GradientCost]) -> tuple[float, float]:
    """How the operations of a step grow with the units between the two largest nets: (BPTT, RTRL)."""
    small, large = rows[-2:]
    growth = np.log(large.units / small.units)
    return (
        float(np.log(large.bptt_operations / small.bptt_operations) / growth),
        float(np.log(large.rtrl_operations / small.rtrl_operations) / growth),
    )
