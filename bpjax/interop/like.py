"""Hold the arrays of a checkpoint against `like`, the params that the caller expects, before they are read."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from bpjax.interop.tensor_file import Stored, printable
from bpjax.util.files import shown

MOST_SHOWN = 20
"""How many differences a message lists."""


def array_text(array) -> str:
    """For messages: float32[3, 4]."""
    return f"{array.dtype}{list(array.shape)}" if hasattr(array, "dtype") else type(array).__name__


def as_expected(name: str, leaf) -> jax.ShapeDtypeStruct:
    """Shape and dtype of a leaf of `like`, or a `ValueError`."""
    dtype, shape = getattr(leaf, "dtype", None), getattr(leaf, "shape", None)
    if dtype is None or shape is None or jnp.issubdtype(dtype, jax.dtypes.extended):
        got = type(leaf).__name__ if dtype is None else str(dtype)
        raise ValueError(
            f"`load` expected `like` to be a pytree of arrays or `jax.ShapeDtypeStruct`s, got {got} at '{name}': "
            "pass the params of `network.init`, or their `jax.eval_shape`."
        )
    return jax.ShapeDtypeStruct(tuple(shape), np.dtype(dtype))


def check_fits(place: Path, arrays: dict[str, Stored], expected: dict[str, jax.ShapeDtypeStruct], cast: bool) -> None:
    """Raise a `ValueError` with the differences between a file and the expected arrays."""
    differing = [f"missing: {printable(n)} {array_text(leaf)}" for n, leaf in expected.items() if n not in arrays]
    differing += [f"unexpected: {printable(n)} {array_text(array)}" for n, array in arrays.items() if n not in expected]
    others = [_difference(name, arrays[name], leaf, cast) for name, leaf in expected.items() if name in arrays]
    differing += [difference for difference in others if difference]
    if len(differing) > MOST_SHOWN:
        differing = [*differing[:MOST_SHOWN], f"and {len(differing) - MOST_SHOWN} more"]
    if differing:
        raise ValueError(f"The checkpoint {shown(place)} does not fit `like`; " + "; ".join(differing) + ".")


def _difference(name: str, stored: Stored, leaf: jax.ShapeDtypeStruct, cast: bool) -> str | None:
    held = jax.dtypes.canonicalize_dtype(leaf.dtype)
    text = f"{printable(name)}: {array_text(stored)} in the file, {array_text(leaf)} expected"
    if stored.shape != leaf.shape:
        return text
    if cast:
        return None if _kind(stored.dtype) <= _kind(held) else f"{text}, which no cast makes of it"
    if held != leaf.dtype:
        return f"{text}, which JAX holds with jax_enable_x64 alone"
    return None if stored.dtype == held else f"{text} (`cast=True` converts it)"


def _kind(dtype) -> int:
    """Booleans before integers before floating-point numbers."""
    return 0 if jnp.issubdtype(dtype, jnp.bool_) else 1 if jnp.issubdtype(dtype, jnp.integer) else 2


def converted(place: Path, name: str, array: np.ndarray, dtype) -> np.ndarray:
    """The array in another dtype; a `ValueError` where an integer changes or a finite number becomes infinite."""
    dtype = np.dtype(jax.dtypes.canonicalize_dtype(dtype))
    if array.dtype == dtype:
        return array
    with np.errstate(all="ignore"):
        made = array.astype(dtype)
    fits = made == array if _kind(dtype) == 1 else np.isfinite(made) | ~np.isfinite(array)
    if not fits.all():
        value = array[~fits][0] if array.ndim else array
        raise ValueError(
            f"The checkpoint {shown(place)} holds {value} in {printable(name)}, too large for {dtype.name}."
        )
    return made
