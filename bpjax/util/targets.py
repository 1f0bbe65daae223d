"""Targets: the forms that losses take, labels or rows or probabilities, checked and brought to the output's shape.

Values are checked where they are known: on the host, before anything is compiled. A traced target out of range cannot
raise, and becomes NaN, so that the error is NaN and not a wrong number.
"""

import jax
import jax.numpy as jnp
import numpy as np

from bpjax.types import Array
from bpjax.util.checks import as_floating, is_concrete
from bpjax.util.on_host import on_host
from bpjax.util.precision import widen


def same_shape(name, output, target) -> tuple[Array, Array]:
    """Output and target as floats of one shape (N, ...), N ≥ 1, half precision widened to float32."""
    output, target = as_floating(name, "output", output), as_floating(name, "target", target)
    if output.shape != target.shape:
        raise ValueError(
            f"`{name}` expected `target` of the output's shape {output.shape}, got {target.shape}. "
            "Give it the axes of the output; only losses on classes take labels, as integers."
        )
    if output.ndim == 0 or output.shape[0] == 0:
        raise ValueError(f"`{name}` expected outputs (N, ...) of at least one example, got shape {output.shape}.")
    output = widen(output)
    return output, target.astype(output.dtype)


def logits_and_weights(name, output, target) -> tuple[Array, Array]:
    """Logits (N, ..., K) and target weights of that shape; integers and booleans (N, ...) are labels 0 … K−1.

    What a traced target holds is not known, so it cannot raise: a label outside 0 … K−1 gives weights of NaN.
    """
    if not is_integral(target):
        return same_shape(name, output, target)
    check_classes(name, target, output)
    output, target = widen(as_floating(name, "output", output)), jnp.asarray(target)
    classes = output.shape[-1]
    if target.shape == output.shape:
        return output, jnp.where((target == 0) | (target == 1), target.astype(output.dtype), jnp.nan)
    wide = target.astype(jnp.float32)  # holds labels of any width; int32 could wrap
    in_range = (wide >= 0) & (wide < classes)
    one_hot = jax.nn.one_hot(target.astype(jnp.int32), classes, dtype=output.dtype)
    return output, jnp.where(in_range[..., None], one_hot, jnp.nan)


def check_classes(who: str, target, output) -> None:
    """Raise a `ValueError` unless an integral target is labels, or rows of 0 and 1, for outputs (N, ..., K)."""
    if not is_integral(target):
        return
    shape, found = np.shape(output), np.shape(target)
    if len(shape) < 2 or shape[0] == 0 or found not in (shape[:-1], shape):
        raise ValueError(
            f"`{who}` expected integer labels of shape (N,) for outputs (N, K), got {found} for {shape}. "
            "For one-hot targets give an array of the output's shape."
        )
    if is_concrete(target) and found == shape[:-1]:
        check_labels(who, target, shape[-1])
    elif is_concrete(target) and not np.isin(on_host(target), (0, 1)).all():
        raise ValueError(
            f"`{who}` expected integers of the output's shape {shape} to be rows of 0 and 1, got others. "
            f"For labels give integers {shape[:-1]}, for other weights floating-point numbers."
        )


def logits_and_probabilities(name, output, target) -> tuple[Array, Array]:
    """Logits (N, ...) and targets from 0 to 1 of that shape; a traced target outside 0 … 1 cannot raise: it is NaN."""
    check_probabilities(name, target, output)
    target = jnp.asarray(target)
    if np.shape(output) == (*target.shape, 1):
        target = target[..., None]
    dtype = jnp.result_type(target) if jnp.issubdtype(target.dtype, jnp.floating) else jnp.float32
    output, target = same_shape(name, output, target.astype(dtype))
    slack = _slack(dtype)
    return output, jnp.where((target < -slack) | (target > 1 + slack), jnp.nan, target)


def check_probabilities(who: str, target, output) -> None:
    """Raise a `ValueError` unless a target holds numbers from 0 to 1, in the shape of the output."""
    shape, found = np.shape(output), np.shape(target)
    if is_integral(target) and found != shape and (*found, 1) != shape:
        raise ValueError(
            f"`{who}` expected `target` of the output's shape {shape}, or (N,) for outputs (N, 1), got {found}. "
            "For one label out of several classes use `softmax_cross_entropy`."
        )
    if not is_concrete(target):
        return
    values = on_host(target)
    slack = 0.0 if is_integral(values) else _slack(values.dtype)
    wrong = np.argwhere((values < -slack) | (values > 1 + slack))
    if len(wrong):
        at = tuple(map(int, wrong[0]))
        raise ValueError(
            f"`{who}` expected targets from 0 to 1, got {values[at]} at index {at} ({len(wrong)} of {values.size} "
            "out of range). For targets −1 and 1 give `(target + 1) / 2`."
        )


def _slack(dtype) -> float:
    """How far rounding may carry a probability beyond 0 or 1."""
    return 4 * float(jnp.finfo(dtype).eps)


def is_integral(target) -> bool:
    """Whether a target holds integers or booleans."""
    dtype = target.dtype if hasattr(target, "dtype") else np.asarray(target).dtype
    return jnp.issubdtype(dtype, jnp.integer) or jnp.issubdtype(dtype, jnp.bool_)


def labels_of(target) -> Array:
    """The labels of a target: integers as they are, of rows (..., K) the index of the largest entry."""
    target = jnp.asarray(target)
    return target if jnp.issubdtype(target.dtype, jnp.integer) else target.argmax(axis=-1)


def rows_of(target, output: Array) -> Array:
    """The target in the shape of the output (..., K): labels become one-hot rows, anything else is unchanged.

    With one output, K = 1, the labels 0 and 1 are the targets themselves.
    """
    target = jnp.asarray(target)
    if not is_integral(target):
        return target
    if target.shape == output.shape or (*target.shape, 1) == output.shape:
        return target.reshape(output.shape).astype(output.dtype)
    return jax.nn.one_hot(target, output.shape[-1], dtype=output.dtype)


def check_labels(who: str, labels, classes: int) -> None:
    """Raise a `ValueError` that names the first label outside 0 … classes − 1."""
    labels = on_host(labels).ravel()
    wrong = np.flatnonzero((labels < 0) | (labels >= classes))
    if wrong.size:
        raise ValueError(
            f"`{who}` expected labels from 0 to {classes - 1} for {classes} outputs, got {labels[wrong[0]]} "
            f"at index {wrong[0]} ({wrong.size} of {labels.size} out of range). {_cure(labels[wrong[0]])}"
        )


def _cure(label) -> str:
    if label < 0:
        return "To leave examples out, drop them, or give one-hot rows that are 0 for them."
    return "Give the network as many outputs as there are classes, and count the classes from 0."
