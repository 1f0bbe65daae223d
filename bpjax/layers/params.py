"""The params of a layer: which arrays they hold, checked in the same way in every layer."""

from collections.abc import Mapping

import jax.numpy as jnp

from bpjax.util.checks import floating_cure, other_params

Shapes = Mapping[str, tuple[int | str, ...] | None]
"""The shape of each array of a layer's params by its name; None where the layer has none."""


def check_params(layer: str, params, kind: type, shapes: Shapes) -> None:
    """Raise a `ValueError` unless params hold the arrays of a layer, all of one floating-point dtype.

    Without this check NumPy's rules would apply silently: a bias (1,) would be broadcast, a bias of integers would
    never be trained, and one in another precision would change the precision of the output.

    Args:
        layer: The layer, for messages: "`dense(3)`".
        params: What it received.
        kind: The type of its params, for messages.
        shapes: Of its params. An axis named by a text, {"w": ("D", 3), "b": (3,)}, has any size, the same in all
            arrays.
    """
    arrays = {name: getattr(params, name, None) for name in shapes}
    sizes = {}
    if not all(_fits(arrays[name], shape, sizes) for name, shape in shapes.items()):
        raise other_params(layer, _text(kind, shapes), params)
    given = {name: array for name, array in arrays.items() if array is not None}
    first = next(iter(given))
    dtype = given[first].dtype
    for name, array in given.items():
        if not jnp.issubdtype(array.dtype, jnp.floating):
            raise ValueError(
                f"{layer} expected `{name}` of a floating-point type, got {array.dtype}{list(array.shape)}: it could "
                f"not be trained. {floating_cure(name, array.dtype)}"
            )
        if array.dtype != dtype:
            raise ValueError(
                f"{layer} expected `{name}` in the dtype of `{first}`, {dtype}, got {array.dtype}{list(array.shape)}. "
                f"Cast the params to one dtype: `bp.util.cast(params, '{dtype}')`."
            )


def _fits(array, shape, sizes: dict[str, int]) -> bool:
    """Whether an array has a shape; `sizes` holds those of the named axes so far."""
    if array is None or shape is None:
        return array is None and shape is None
    if not hasattr(array, "dtype") or len(jnp.shape(array)) != len(shape):
        return False
    axes = zip(jnp.shape(array), shape, strict=True)
    return all(n == (sizes.setdefault(axis, n) if isinstance(axis, str) else axis) for n, axis in axes)


def _text(kind: type, shapes: Shapes) -> str:
    """The params as one would write them: `Affine(w=(D, 3), b=(3,))`."""
    arrays = (f"{name}={shape}".replace("'", "") for name, shape in shapes.items())
    return f"{kind.__name__}({', '.join(arrays)})"
