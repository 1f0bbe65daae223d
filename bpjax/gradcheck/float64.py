"""The truth: the same functions computed in float64, whatever the dtype under test."""

import contextlib

import jax
import jax.numpy as jnp
import numpy as np


@contextlib.contextmanager
def float64_on_host():
    """float64, full matmul precision, on the CPU where there is one: some accelerators have no float64."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(jax.enable_x64(True))
        stack.enter_context(jax.default_matmul_precision("highest"))
        with contextlib.suppress(RuntimeError):
            stack.enter_context(jax.default_device(jax.devices("cpu")[0]))
        yield


def to_host(tree):
    """The pytree as NumPy arrays, free of device and dtype settings; keys stay as they are."""

    def convert(leaf):
        is_key = isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        return leaf if is_key else np.asarray(leaf)

    return jax.tree.map(convert, tree)


def widen_to_float64(tree):
    """Floating-point leaves in float64, for use inside `float64_on_host`."""

    def convert(leaf):
        if not isinstance(leaf, np.ndarray | np.generic | float | int):
            return leaf
        is_floating = jnp.issubdtype(np.asarray(leaf).dtype, jnp.floating)
        return jnp.asarray(np.asarray(leaf, np.float64) if is_floating else leaf)

    return jax.tree.map(convert, tree)


def cast_on_host(tree, dtype):
    """NumPy leaves of floating-point type in `dtype`; integers and keys stay as they are."""

    def convert(leaf):
        floating = isinstance(leaf, np.ndarray) and jnp.issubdtype(leaf.dtype, jnp.floating)
        return leaf.astype(dtype) if floating else leaf

    return jax.tree.map(convert, tree)


def nudge(tree, relative: float):
    """Floating-point NumPy leaves in float64, each number moved by ± `relative` of itself, signs drawn evenly."""
    rng = np.random.default_rng(0)

    def move(leaf):
        if not isinstance(leaf, np.ndarray) or not jnp.issubdtype(leaf.dtype, jnp.floating):
            return leaf
        return np.asarray(leaf, np.float64) * (1 + relative * rng.choice([-1.0, 1.0], size=leaf.shape))

    return jax.tree.map(move, tree)
