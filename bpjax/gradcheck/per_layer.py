"""Compare one layer's backward with its own forward, and one loss's gradient with its own value.

The other layers play no role, so a wrong dx is attributed to the layer that computed it.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bpjax.gradcheck.agreement import Agreement, agree, budget, relative_error, worst_of
from bpjax.gradcheck.quantity import Quantity, as_one_array, evaluate_reference, gradient_leaves, quantities, rounding
from bpjax.layers.layer import Layer
from bpjax.losses import Loss
from bpjax.util.compilation import FAST_COMPILATION
from bpjax.util.float64 import float64_on_host, perturb, to_host, widen_to_float64
from bpjax.util.shared_jit import SharedJit, shared_program

FAST = tuple(FAST_COMPILATION.items())


class LayerComparison(NamedTuple):
    """A layer's backward pass on one batch, compared with the VJP of its forward pass."""

    dparams: dict[str, Agreement]  # by the leaf's path within the layer's params, ".w"
    dx: Agreement  # where x is a pytree, of its worst leaf
    quantities: list[Quantity]  # the leaves of dparams, then those of dx
    inputs: tuple[Any, Any, Any]  # (params, x, dy), NumPy, in the dtype under test

    @property
    def wrong(self) -> str | None:
        """The first quantity that is wrong: a leaf's path, "dx", or None."""
        return next((name for name, agreement in (*self.dparams.items(), ("dx", self.dx)) if not agreement.ok), None)

    def __repr__(self) -> str:
        return f"LayerComparison({'right' if self.wrong is None else f'wrong: {self.wrong}'})"


def compare_layer(layer: Layer, params, x) -> LayerComparison:
    """Compare the layer's backward with `jax.vjp` of its forward in float64, at `x` and a random dy.

    Args:
        layer: runs compiled, in the dtype of `x`.
        params: of the layer.
        x: an array or a pytree of arrays. Integers, such as tokens, and keys have no gradient.

    Raises:
        ValueError: backward returns gradients of another structure than `params` and `x`.
    """
    params, x = to_host(params), to_host(x)
    dtype = next(leaf.dtype for leaf in jax.tree.leaves((x, params)) if jnp.issubdtype(leaf.dtype, jnp.floating))
    rng = np.random.default_rng(0)
    y = jax.eval_shape(layer.forward, params, x)[0]
    dy = jax.tree.map(lambda leaf: rng.standard_normal(leaf.shape).astype(leaf.dtype), y)
    inputs = params, x, dy

    computed = to_host(shared_program(_backward, (layer.forward, layer.backward))(*inputs))
    references = evaluate_reference(shared_program(_vjp, (layer.forward,), FAST), inputs, dtype)
    check_structure(f"{layer.name} backward", computed[0], references.truth[0])
    check_structure(f"{layer.name} backward", computed[1], references.truth[1], what="x")

    measured = quantities(computed, references)
    rows = [quantity.agreement(dtype, budget(dtype)) for quantity in measured]
    if not all(row.ok for row in rows):  # backward may have lost the slope of a saturated unit with a rounded output
        sensitivities = _residual_sensitivity(layer, inputs, rounding(dtype))
        pairs = zip(measured, sensitivities, strict=True)
        rows = [quantity.agreement(dtype, budget(dtype), sensitivity) for quantity, sensitivity in pairs]
    names = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(params)]
    dx = rows[len(names) :] or [agree([], [], dtype=dtype, allowed=budget(dtype))]
    return LayerComparison(dict(zip(names, rows, strict=False)), worst_of(dx), measured, inputs)


# Programs are shared by all layers that compute the same, those of new network objects included.


def _backward(forward, backward, params, x, dy):
    """(dparams, dx) by the layer's own backward."""
    return backward(params, forward(params, x)[1], dy)


def _vjp(forward, params, x, dy):
    """(dparams, dx) by JAX, from the forward pass only."""
    _, vjp = jax.vjp(lambda p, x: forward(p, x)[0], params, x)
    return vjp(dy)


def _residuals(forward, params, x):
    return forward(params, x)[1]


def _from_residuals(backward, params, residuals, dy):
    """(dparams, dx) by the layer's own backward, from given residuals."""
    return backward(params, residuals, dy)


def _residual_sensitivity(layer: Layer, inputs, relative: float) -> list[float]:
    """Relative change of each leaf of (dparams, dx), in float64, when the residuals are perturbed by `relative`."""
    from_residuals = shared_program(_from_residuals, (layer.backward,), FAST)
    with float64_on_host():
        params, x, dy = widen_to_float64(inputs)
        residuals = to_host(shared_program(_residuals, (layer.forward,), FAST)(params, x))
        before, after = (
            to_host(from_residuals(params, widen_to_float64(r), dy)) for r in (residuals, perturb(residuals, relative))
        )
    return [relative_error(a, b) for a, b in zip(*map(gradient_leaves, (after, before)), strict=True)]


def check_structure(who: str, got, expected, what: str = "the parameters") -> None:
    """Raise a `ValueError` where a gradient does not have the structure of what it belongs to.

    Args:
        who: computed the gradient, for the message.
        got: the gradient.
        expected: a pytree of the right structure.
        what: it belongs to, for the message.
    """
    if jax.tree.structure(got) != jax.tree.structure(expected):
        raise ValueError(
            f"`{who}` expected a gradient with the structure of {what}, {jax.tree.structure(expected)}, "
            f"got {jax.tree.structure(got)}."
        )


class LossComparison(NamedTuple):
    """A loss's gradient on one batch of outputs, compared with `jax.grad` of its value."""

    gradient: Agreement
    quantity: Quantity


def compare_loss(loss: Loss, output, target) -> LossComparison:
    """Compare the loss's gradient with `jax.grad` of its value in float64.

    Args:
        loss: under test.
        output: of a network, in the dtype under test.
        target: as the loss takes it.
    """
    output, target = to_host(output), to_host(target)
    computed = to_host(SharedJit(loss.gradient)(output, target))
    dtype = jnp.result_type(*jax.tree.leaves(output))
    references = evaluate_reference(shared_program(_loss_gradient, (loss.value,)), (output, target), dtype)
    quantity = Quantity(*map(as_one_array, (computed, *references)))
    return LossComparison(quantity.agreement(dtype, budget(dtype)), quantity)


def _loss_gradient(value, output, target):
    """The derivative of a loss's value with respect to the output, by JAX; of a value per example, that of its sum."""
    return jax.grad(lambda o: value(o, target).sum())(output)
