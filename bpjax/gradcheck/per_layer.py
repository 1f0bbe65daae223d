"""Each part alone: a layer's backward against its own forward, a loss's gradient against its own value.

Whether the parts above or below are right plays no role, so a wrong dx is blamed on the layer that made it.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bpjax.gradcheck.agreement import Agreement, agree, budget, relative_error, worst_of
from bpjax.gradcheck.float64 import float64_on_host, nudge, to_host, widen_to_float64
from bpjax.layers.layer import Layer
from bpjax.losses import Loss

QUICKLY = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
"""How oracles are compiled, which run once: in half the time, to the same numbers."""


class LayerAlone(NamedTuple):
    """A layer's backward pass on one batch, and what it should have given."""

    dparams: dict[str, Agreement]  # by the leaf's path within the layer's params, ".w"
    dx: Agreement  # of an x that is a pytree, its worst part
    hand: tuple[Any, Any]  # (dparams, dx) as the layer gave them, NumPy
    truth: tuple[Any, Any]  # the same in float64 by jax.vjp of forward
    inputs: tuple[Any, Any, Any]  # (params, x, dy), NumPy, in the dtype under test

    @property
    def wrong(self) -> str | None:
        """The first quantity that is wrong: a leaf's path, "dx", or None."""
        return next((name for name, agreement in (*self.dparams.items(), ("dx", self.dx)) if not agreement.ok), None)


def check_layer(layer: Layer, params, x) -> LayerAlone:
    """Hold the layer's backward against `jax.vjp` of its forward in float64, at `x` and a random dy.

    The layer runs as it is, in the dtype of `x`, compiled. `x` may be a pytree of arrays; those of integers, such
    as tokens, and keys have no gradient.
    """
    params, x = to_host(params), to_host(x)
    dtype = next(leaf.dtype for leaf in jax.tree.leaves((x, params)) if jnp.issubdtype(leaf.dtype, jnp.floating))
    rng = np.random.default_rng(0)
    y = jax.eval_shape(layer.forward, params, x)[0]
    dy = jax.tree.map(lambda leaf: rng.standard_normal(leaf.shape).astype(leaf.dtype), y)
    hand = to_host(_by_hand(layer, params, x, dy))
    reference = to_host(_vjp(layer, params, x, dy))
    with float64_on_host():
        truth = to_host(_vjp(layer, *widen_to_float64((params, x, dy))))
        rounding = 2 * float(jnp.finfo(dtype).eps)
        moved = to_host(_vjp(layer, *widen_to_float64(nudge((params, x, dy), rounding))))
    check_structure(f"{layer.name} backward", hand[0], truth[0])
    check_structure(f"{layer.name} backward", hand[1], truth[1], what="x")
    leaves = list(zip(*map(_gradients, (hand, truth, reference, moved)), strict=True))

    def rows_with(sensitivities):
        return [
            agree(a, t, dtype=dtype, allowed=budget(dtype), reference=r, moved=m, sensitivity=s)
            for (a, t, r, m), s in zip(leaves, sensitivities, strict=True)
        ]

    rows = rows_with([0.0] * len(leaves))
    if not all(row.ok for row in rows):  # a saturated unit's slope, taken from its output, may be lost in rounding it
        rows = rows_with(_residual_sensitivity(layer, params, x, dy, rounding))
    names = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(truth[0])]
    of_x = rows[len(names) :] or [agree([], [], dtype=dtype, allowed=budget(dtype))]
    return LayerAlone(dict(zip(names, rows, strict=False)), worst_of(of_x), hand, truth, (params, x, dy))


def _gradients(tree) -> list:
    """The arrays of a pytree of gradients, without the float0 that stands for those of tokens and keys."""
    return [leaf for leaf in jax.tree.leaves(tree) if leaf.dtype != jax.dtypes.float0]


@functools.partial(jax.jit, static_argnums=0)
def _by_hand(layer: Layer, params, x, dy):
    """(dparams, dx) by the layer's own backward."""
    return layer.backward(params, layer.forward(params, x)[1], dy)


@functools.partial(jax.jit, static_argnums=0, compiler_options=QUICKLY)
def _vjp(layer: Layer, params, x, dy):
    """(dparams, dx) by JAX, from the forward pass alone."""
    _, vjp = jax.vjp(lambda p, x: layer.forward(p, x)[0], params, x)
    return vjp(dy)


def _residual_sensitivity(layer: Layer, params, x, dy, rounding: float) -> list[float]:
    """How far each leaf of (dparams, dx) moves, relatively, when the residuals move by one rounding; in float64."""
    with float64_on_host():
        params, x, dy = widen_to_float64((params, x, dy))
        residuals = to_host(layer.forward(params, x)[1])
        kept, nudged = (
            to_host(layer.backward(params, widen_to_float64(r), dy)) for r in (residuals, nudge(residuals, rounding))
        )
    return [relative_error(n, k) for n, k in zip(*map(_gradients, (nudged, kept)), strict=True)]


def check_structure(who: str, got, expected, what: str = "the parameters") -> None:
    """Raise a `ValueError` where a gradient has not the structure of what it belongs to."""
    if jax.tree.structure(got) != jax.tree.structure(expected):
        raise ValueError(
            f"`{who}` expected a gradient with the structure of {what}, {jax.tree.structure(expected)}, "
            f"got {jax.tree.structure(got)}."
        )


class LossAlone(NamedTuple):
    """A loss's gradient on one batch of outputs, and what it should have been."""

    gradient: Agreement
    hand: np.ndarray
    truth: np.ndarray


def check_loss(loss: Loss, output, target) -> LossAlone:
    """Hold the loss's gradient against `jax.grad` of its value in float64, at these outputs."""
    output, target = to_host(output), to_host(target)
    gradient = jax.jit(jax.grad(loss.value))
    hand = to_host(jax.jit(loss.gradient)(output, target))
    reference = to_host(gradient(output, target))
    with float64_on_host():
        truth = to_host(gradient(*widen_to_float64((output, target))))
        rounding = 2 * float(jnp.finfo(output.dtype).eps)
        moved = to_host(gradient(*widen_to_float64(nudge((output, target), rounding))))
    allowed = budget(output.dtype)
    agreement = agree(hand, truth, dtype=output.dtype, allowed=allowed, reference=reference, moved=moved)
    return LossAlone(agreement, hand, truth)
