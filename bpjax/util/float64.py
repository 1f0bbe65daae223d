"""Evaluate functions in float64 on the host, whatever the dtype under test."""

import contextlib

import jax
import jax.numpy as jnp
import numpy as np


@contextlib.contextmanager
def float64_on_host():
    """Enable float64 and full matmul precision, on the CPU where there is one: some accelerators lack float64."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(jax.enable_x64(True))
        stack.enter_context(jax.default_matmul_precision("highest"))
        with contextlib.suppress(RuntimeError):
            stack.enter_context(jax.default_device(jax.devices("cpu")[0]))
        yield


@contextlib.contextmanager
def standard_settings():
    """JAX's default settings for evaluating code of others beside ours; precision and devices stay as they are."""
    with contextlib.ExitStack() as stack:
        for setting in (jax.debug_nans, jax.debug_infs, jax.disable_jit):
            stack.enter_context(setting(False))
        stack.enter_context(jax.numpy_dtype_promotion("standard"))
        stack.enter_context(jax.numpy_rank_promotion("allow"))
        stack.enter_context(jax.transfer_guard("allow"))
        stack.enter_context(np.errstate(all="ignore"))  # infinities and NaN are findings, not warnings
        yield


def to_host(tree):
    """The pytree as NumPy arrays, which no device or dtype setting affects; keys stay as they are."""

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
    """Cast floating-point NumPy leaves to `dtype`; integers and keys stay as they are."""

    def convert(leaf):
        floating = isinstance(leaf, np.ndarray) and jnp.issubdtype(leaf.dtype, jnp.floating)
        return leaf.astype(dtype) if floating else leaf

    return jax.tree.map(convert, tree)


def perturb(tree, relative: float):
    """Floating-point NumPy leaves in float64, each entry changed by ± `relative` of itself, with random signs."""
    rng = np.random.default_rng(0)

    def change(leaf):
        if not isinstance(leaf, np.ndarray) or not jnp.issubdtype(leaf.dtype, jnp.floating):
            return leaf
        return np.asarray(leaf, np.float64) * (1 + relative * rng.choice([-1.0, 1.0], size=leaf.shape))

    return jax.tree.map(change, tree)
