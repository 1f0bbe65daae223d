"""Runs before their first epoch, as rows: by LLVM, or by XLA where an operation has no rule."""

from collections.abc import Callable
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from bpjax.sweeps.computation import Computation
from bpjax.sweeps.lanes.llvm.compiled import CompiledStart, constants_memory
from bpjax.sweeps.lanes.llvm.dtypes import in_memory_dtype, stored_size
from bpjax.sweeps.lanes.llvm.rows import Rows, stored_form, words_of
from bpjax.sweeps.lanes.llvm.start import StartText
from bpjax.sweeps.pool import ONCE
from bpjax.types import Key


class Make(Protocol):
    """Start runs."""

    def __call__(self, seeds: np.ndarray, hyperparameters: dict[str, np.ndarray]) -> tuple[np.ndarray, list]:
        """Runs (n, bytes) for seeds (n,) and hyperparameters (n,), and their keys that rows do not hold (n, ...)."""
        ...


Starts = Callable[[tuple, Key], Make]
"""(arrays that a trial closes over, the key of a sweep) -> the function that starts its runs."""


def starts_by_llvm(code: StartText) -> Starts:
    """Compile the starts of a trial by LLVM."""
    compiled = CompiledStart(code)

    def starts(constants: tuple, key: Key) -> Make:
        memory, words = constants_memory(code.constants, constants), np.asarray(jax.random.key_data(key))

        def make(seeds, hyperparameters):
            keys = np.broadcast_to(words, (len(seeds), 2))
            return compiled.rows(memory, [keys, seeds, *jax.tree.leaves(hyperparameters)]), []

        return make

    return starts


def starts_by_xla(computation: Computation, run: Rows, feed: int, device) -> Starts:
    """Compile the starts of a trial by XLA.

    Args:
        computation: the traced trial.
        run: the layout of a row.
        feed: runs started at a time, at most.
        device: where they are started.
    """

    def prepare(constants, key: Key, seeds, hyperparameters):
        def one(seed, hyperparameters):
            run_key = jax.random.fold_in(key, seed)
            return computation.start(constants, run_key, hyperparameters), hyperparameters, run_key

        return packed(jax.tree.leaves(jax.vmap(one)(seeds, hyperparameters)))

    shapes = (
        tuple(jax.ShapeDtypeStruct(v.aval.shape, v.aval.dtype) for v in computation.constants),
        computation.arguments[0],
        jax.ShapeDtypeStruct((feed,), jnp.uint32),
        {name: jax.ShapeDtypeStruct((feed,), one.dtype) for name, one in computation.arguments[1].items()},
    )
    options: Any = ONCE
    with jax.default_device(device):
        compiled = jax.jit(prepare).lower(*shapes).compile(compiler_options=options)

    def starts(constants: tuple, key: Key) -> Make:
        constants = tuple(map(jnp.asarray, constants))

        def make(seeds, hyperparameters):
            count = len(seeds)
            filled = jax.tree.map(lambda values: np.resize(values, feed), (seeds, hyperparameters))
            words, others = compiled(constants, key, *filled)
            rows, start = run.buffer(count), 0
            for part in map(np.asarray, words):
                end = start + part.shape[1] * part.itemsize
                rows[:, start:end].view(part.dtype)[...] = part[:count]
                start = end
            return rows, others

        return make

    return starts


def packed(leaves: list) -> tuple[list, list]:
    """Arrays of runs (n, ...) as integers (n, entries), of 8 and of 4 bytes, in the order of `Rows`; and other keys.

    Keys of JAX's default generator are two words each; those of others are not stored.
    """
    others = [leaf for leaf in leaves if stored_form(leaf) is None]
    stored = [words_of(leaf) if is_key(leaf) else leaf for leaf in leaves if stored_form(leaf) is not None]
    words = []
    for size, kind in ((8, jnp.uint64), (4, jnp.uint32)):
        same = [leaf.astype(in_memory_dtype(leaf.dtype)) for leaf in stored if stored_size(leaf.dtype) == size]
        flat = [jax.lax.bitcast_convert_type(leaf, kind).reshape(len(leaf), -1) for leaf in same]
        if flat:
            words.append(jnp.concatenate(flat, axis=1))
    return words, others


def is_key(leaf) -> bool:
    """Whether it is an array of keys."""
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
